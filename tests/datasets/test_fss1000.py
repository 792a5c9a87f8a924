"""FSS-1000: class lists, masks, episodes of the official code, and a miniature through every command."""

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from fsseg.datasets import FSS1000
from fsseg.datasets.fss1000 import _published
from fsseg.episodes.draw import drawn
from fsseg.episodes.sampler import Key
from fsseg.protocols.presets import protocol
from tests.cli.conftest import fsseg  # noqa: F401 - a fixture
from tests.conftest import SHARED
from tests.suites import EACH, PARTS, chosen_supports, grey, region, save, show_and_fit, write_fss1000


@pytest.fixture(scope="session")
def _fss1000_original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("fss1000")
    write_fss1000(root)
    return root


@pytest.fixture
def fss1000(_fss1000_original: Path, tmp_path: Path) -> Path:
    return shutil.copytree(_fss1000_original, tmp_path / "fss")


def opened(root: Path) -> FSS1000:
    dataset = FSS1000()
    dataset.open(root)
    return dataset


def test_the_published_lists_have_the_official_sizes_and_share_no_class() -> None:
    lists = _published()
    assert {part: len(names) for part, names in lists.items()} == {"trn": 520, "val": 240, "test": 240}
    assert len({name for names in lists.values() for name in names}) == 1000
    # Lengths of the files in juhongm999/hsnet, data/splits/fss; lines of test.txt end with two characters.
    assert [sum(len(name) + end for name in lists[part]) for part, end in (("trn", 1), ("val", 1), ("test", 2))] == [
        5133, 2340, 2785,
    ]  # fmt: skip
    assert {"bus", "abe's_flyingfish", "tower_pisa"} <= set(lists["test"])


def test_classes_of_training_validation_and_test_are_apart(fss1000: Path) -> None:
    dataset = opened(fss1000)
    assert dataset.class_names == tuple(name for part in PARTS.values() for name in sorted(part))
    assert (dataset.base(0), dataset.validation(0), dataset.novel(0)) == ((1, 2, 3), (4, 5), (6, 7, 8))
    assert (len(dataset.numbers("train")), len(dataset.numbers("val"))) == (30, 50)
    assert dataset.name == "FSS-1000 subset"
    assert dataset.note == "class lists of one's own: 3, 2, 3 classes"
    assert [dataset.image_name(i) for i in (0, 9)] == ["acorn/1", "acorn/10"], "in the order of numbers"
    shown = [np.flatnonzero(row[1:]).tolist() for row in dataset.index.pixels]
    assert shown == [[c] for c in range(8) for _ in range(EACH)]


def test_masks_are_the_grey_levels_from_128(fss1000: Path) -> None:
    steps = np.tile(np.arange(256, dtype=np.uint8), (40, 1))[:, 100:148]
    save(fss1000 / "acorn/1.png", steps)
    dataset = opened(fss1000)
    assert np.array_equal(dataset.mask(0), (steps >= 128).astype(np.uint8))
    for c, name in enumerate(dataset.class_names[:2]):
        with PIL.Image.open(fss1000 / name / "3.png") as picture:
            official = np.asarray(picture.convert("L")) >= 128
        assert np.array_equal(dataset.mask(10 * c + 2), official * np.uint8(c + 1))
        assert np.array_equal(official, region(100 * c + 3))


def oracle(shot: int, classes: dict[int, list[int]], episodes: int) -> list[tuple[int, tuple[int, ...]]]:
    """Queries and supports by the rule of HSNet's data/fss.py, with numpy's global generator."""
    state = np.random.get_state()
    np.random.seed(0)
    walk = [(c, number) for c in classes for number in sorted(range(1, 11), key=lambda n: f"{n}.jpg")]
    found = []
    for c, query in walk[:episodes]:
        supports = chosen_supports(range(1, 11), query, shot)
        found.append((classes[c][query - 1], tuple(classes[c][n - 1] for n in supports)))
    np.random.set_state(state)
    return found


