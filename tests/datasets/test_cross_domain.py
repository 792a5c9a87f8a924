"""The cross-domain sets: layouts, classes, masks, episodes of the official code, and every command."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import PIL.Image
import pytest

from fsseg.datasets import ISIC2018, SUIM, ChestXRay, Dataset, DeepGlobe
from fsseg.episodes.draw import drawn
from fsseg.episodes.sampler import Key
from fsseg.experiment.files import experiment_folder
from fsseg.protocols.presets import protocol
from tests.cli.conftest import fsseg, trained  # noqa: F401 - fixtures
from tests.suites import SUIM_FOLDERS, region, save, write_chest, write_deepglobe, write_isic, write_suim

CONFIG = ("--config", str(experiment_folder() / "quickstart.yaml"))


class Set(NamedTuple):
    """A data set, its name on the command line, and what its miniature has."""

    kind: type[Dataset]
    command: str
    write: Callable[[Path], None]
    images: int
    name: str


SETS = {
    "deepglobe": Set(DeepGlobe, "deepglobe", write_deepglobe, 8, "DeepGlobe"),
    "isic": Set(ISIC2018, "isic2018", write_isic, 15, "ISIC 2018 subset"),
    "isic folders": Set(ISIC2018, "isic2018", lambda root: write_isic(root, True), 15, "ISIC 2018 subset"),
    "chest": Set(ChestXRay, "chest_xray", write_chest, 10, "Chest X-ray subset"),
    "suim": Set(SUIM, "suim", write_suim, 14, "SUIM subset"),
}


@pytest.fixture(scope="module")
def originals(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("cross")
    for name, of in SETS.items():
        of.write(root / name)
    return root


@pytest.fixture(params=SETS)
def made(request: pytest.FixtureRequest, originals: Path) -> tuple[Set, Dataset]:
    of = SETS[request.param]
    dataset = of.kind()
    dataset.open(originals / request.param)
    return of, dataset


def test_all_classes_are_novel_and_all_images_are_tested(made: tuple[Set, Dataset]) -> None:
    of, dataset = made
    assert (dataset.folds, dataset.novel(0), dataset.base(0)) == (1, dataset.class_ids, ())
    assert (len(dataset.numbers("train")), len(dataset.numbers("val"))) == (0, of.images)
    assert dataset.name == of.name
    assert (dataset.index.pixels[:, 1:] > 0).any(axis=0).all()


def test_masks_are_those_of_the_files(originals: Path) -> None:
    xray = ChestXRay()
    xray.open(originals / "chest")
    names = [xray.image_name(i) for i in xray.numbers("val")]
    assert names == [f"CHNCXR_{i:04d}_{i % 2}" for i in range(8) if i != 3] + [
        "MCUCXR_0008_0",
        "MCUCXR_0009_0",
        "MCUCXR_0011_0",
    ]
    for number, name in enumerate(names):
        assert np.array_equal(xray.mask(number), region(int(name.split("_")[1])))
    assert xray.note == "X-rays without a mask, left out: 2"
    photos = ISIC2018()
    photos.open(originals / "isic")
    for i in range(15):
        assert np.array_equal(photos.mask(i), region(i) * np.uint8(i % 3 + 1))
    land = DeepGlobe()
    land.open(originals / "deepglobe")
    for i in range(8):
        expected = np.tile(np.repeat([(i + 2 * band) % 6 + 1 for band in range(3)], 16), (40, 1))
        assert np.array_equal(land.mask(i), expected)
        assert land.class_name(land.mask(i)[0, 0]) == land.class_names[i % 6]


def test_masks_of_shrunken_photos_are_resized(originals: Path) -> None:
    """DR-Adapter's script makes photos of 512 pixels, and leaves masks as they are."""
    photos = ISIC2018()
    photos.open(originals / "isic folders")
    names = [photos.image_name(i) for i in photos.numbers("val")]
    for number, name in enumerate(names):
        i = int(name.removeprefix("ISIC_"))
        with PIL.Image.fromarray(region(i).astype(np.uint8)) as picture:
            expected = np.asarray(picture.resize((16, 20), PIL.Image.Resampling.NEAREST))
        assert photos.image(number).shape[:2] == photos.mask(number).shape == (20, 16)
        assert np.array_equal(photos.mask(number) == i % 3 + 1, expected == 1)


