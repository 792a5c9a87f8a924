"""PASCAL-5i's official pairs, and the episodes that codes draw of them, against golden values of the official codes."""

import json
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import numpy as np
import pytest

from fsseg.datasets import Pascal, pascal
from fsseg.datasets.base import Index
from fsseg.datasets.pascal_pairs import list_sha256, official_list, official_pairs, published_lists
from fsseg.episodes import EpisodeData, EpisodeOptions
from fsseg.episodes.official_draws import pmms_episodes
from fsseg.errors import FssegError
from fsseg.protocols.presets import protocol
from fsseg.protocols.protocol import SPLITS, Protocol
from tests.conftest import SHARED
from tests.episode_options import grouped

Oracle = Callable[[str], dict[str, np.ndarray]]
Pair = tuple[str, int]
ENOUGH, FEW = 3, 2  # points of OSLSM's grid at which an image counts for a class by the rule, or does not


class Listed(Pascal):
    """Val images that show the pairs given, each class at so many points of OSLSM's grid; no file is there."""

    def __init__(self, grid: Mapping[Pair, int]) -> None:
        self.grid = grid

    def open(self, root: Path | None) -> None:
        self._names, self._train = sorted({name for name, _ in self.grid}), 0
        counts = np.zeros((len(self._names), 21), dtype=np.int32)
        for (name, class_id), points in self.grid.items():
            counts[self._names.index(name), class_id] = points
        self.index = Index(counts, official_pairs(counts, counts, self._names))


def golden_list(oracle: Oracle) -> list[Pair]:
    """Val list of fold 0: HSNet's episodes walk all of it."""
    stored = oracle("hsnet_voc_val_order_fold0")
    lines = int(stored["n_lines"])
    return list(zip(stored["query_1"][:lines].tolist(), (stored["class_1"][:lines] + 1).tolist(), strict=True))


def exceptions(oracle_folder: Path) -> dict[str, dict[str, list[Pair]]]:
    stored = json.loads((oracle_folder / "pascal5i_exceptions.json").read_text())
    return {s: {kind: [(n, c) for n, c in pairs] for kind, pairs in stored[s].items()} for s in SPLITS}


def by_rule(oracle: Oracle, oracle_folder: Path) -> dict[Pair, int]:
    """What masks show such that OSLSM's rule decides as it does on VOC, on fold 0."""
    known = exceptions(oracle_folder)["val"]
    found = dict.fromkeys(golden_list(oracle), ENOUGH)
    found |= {pair: FEW for pair in known["listed"] if pair in found}
    return found | {pair: ENOUGH for pair in known["not_listed"] if pair[1] <= 5}


def test_the_table_of_exceptions_is_the_golden_one(oracle_folder: Path) -> None:
    stored, ours = exceptions(oracle_folder), {True: set(), False: set()}
    names = sorted({name for kinds in stored.values() for pairs in kinds.values() for name, _ in pairs})
    shown = np.ones((len(names), 21), dtype=np.int32)
    for rule in (False, True):
        decided = official_pairs(shown * (ENOUGH if rule else 0), shown, names)
        ours[not rule] = {(names[i], int(c)) for i, c in np.argwhere(decided != rule)}
    assert ours[True] == {pair for kinds in stored.values() for pair in kinds["listed"]}
    assert ours[False] == {pair for kinds in stored.values() for pair in kinds["not_listed"]}
    assert [len(kinds[k]) for kinds in stored.values() for k in ("listed", "not_listed")] == [50, 52, 5, 3]


def test_the_hashes_are_the_golden_ones(oracle: Oracle, oracle_folder: Path) -> None:
    stored = json.loads((oracle_folder / "pascal5i_exceptions.json").read_text())["sha256_of_sorted_pairs"]
    assert {f"{split}{fold}": sha256 for (split, fold), sha256 in published_lists().items()} == stored
    pairs = golden_list(oracle)
    assert list_sha256(pairs) == list_sha256(pairs[::-1]) == stored["val0"], "the hash is of what we take it to be of"
    assert list_sha256(pairs[:-1]) != stored["val0"]