@pytest.mark.parametrize("shot", [1, 5])
def test_episodes_are_those_of_the_official_code(fss1000: Path, shot: int) -> None:
    """Each test image is the query once, supports come from the other nine and may repeat."""
    rule, dataset = protocol({"name": "fss1000", "episodes": 30}, FSS1000.family), opened(fss1000)
    numbers = dataset.numbers("val")
    draw = drawn(rule, dataset, {c: dataset.index.images(c, numbers) for c in dataset.novel(0)}, (1, shot, 1))
    episodes = [draw(Key(0, number)) for number in range(30)]
    images = {c: [i for i in numbers if dataset.index.pixels[i, c]] for c in dataset.novel(0)}
    assert [(e.query[0], e.support[0]) for e in episodes] == oracle(shot, images, 30)
    assert sorted(e.query[0] for e in episodes) == list(range(50, 80))
    assert all(e.query[0] not in e.support[0] for e in episodes)
    if shot == 5:
        assert any(len(set(e.support[0])) < 5 for e in episodes)


def test_a_whole_run_has_every_test_image_once() -> None:
    rule = protocol({"name": "fss1000"}, FSS1000.family)
    assert (rule.runs, rule.episodes, rule.seed) == (1, 240 * EACH, 0)
    assert "every image is a query in turn" in rule.in_words(2400)


@pytest.mark.slow
def test_the_miniature_through_every_command(fsseg: Callable, fss1000: Path, tmp_path: Path) -> None:  # noqa: F811
    root = ("--root", str(fss1000))
    assert fsseg("data", "prepare", "fss1000", *root).out.startswith(
        "FSS-1000 subset: 30 train and 50 val images, 8 classes; prepared in"
    )
    assert "already prepared" in fsseg("data", "prepare", "fss1000", *root).out
    verified = fsseg("data", "verify", "fss1000", *root, "--workers", "0")
    assert (verified.code, "FSS-1000 subset: clean" in verified.out) == (0, True), verified.out
    assert "trn classes" in verified.out
    assert "masks                  80  of 10,000" in verified.out
    told = fsseg("data", "info", "fss1000", *root, "--out", "info.png").out
    assert "class-disjoint: 3 classes to train on, 2 to validate on, 3 novel" in told
    assert "2 classes of validation: 0 train and 20 val pairs" in told
    show_and_fit(fsseg, "--data.dataset", "FSS1000", "--data.root", str(fss1000))
    tested = fsseg("test", "--ckpt_path", "run/last.ckpt", "--protocol.name", "fss1000", "--protocol.episodes", "30",
                   "--out", "test")  # fmt: skip
    assert tested.code == 0, tested.err
    assert "every image is a query in turn" in tested.out
    with (tmp_path / "test/rows.csv").open() as file:
        assert {int(row["class_id"]) for row in csv.DictReader(file)} <= {0, 6, 7, 8}


def test_more_classes_than_8_bits_hold(tmp_path: Path) -> None:
    """The published lists: 1,000 classes, class 255 among them."""
    names = [name for part in ("trn", "val", "test") for name in _published()[part]]
    for c, name in enumerate(names):
        save(tmp_path / "fewshot_data" / name / "1.jpg", np.zeros((8, 8, 3), np.uint8))
        save(tmp_path / "fewshot_data" / name / "1.png", grey(region(c, (8, 8)), c))
    dataset = opened(tmp_path)
    assert len(dataset.class_names) == 1000
    assert [len(found) for found in (dataset.base(0), dataset.validation(0), dataset.novel(0))] == [520, 240, 240]
    assert dataset.novel(0)[0] == 761
    assert dataset.note == "1,000 classes have other than 10 images, e.g. ac_wall (1)"
    for number in (254, 999):
        assert np.unique(dataset.mask(number)).tolist() in ([0, number + 1], [number + 1])
        assert dataset.mask(number).dtype == np.uint16


