"""LVIS-92i: folds and episodes of Matcher's code, federated annotations, and a miniature through every command."""

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pycocotools import mask as mask_code

from fsseg.datasets import Lvis, lvis
from fsseg.episodes.draw import drawn
from fsseg.episodes.sampler import Key
from fsseg.errors import FssegError
from fsseg.experiment.files import experiment_folder
from fsseg.prepare import archives
from fsseg.protocols.presets import protocol
from tests.cli.conftest import fsseg  # noqa: F401 - a fixture
from tests.federated import CLASSES, FEW, PARTLY, TRAIN, VAL, content, instance, shown_classes, write_lvis
from tests.suites import chosen_supports, show_and_fit


@pytest.fixture(scope="session")
def _lvis_original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("lvis") / "data"
    write_lvis(root)
    return root


@pytest.fixture
def root(_lvis_original: Path, tmp_path: Path) -> Path:
    return shutil.copytree(_lvis_original, tmp_path / "lvis")


def opened(root: Path, **options: Any) -> Lvis:
    dataset = Lvis(**options)
    dataset.open(root)
    return dataset


def matchers_folds(shot: int) -> list[list[int]]:
    """Classes of each fold by the rule of matcher/data/lvis.py, from a table of the images of each class."""
    table = {c: [i for i in VAL if c in shown_classes(i)] for c in range(1, CLASSES + 1)}
    ids = [c for c in table if len(table[c]) > shot]
    return [[ids[fold + 10 * v] for v in range(len(ids) // 10)] for fold in range(10)]


@pytest.mark.parametrize("shot", [1, 2])
def test_folds_are_matchers(root: Path, shot: int) -> None:
    dataset = opened(root, shots=shot)
    assert [list(dataset.novel(fold)) for fold in range(10)] == matchers_folds(shot)
    assert all(FEW not in dataset.novel(fold) for fold in range(10))
    assert set(dataset.base(0)) == set(dataset.class_ids) - set(dataset.novel(0))
    assert dataset.class_names == tuple(f"thing_{c}" for c in range(1, CLASSES + 1))
    assert (dataset.numbers("train"), dataset.numbers("val")) == (range(len(TRAIN)), range(12, 28))


def test_masks_are_the_unions_of_all_instances(root: Path) -> None:
    dataset = opened(root)
    for number, image in enumerate([*TRAIN, *VAL]):
        assert dataset.image_name(number).endswith(f"{image:012d}")
        assert dataset.image(number).shape == (40, 48, 3)
        for class_id in dataset.class_ids:
            expected = np.zeros((40, 48), dtype=bool)
            for part in range(1 + class_id % 2) if class_id in shown_classes(image) else ():
                expected |= instance(image, class_id, part)
            assert np.array_equal(dataset.episode_mask(number, (class_id,)) == 1, expected)
            assert dataset.index.pixels[number, class_id] == expected.sum()


def oracle(dataset: Lvis, fold: int, shot: int, episodes: int) -> list[tuple[int, int, tuple[int, ...]]]:
    """Class, query and supports by matcher/data/lvis.py, with numpy's global generator."""
    tables = {c: [i for i in VAL if c in shown_classes(i)] for c in matchers_folds(shot)[fold]}
    place = {image: number for number, image in enumerate([*TRAIN, *VAL])}
    state, found = np.random.get_state(), []
    np.random.seed(0)
    for idx in range(episodes):
        class_id = list(tables)[idx % len(tables)]
        query = int(np.random.choice(list(tables[class_id]), 1, replace=False)[0])
        supports = chosen_supports(tables[class_id], query, shot)
        found.append((class_id, place[query], tuple(place[i] for i in supports)))
    np.random.set_state(state)
    return found


@pytest.mark.parametrize(("fold", "shot"), [(0, 1), (7, 1), (3, 2)])
def test_episodes_are_those_of_the_official_code(root: Path, fold: int, shot: int) -> None:
    rule, dataset = protocol({"name": "lvis92i", "episodes": 50}, Lvis.family), opened(root, shots=shot)
    images = {c: dataset.index.images(c, dataset.numbers("val")) for c in dataset.novel(fold)}
    draw = drawn(rule, dataset, images, (1, shot, 1))
    found = [draw(Key(0, number)) for number in range(50)]
    assert [(e.classes[0], e.query[0], e.support[0]) for e in found] == oracle(dataset, fold, shot, 50)


def test_a_whole_run_is_matchers() -> None:
    rule = protocol({"name": "lvis92i"}, Lvis.family)
    assert (rule.runs, rule.episodes, rule.seed, rule.repeat_supports) == (1, 2300, 0, True)


def test_classes_can_be_left_out_where_not_all_instances_are_labelled(root: Path) -> None:
    whole, dataset = opened(root), opened(root, not_exhaustive="ignore")
    assert dataset.index.cache != whole.index.cache
    partly = [12 + VAL.index(i) for i in VAL if i % 3 == 0 and PARTLY in shown_classes(i)]
    assert partly
    for number in (*dataset.numbers("train"), *dataset.numbers("val")):
        for class_id in dataset.class_ids:
            left_out = class_id == PARTLY and (number in partly or [*TRAIN, *VAL][number] % 3 == 0)
            expected = 0 if left_out else whole.index.pixels[number, class_id]
            assert dataset.index.pixels[number, class_id] == expected
    number = partly[0]
    mask = dataset.episode_mask(number, (PARTLY,))
    assert np.array_equal(mask == 255, whole.episode_mask(number, (PARTLY,)) == 1)
    assert not (mask == 1).any()
    assert "classes are ignored on images that do not label all their instances" in dataset.note


def test_the_second_start_reads_no_annotations(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = opened(root)
    monkeypatch.setattr(lvis, "read_annotations", None)
    second = opened(root, shots=2)
    assert np.array_equal(first.index.pixels, second.index.pixels)
    assert not second.index.fresh
    assert second.novel(0) != first.novel(0)


def test_images_may_lie_in_matchers_folders(root: Path) -> None:
    (root / "coco").mkdir()
    for part in ("train2017", "val2017"):
        (root / part).rename(root / "coco" / part)
    for split in ("train", "val"):
        (root / f"annotations/lvis_v1_{split}.json").rename(root / f"lvis_v1_{split}.json")
    assert opened(root).image(0).shape == (40, 48, 3)


@pytest.mark.slow
def test_the_miniature_through_every_command(fsseg: Callable, root: Path, tmp_path: Path) -> None:  # noqa: F811
    where = ("--root", str(root))
    assert fsseg("data", "prepare", "lvis", *where).out.startswith(
        "LVIS subset: 12 train and 16 val images, 24 classes; prepared in"
    )
    assert "already prepared" in fsseg("data", "prepare", "lvis", *where).out
    verified = fsseg("data", "verify", "lvis", *where, "--workers", "0")
    assert (verified.code, "LVIS subset: clean" in verified.out) == (0, True), verified.out
    assert "val images" in verified.out
    told = fsseg("data", "info", "lvis", *where, "--out", "info.png").out
    assert "every tenth of the classes with more than one val image (Matcher)" in told
    assert "fold 9" in told
    show_and_fit(fsseg, "--data.dataset", "Lvis", "--data.root", str(root), "--data.fold", "3")
    rule = ("--protocol.name", "lvis92i", "--protocol.episodes", "8")
    for shot in (1, 2):
        tested = fsseg("test", "--ckpt_path", "run/last.ckpt", *rule, "--data.test_shot", str(shot),
                       "--out", f"test{shot}")  # fmt: skip
        assert tested.code == 0, tested.err
        with (tmp_path / f"test{shot}/rows.csv").open() as file:
            found = {int(row["class_id"]) for row in csv.DictReader(file)}
        assert found <= {0, *matchers_folds(shot)[3]}, "the number of shots decides the classes"
    ran = fsseg("test", "--ckpt_path", "run/last.ckpt", *rule, "--data.dataset.shots", "2", "--out", "other")
    assert "protocol lvis92i tests 1 shots on classes with more than 1 val images" in ran.line


def test_checksums_and_folders_of_the_archives() -> None:
    assert [len(a.checksum) for a in archives.LVIS] == [64, 64, 32, 32]
    assert [a.name for a in archives.LVIS] == [
        "lvis_v1_val.json.zip", "lvis_v1_train.json.zip", "val2017.zip", "train2017.zip",
    ]  # fmt: skip


def _changed(split: str, change: Callable[[dict[str, Any]], object]) -> Callable[[Path], None]:
    def write(root: Path) -> None:
        made = content(split)
        change(made)
        (root / f"annotations/lvis_v1_{split}.json").write_text(json.dumps(made))

    return write


def _set(kind: str, number: int, **values: Any) -> Callable[[dict[str, Any]], None]:
    return lambda made: made[kind][number].update(values)


def _old(made: dict[str, Any]) -> None:
    made["categories"] = [{"id": c, "name": f"thing {c}"} for c in range(1, 1231)]


def _cut(root: Path) -> None:
    path = root / "annotations/lvis_v1_val.json"
    path.write_text(path.read_text()[:-500])


SHORT = {"size": [40, 48], "counts": mask_code.encode(np.ones((9, 9), dtype=np.uint8, order="F"))["counts"].decode()}
BROKEN: dict[str, tuple[Callable[[Path], object], str]] = {
    "no annotations": (lambda root: shutil.rmtree(root / "annotations"), "lvis_v1_train.json is missing: unpack"),
    "no val file": (lambda root: (root / "annotations/lvis_v1_val.json").unlink(), "unpack lvis_v1_val.json.zip"),
    "no val images": (lambda root: shutil.rmtree(root / "val2017"), "the folders train2017 and val2017 are needed"),
    "a truncated file": (_cut, "lvis_v1_val.json is no complete JSON file"),
    "LVIS v0.5": (_changed("train", _old), "has 1,230 categories, as LVIS v0.5 has. LVIS v1 (1,203) is needed"),
    "COCO's file": (
        _changed("train", lambda made: [image.pop("not_exhaustive_category_ids") for image in made["images"]]),
        "is no file of LVIS v1: image '1' has no not_exhaustive_category_ids",
    ),
    "no URL": (_changed("train", _set("images", 2, coco_url=None)), "image '3' has the coco_url 'None', no image of"),
    "a URL elsewhere": (
        _changed("val", _set("images", 0, coco_url="http://images.cocodataset.org/val2017/../../x.jpg")),
        "no image of COCO 2017. Put LVIS' own file there",
    ),
    "a gap": (_changed("train", lambda made: made["categories"].pop(4)), "ids are not 1 to 23, e.g. 5 is missing"),
    "a category less": (_changed("val", lambda made: made["categories"].pop()), "names category 24, which is not"),
    "a category's other name": (_changed("val", _set("categories", 3, name="thing")), "lists other categories"),
    "two of one name": (_changed("train", _set("categories", 3, name="thing_3")), "with the same id or name"),
    "an unknown category": (_changed("val", _set("annotations", 3, category_id=99)), "names category 99, which is not"),
    "an unknown image": (_changed("val", _set("annotations", 3, image_id=99)), "names image 99, which is not listed"),
    "an image twice": (
        _changed("val", lambda made: made["images"][0].update(coco_url=content("train")["images"][0]["coco_url"])),
        "image train2017/000000000001.jpg is in train and in val",
    ),
    "no image file": (lambda root: (root / "train2017/000000000003.jpg").unlink(), "train2017/000000000003.jpg is mis"),
    "a short polygon": (_changed("val", _set("annotations", 0, segmentation=[[1.0, 2.0, 3.0, 4.0, 5.0]])), "out three"),
    "no polygon": (_changed("val", _set("annotations", 0, segmentation=[["a", "b"] * 3])), "are no numbers"),
    "other runs": (_changed("val", _set("annotations", 0, segmentation=SHORT)), "does not cover the image"),
    "no segmentation": (_changed("val", lambda made: made["annotations"][0].pop("segmentation")), "or segmentation"),
    "no list": (_changed("val", _set("images", 1, not_exhaustive_category_ids=None)), "without LVIS' keys"),
}  # fmt: skip


@pytest.mark.parametrize("case", BROKEN)
def test_bad_input_is_one_line(fsseg: Callable, root: Path, case: str) -> None:  # noqa: F811
    breaks, expected = BROKEN[case]
    breaks(root)
    ran = fsseg("data", "info", "lvis", "--root", str(root))
    assert (ran.code, expected in ran.line) == (2, True), ran.line


def test_options_that_are_out_of_range(fsseg: Callable, root: Path) -> None:  # noqa: F811
    where = ("--root", str(root))
    assert "--shots 0: at least 1 is needed" in fsseg("data", "info", "lvis", *where, "--shots", "0").line
    assert "not_exhaustive" in fsseg("data", "info", "lvis", *where, "--not_exhaustive", "drop").line
    ran = fsseg("data", "info", "lvis", *where, "--shots", "4")
    assert "2 classes have more than 4 val images; ten folds need at least ten such classes" in ran.line
    with pytest.raises(FssegError, match="not_exhaustive is 'drop'"):
        Lvis(not_exhaustive="drop")  # type: ignore[arg-type]
    ran = fsseg("test", "--config", str(experiment_folder() / "quickstart.yaml"), "--untrained", "--data.dataset",
                "Lvis", "--data.root", str(root), "--data.fold", "10", "--protocol.name", "lvis92i")  # fmt: skip
    assert ran.code == 2
    assert "fold" in ran.line