def test_rule_and_exceptions_make_the_published_list(oracle: Oracle, oracle_folder: Path) -> None:
    dataset = Listed(by_rule(oracle, oracle_folder))
    dataset.open(None)
    assert official_list(dataset, "val", 0) == golden_list(oracle)
    names = [dataset.image_name(i) for i in dataset.numbers("val")]
    rule = {(names[i], int(c)) for i, c in np.argwhere(dataset.index.pixels >= ENOUGH)}
    assert rule ^ set(golden_list(oracle)) == {
        ("2008_003108", 2), ("2009_004509", 3), ("2010_001246", 2), ("2010_002792", 2),
    }  # fmt: skip


def test_no_exception_adds_an_image_that_does_not_show_the_class() -> None:
    nothing = np.zeros((1, 21), dtype=np.int32)
    assert not official_pairs(nothing, nothing, ["2008_003108"]).any()


def episodes(data: EpisodeData) -> tuple[list[str], list[list[str]], list[int]]:
    """Names of queries and supports, and class indices from 0, of a test's episodes."""
    data.setup("test")
    source, order = data._test_source()
    found = [source.episode(key) for key in order]
    name = data.dataset.image_name
    supports = [[name(i) for i in episode.support[0]] for episode in found]
    return [name(e.query[0]) for e in found], supports, [e.classes[0] - 1 for e in found]


@pytest.mark.parametrize("shot", [1, 5])
def test_protocol_hsnet_has_hsnets_episodes(shot: int, oracle: Oracle, oracle_folder: Path) -> None:
    """From masks to episodes, on the list of fold 0 as it is published."""
    stored = oracle("hsnet_voc_val_order_fold0")
    data = EpisodeData(
        Listed(by_rule(oracle, oracle_folder)), shot=shot, protocol=protocol({"name": "hsnet"}, "pascal")
    )
    assert episodes(data) == tuple(stored[f"{what}_{shot}"].tolist() for what in ("query", "support", "class"))


def test_protocol_pmms_walks_the_published_list(oracle: Oracle, oracle_folder: Path) -> None:
    """By the rule alone, 110 of 1,000 episodes of fold 0 were PMMs' own, as measured with the code on all of VOC."""
    dataset = Listed(by_rule(oracle, oracle_folder))
    data = EpisodeData(dataset, protocol=protocol({"name": "pmms"}, "pascal"))
    found = list(zip(*episodes(data), strict=True))
    name, number = dataset.image_name, {dataset.image_name(i): i for i in dataset.numbers("val")}

    def walk(pairs: Iterable[tuple[int, int]]) -> list[tuple[str, list[str], int]]:
        drawn = pmms_episodes(sorted(pairs), 1, 1385, 1000)
        return [(name(e.query[0]), [name(e.support[0][0])], e.classes[0] - 1) for e in drawn]

    assert found == walk((number[image], class_id) for image, class_id in golden_list(oracle))
    rule = walk((int(i), int(c)) for i, c in np.argwhere(dataset.index.pixels >= ENOUGH))
    assert sum(ours == theirs for ours, theirs in zip(rule, found, strict=True)) == 110


def write_lists(folder: Path, lines: list[str], name: str) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n")
    return folder


def listed(lines: list[str]) -> Listed:
    return Listed({(line[:-4], int(line[-2:])): 1 for line in lines})  # too small for the rule


@pytest.mark.parametrize("shot", [1, 5])
def test_protocol_pmms_has_pmms_episodes_of_a_list(shot: int, oracle: Oracle, tmp_path: Path) -> None:
    stored = oracle(f"pmms_voc_val_order_{shot}shot")
    lines = stored["list_lines"].tolist()
    folder = write_lists(tmp_path, lines, "val/split0_val.txt")
    pmms = protocol({"name": "pmms", "episodes": 1000}, "pascal")
    data = EpisodeData(listed(lines), shot=shot, protocol=pmms, episodes=EpisodeOptions(pairs_files=str(folder)))
    assert episodes(data) == tuple(stored[what].tolist() for what in ("query", "support", "class_index"))
    assert re.search(r"272 pairs \(list files \[[0-9a-f]{6}\]\)", data.protocol.in_words(data.pair_count))
    assert data.protocol.digest != pmms.digest