def test_where_masks_overlap_the_own_way_covers_the_other(originals: Path) -> None:
    water = SUIM()
    water.open(originals / "suim")
    overlap = 0
    for number in water.numbers("val"):
        i = int(water.image_name(number).split("_")[2])
        ids = (i % 7 + 1, (i + 2) % 7 + 1)
        first, second = region(10 * i + 1), region(10 * i + 2)
        overlap += int((first & second).sum())
        for own, top, other in ((0, first, second), (1, second, first)):
            found = water.episode_mask(number, ids, own)
            assert np.array_equal(found == own + 1, top)
            assert np.array_equal(found == 2 - own, other & ~top)
        assert water.index.pixels[number, ids[0]] == first.sum()
        assert water.index.pixels[number, (i + 4) % 7 + 1] == 0, "an empty mask"
    assert overlap, "the miniature has overlaps"


def oracle(classes: list[list[int]], shot: int, episodes: int) -> list[tuple[int, int, list[int]]]:
    """Class, query and supports by the rule of PATNet's loaders, with numpy's global generator and file names."""
    state = np.random.get_state()
    np.random.seed(0)
    found = []
    for idx in range(episodes):
        names = [f"{number:04d}" for number in classes[idx % len(classes)]]
        query = np.random.choice(names, 1, replace=False)[0]
        supports: list[str] = []
        while len(supports) < shot:
            name = np.random.choice(names, 1, replace=False)[0]
            if name != query:
                supports.append(name)
        found.append((idx % len(classes) + 1, int(query), [int(name) for name in supports]))
    np.random.set_state(state)
    return found


@pytest.mark.parametrize("shot", [1, 5])
def test_episodes_are_those_of_the_official_code(made: tuple[Set, Dataset], shot: int) -> None:
    _, dataset = made
    rule, numbers = protocol({"name": "cdfss"}, dataset.family), dataset.numbers("val")
    images = {c: dataset.index.images(c, numbers) for c in dataset.novel(0)}
    draw = drawn(rule, dataset, images, (1, shot, 1))
    episodes = [draw(Key(0, number)) for number in range(rule.episodes)]
    assert rule.episodes == (3859 if dataset.name.startswith("SUIM") else 600)
    expected = oracle([found.tolist() for found in images.values()], shot, rule.episodes)
    assert [(e.classes[0], e.query[0], list(e.support[0])) for e in episodes] == expected


@pytest.mark.slow
@pytest.mark.parametrize("name", SETS)
def test_every_command(fsseg: Callable, originals: Path, name: str, trained: Path) -> None:  # noqa: F811
    of, root = SETS[name], originals / name
    prepared = fsseg("data", "prepare", of.command, "--root", str(root))
    assert prepared.out.startswith(f"{of.name}: 0 train and {of.images} val images"), prepared.err
    verified = fsseg("data", "verify", of.command, "--root", str(root), "--workers", "0")
    assert (verified.code, f"{of.name}: clean" in verified.out) == (0, True), verified.out
    told = fsseg("data", "info", of.command, "--root", str(root), "--out", "info.png")
    assert "novel, for tests only" in told.out, told.err
    data = ("--data.dataset", of.kind.__name__, "--data.root", str(root))
    shown = fsseg("data", "show", *CONFIG, *data, "--data.images.size=48", "--stage", "test", "--out", "show.png")
    assert shown.code == 0, shown.err
    tested = fsseg("test", "--ckpt_path", str(trained), *data, "--data.fold", "0", "--protocol.name", "cdfss",
                   "--protocol.episodes", "12", "--out", "test")  # fmt: skip
    assert tested.code == 0, tested.err
    assert "classes in turn, drawn as PATNet's code does" in tested.out
    refused = fsseg("fit", *CONFIG, *data, "--out", "run")
    assert refused.code == 2
    assert "Traceback" not in refused.err


def _text(path: str, old: str, new: str) -> Callable[[Path], object]:
    return lambda root: (root / path).write_text((root / path).read_text().replace(old, new))