def test_two_real_classes(tmp_path: Path) -> None:
    sample = SHARED / "data/samples/fss1000"
    if not sample.is_dir():
        pytest.skip(f"{sample} is missing")
    for kind in ("images", "masks"):
        shutil.copytree(sample / kind, tmp_path, dirs_exist_ok=True)
    (tmp_path / "splits").mkdir()
    (tmp_path / "splits/test.txt").write_text("apple\nbasketball\n")
    dataset = opened(tmp_path)
    assert (len(dataset.numbers("train")), len(dataset.numbers("val"))) == (0, 20)
    for number in dataset.numbers("val"):
        dataset.check(number)
        assert 0.005 < (dataset.mask(number) > 0).mean() < 0.9


def _lists(**lists: str) -> Callable[[Path], None]:
    def write(root: Path) -> None:
        for name, text in lists.items():
            (root / f"splits/{name}.txt").write_text(text)

    return write


BROKEN: dict[str, tuple[Callable[[Path], object], str]] = {
    "no class": (
        lambda root: [shutil.rmtree(path) for path in root.iterdir() if path.name != "splits"],
        "is no FSS-1000: it has no class. Give the folder of fewshot_data.zip",
    ),
    "no test list": (lambda root: (root / "splits/test.txt").unlink(), "test.txt is missing or empty"),
    "an empty test list": (_lists(test="\n\n"), "test.txt is missing or empty"),
    "a class twice": (_lists(test="fig\nfig\n"), "splits: fig is listed twice"),
    "a class in two lists": (_lists(val="fig\neel\n"), "splits: fig is listed twice"),
    "a class without folder": (_lists(val="unicorn\n"), "1 classes have no folder with 1.jpg: unicorn. Unpack"),
    "a path": (_lists(test="../fss/fig\n"), "'../fss/fig' is no name of a class folder"),
    "a mask without image": (lambda root: (root / "fig/3.jpg").unlink(), "3.png has no image 3.jpg"),
    "a missing mask": (lambda root: (root / "fig/3.png").unlink(), "fig/3.png is missing"),
    "another size": (
        lambda root: save(root / "fig/3.png", np.zeros((7, 5), np.uint8)),
        "fig/3.png is 5x7, its image 48x40",
    ),
    "16 bits": (lambda root: save(root / "fig/3.png", np.full((40, 48), 600, np.uint16)), "I;16 pixels; 8 bits"),
    "no PNG": (lambda root: (root / "fig/3.png").write_bytes(b"nothing"), "fig/3.png cannot be decoded"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_bad_input_is_one_line(fsseg: Callable, fss1000: Path, case: str) -> None:  # noqa: F811
    breaks, expected = BROKEN[case]
    breaks(fss1000)
    ran = fsseg("data", "info", "fss1000", "--root", str(fss1000))
    assert (ran.code, expected in ran.line) == (2, True), ran.line


def test_root_and_lists_that_are_missing(fsseg: Callable, fss1000: Path) -> None:  # noqa: F811
    assert "data info needs --root DIR" in fsseg("data", "info", "fss1000").line
    shutil.rmtree(fss1000 / "splits")
    ran = fsseg("data", "prepare", "fss1000", "--root", str(fss1000))
    assert ran.code == 2
    assert "1,000 classes have no folder with 1.jpg: ac_wall, acorn" not in ran.line, "acorn is there"
    assert "classes have no folder with 1.jpg: ac_wall, adhensive_tape" in ran.line
    assert "or list the classes that are there in splits/trn.txt" in ran.line


def test_masks_of_0_and_1_are_reported(fsseg: Callable, fss1000: Path) -> None:  # noqa: F811
    save(fss1000 / "fig/3.png", region(3).astype(np.uint8))
    ran = fsseg("data", "verify", "fss1000", "--root", str(fss1000), "--workers", "0", "--report", "report.json")
    assert ran.code == 1
    assert "fig/3: mask" in ran.out
    assert "shows no pixel of fig: grey levels of 128 and more mark the class" in ran.out
    assert len(json.loads(Path("report.json").read_text())["problems"]) == 1
    for path in fss1000.rglob("*.png"):
        save(path, np.ones((40, 48), np.uint8))
    assert "no mask of FSS-1000 shows a class" in fsseg("data", "info", "fss1000", "--root", str(fss1000)).line