def test_a_list_is_walked_in_its_own_order(oracle: Oracle, tmp_path: Path) -> None:
    lines = list(dict.fromkeys(oracle("hsnet_voc_val_order_invented")["list_lines"].tolist()))
    assert lines != sorted(lines)
    hsnet = protocol({"name": "hsnet", "episodes": 400}, "pascal")
    digests = set()
    for name, ordered in (("own", lines), ("sorted", sorted(lines))):
        folder = write_lists(tmp_path / name, ordered, "val/fold1.txt")
        data = EpisodeData(listed(lines), fold=1, protocol=hsnet, episodes=EpisodeOptions(pairs_files=str(folder)))
        assert episodes(data)[0] == [ordered[i % len(ordered)][:-4] for i in range(400)]
        digests.add(data.protocol.digest)
    assert len(digests) == 2


def test_list_files_that_are_the_published_ones_are_the_official_pairs(oracle: Oracle, tmp_path: Path) -> None:
    pairs = golden_list(oracle)
    folder = write_lists(tmp_path, [f"{name}__{class_id:02d}" for name, class_id in pairs], "val/fold0.txt")
    official = protocol({}, "pascal")
    data = EpisodeData(
        Listed(dict.fromkeys(pairs, 1)), protocol=official, episodes=EpisodeOptions(pairs_files=str(folder))
    )
    data.setup("test")
    assert data.pair_count == 346
    assert str(data.protocol) == str(EpisodeData(Listed({}), protocol=official).protocol), "one protocol, one digest"
    assert data.dataset.pairs_note == ""


@pytest.mark.slow
def test_training_and_validation_take_list_files_too(fake_voc: Path, tmp_path: Path) -> None:
    dataset = Pascal()
    dataset.open(fake_voc)
    shown = {s: [(i, c) for c in range(1, 21) for i in dataset.index.images(c, dataset.numbers(s))] for s in SPLITS}
    for split, name in (("train", "trn/fold{}.txt"), ("val", "val/split{}_val.txt")):
        for fold in range(1, 4):
            lines = [f"{dataset.image_name(i)}__{c:02d}" for i, c in shown[split][::2] if c in dataset.novel(fold)]
            write_lists(tmp_path, lines, name.format(fold))
    options = grouped(root=str(fake_voc), pairs="official", pairs_files=str(tmp_path), missing_classes="skip")
    data = EpisodeData(Pascal(), **options)
    data.setup("fit")
    for found, split in ((data.trained.images, "train"), (data.validation.images, "val")):
        assert {(int(i), c) for c, numbers in found.items() for i in numbers} <= set(shown[split][::2])
        assert found
    data = EpisodeData(Pascal(), **options, protocol=protocol({}, "pascal"))
    with pytest.raises(FssegError, match=r"has no list of the val images of fold 0: val/split0_val.txt or val/fold0"):
        data.setup("test")


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        (["2008_000000 1"], "line 1, '2008_000000 1': an image and its class id are needed, such as 2007_000452__09"),
        (["2008_000000__01", "", "nowhere__01"], "line 3, 'nowhere__01': VOC subset has no val image of this name"),
        (["2007_000000__01"], "VOC subset has no val image of this name"),
        (["2008_000000__06"], "fold 0 has the classes 1 to 5"),
        (["2008_000000__00"], "fold 0 has the classes 1 to 5"),
        (["2008_000000__03"], "the mask does not show bird"),
        (["2008_000000__01", "2008_000000__01"], "line 2, '2008_000000__01': stands in the list twice"),
        ([], "is empty"),
    ],
)
def test_a_list_that_does_not_fit_is_refused(lines: list[str], words: str, fake_voc: Path, tmp_path: Path) -> None:
    folder = write_lists(tmp_path / "lists", lines, "val/fold0.txt")
    refused(words, fake_voc, folder)