INPUT, TRUTH = "ISIC2018_Task1-2_Training_Input", "ISIC2018_Task1_Training_GroundTruth"
BROKEN: dict[str, tuple[str, Callable[[Path], object], str]] = {
    "no land": ("deepglobe", lambda root: shutil.rmtree(root / "1"), "is no DeepGlobe: it has no folder 1/test/or"),
    "a class of land": (
        "deepglobe",
        lambda root: shutil.rmtree(root / "4/test/groundtruth"),
        "forest is class 4. Give",
    ),
    "no patch": ("deepglobe", lambda root: _empty(root / "5/test/origin"), "5/test/origin has no image NAME.jpg"),
    "a patch": ("deepglobe", lambda root: (root / "1/test/origin/0_sat_0.jpg").unlink(), "0_sat_0.png has no image in"),
    "a mask of land": (
        "deepglobe",
        lambda root: (root / "1/test/groundtruth/0_sat_0.png").unlink(),
        "0_sat_0.png is missing",
    ),
    "a size of land": (
        "deepglobe",
        lambda root: save(root / "1/test/groundtruth/0_sat_0.png", np.zeros((4, 9), np.uint8)),
        "is 9x4, its image 48x40",
    ),
    "no photos": ("isic", lambda root: _empty(root / INPUT), f"{INPUT} has no photo ISIC_0000000.jpg"),
    "no masks": ("isic", lambda root: shutil.rmtree(root / TRUTH), f"{TRUTH} is missing. Give the folder"),
    "no table": (
        "isic",
        lambda root: (root / "class_id.csv").unlink(),
        "class_id.csv is missing, which says the class",
    ),
    "a photo that the table lacks": (
        "isic",
        _text("class_id.csv", "ISIC_0000004,", "ISIC_9000004,"),
        "class_id.csv lacks ISIC_0000004: 1 of 15 photos have no class",
    ),
    "an unknown class": (
        "isic",
        _text("class_id.csv", "4,nevus", "4,mole"),
        "line 6: 'mole' is no class. Lines ID,Class",
    ),
    "another table": ("isic", _text("class_id.csv", "ID,Class", "image,label"), "line 2: '' is no class"),
    "two classes": (
        "isic",
        _text("class_id.csv", "ISIC_0000005,melanoma", "ISIC_0000004,melanoma"),
        "ISIC_0000004 has two classes",
    ),
    "no X-rays": ("chest", lambda root: shutil.rmtree(root / "LungSegmentation/CXR_png"), "has no folder CXR_png"),
    "no lungs": ("chest", lambda root: shutil.rmtree(root / "LungSegmentation/masks"), "masks is missing. Give the"),
    "an X-ray": (
        "chest",
        lambda root: (root / "LungSegmentation/CXR_png/CHNCXR_0001_1.png").unlink(),
        "CHNCXR_0001_1_mask.png has no X-ray CHNCXR_0001_1.png in CXR_png",
    ),
    "two masks of an X-ray": (
        "chest",
        lambda root: save(root / "LungSegmentation/masks/CHNCXR_0001_1.png", region(1) * np.uint8(255)),
        "are masks of one X-ray. Keep one",
    ),
    "no water": ("suim", lambda root: shutil.rmtree(root / "images"), "is no SUIM: it has no folder images. Give the"),
    "a class of water": ("suim", lambda root: shutil.rmtree(root / "masks/RO"), "masks/RO is missing: RO is robots"),
    "a photo": ("suim", lambda root: (root / "images/d_r_1_.jpg").unlink(), "has no photo d_r_1_.jpg in images"),
    "two masks of a photo": (
        "suim",
        lambda root: save(root / f"masks/{SUIM_FOLDERS[0]}/d_r_7_.bmp", region(1) * np.uint8(255)),
        "are masks of one photo. Keep one",
    ),
    "blank masks": (
        "suim",
        lambda root: [save(path, np.zeros((40, 48), np.uint8)) for path in (root / "masks").rglob("*.*")],
        "no mask of SUIM shows a class",
    ),
}


def _empty(folder: Path) -> None:
    for path in folder.iterdir():
        path.unlink()


@pytest.mark.parametrize("case", BROKEN)
def test_bad_input_is_one_line(fsseg: Callable, originals: Path, tmp_path: Path, case: str) -> None:  # noqa: F811
    name, breaks, expected = BROKEN[case]
    root = shutil.copytree(originals / name, tmp_path / "data")
    breaks(root)
    ran = fsseg("data", "info", SETS[name].command, "--root", str(root))
    assert (ran.code, expected in ran.line) == (2, True), ran.line
    assert "Traceback" not in ran.err


def test_verify_names_each_broken_file(fsseg: Callable, originals: Path, tmp_path: Path) -> None:  # noqa: F811
    root = shutil.copytree(originals / "isic", tmp_path / "data")
    (root / TRUTH / "ISIC_0000002_segmentation.png").unlink()
    (root / INPUT / "ISIC_0000003.jpg").write_bytes(b"nothing")
    save(root / TRUTH / "ISIC_0000004_segmentation.png", np.zeros((40, 48), np.uint8))
    ran = fsseg("data", "verify", "isic2018", "--root", str(root), "--workers", "0")
    assert ran.code == 1
    assert "ISIC 2018 subset: 3 of 15 images have problems" in ran.out
    for line in ("ISIC_0000002: mask", "ISIC_0000003: image", "ISIC_0000004: mask", "shows no pixel of nevus"):
        assert line in ran.out
    assert "masks                  14  of 2,594" in ran.out