def refused(words: str, root: Path, folder: Path) -> None:
    data = EpisodeData(
        Pascal(), str(root), episodes=EpisodeOptions(pairs_files=str(folder)), protocol=protocol({}, "pascal")
    )
    with pytest.raises(FssegError) as error:
        data.setup("test")
    assert words in str(error.value)
    assert "\n" not in str(error.value)


def test_folders_without_lists_are_refused(fake_voc: Path, tmp_path: Path) -> None:
    refused("nowhere: no such folder", fake_voc, tmp_path / "nowhere")
    refused("files such as val/split0_val.txt or val/fold0.txt are needed", fake_voc, tmp_path)
    write_lists(tmp_path, ["2008_000000__01"], "val/fold0.txt")
    write_lists(tmp_path, ["2008_000000__01"], "val/split0_val.txt")
    refused("are lists of the same pairs. Keep one of them", fake_voc, tmp_path)
    (tmp_path / "val/split0_val.txt").unlink()
    (tmp_path / "val/fold0.txt").write_bytes(b"\xff\xfe\x00")
    refused("fold0.txt cannot be read", fake_voc, tmp_path)


def test_list_files_need_official_pairs() -> None:
    with pytest.raises(
        FssegError, match=r"give `data.episodes.pairs` official, or `protocol.pairs` official in a test"
    ):
        EpisodeData(Pascal(), episodes=EpisodeOptions(pairs_files="lists"), protocol=Protocol()).setup("test")
    with pytest.raises(FssegError, match=r"`data.episodes.pairs_files` is empty"):
        EpisodeData(Pascal(), episodes=EpisodeOptions(pairs="official", pairs_files=""))


def test_episodes_of_a_file_need_no_list_files(tmp_path: Path) -> None:
    """A finished test is looked at where its list files may be gone."""
    data = EpisodeData(
        Listed({("a", 1): 1}), episodes=EpisodeOptions(pairs_files="nowhere", test_file=str(tmp_path / "nowhere.json"))
    )
    with pytest.raises(FssegError, match=r"nowhere\.json"):
        data.setup("test")


def test_masks_that_are_not_the_usual_ones_are_said(fake_voc: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = Pascal()
    dataset.open(fake_voc)
    assert dataset.pairs_note.startswith("pairs are by rule (OSLSM's, with its known exceptions): the published lists")
    monkeypatch.setattr(pascal, "_COMPLETE", {"train": 60, "val": 60})
    whole = Pascal()
    whole.open(fake_voc)
    assert "8 of 8 lists are not the published ones (train 0, train 1" in whole.pairs_note
    same = {key: (sha256, sha256) for key, sha256 in published_lists().items()}
    monkeypatch.setattr(pascal, "compare_lists", lambda _: same)
    whole.open(fake_voc)
    assert whole.pairs_note == ""


@pytest.mark.slow
@pytest.mark.skipif(not (SHARED / "data/VOCdevkit").is_dir(), reason="no photos at hand")
def test_real_photos_show_that_the_rule_alone_decides_otherwise(oracle_folder: Path) -> None:
    dataset = Pascal()
    dataset.open(SHARED / "data/VOCdevkit")
    number = {dataset.image_name(i): i for s in SPLITS for i in dataset.numbers(s)}
    seen = 0
    for kinds in exceptions(oracle_folder).values():
        for kind, pairs in kinds.items():
            for name, class_id in pairs:
                if name in number:
                    seen += 1
                    mask = dataset.mask(number[name])
                    assert ((mask[1::32, 1::32] == class_id).sum() < 3) == (kind == "listed"), name
                    official = dataset.index.images(class_id, [number[name]], pairs="official")
                    assert (len(official) == 1) == (kind == "listed"), name
    assert seen == 11
