"""iSAID-5i: patches from the official files, folds, episodes, and a miniature through every command."""

import csv
import io
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from fsseg.datasets import ISAID
from fsseg.datasets.isaid import COLOURS
from fsseg.episodes.draw import drawn
from fsseg.episodes.sampler import Key
from fsseg.prepare import isaid
from fsseg.protocols.presets import protocol
from tests import aerial
from tests.aerial import SIZES, ids, write_isaid
from tests.cli.conftest import fsseg  # noqa: F401 - a fixture
from tests.suites import chosen_supports, save, show_and_fit


@pytest.fixture(scope="session")
def _isaid_official(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("isaid") / "official"
    write_isaid(root)
    return root


@pytest.fixture(scope="session")
def _isaid_patches(_isaid_official: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = shutil.copytree(_isaid_official, tmp_path_factory.mktemp("isaid") / "patches")
    assert isaid.prepare(root)
    return root


@pytest.fixture
def official(_isaid_official: Path, tmp_path: Path) -> Path:
    return shutil.copytree(_isaid_official, tmp_path / "isaid")


@pytest.fixture
def root(_isaid_patches: Path, tmp_path: Path) -> Path:
    return shutil.copytree(_isaid_patches, tmp_path / "isaid")


def opened(root: Path) -> ISAID:
    dataset = ISAID()
    dataset.open(root)
    return dataset


def expected() -> dict[str, dict[str, np.ndarray]]:
    """Class ids of each patch by name, by brute force."""
    found: dict[str, dict[str, np.ndarray]] = {"train": {}, "val": {}}
    for split, sizes in SIZES.items():
        for place, size in enumerate(sizes):
            seed = place + 50 * (split == "val")
            shown = ids(seed, size)
            for top, bottom in aerial.windows(size[0]):
                for left, right in aerial.windows(size[1]):
                    part = shown[top:bottom, left:right]
                    if max((part == c).sum() for c in range(1, 16)) >= 1024:
                        found[split][f"P{seed:04d}_{top}_{bottom}_{left}_{right}"] = part
    return found


@pytest.mark.parametrize("length", [256, 257, 300, 462, 463, 512, 1023, 2557])
def test_windows_are_those_of_the_development_kit(length: int) -> None:
    assert isaid.windows(length) == aerial.windows(length)
    assert isaid.windows(200) == [(0, 200)]


def test_windows_are_those_of_the_patches_that_public_code_names() -> None:
    """P0003_767_1023_618_874, P0002_1648_1904_2301_2557, P0023_206_462_1030_1286, P0791_412_668_0_256."""
    assert {(206, 462), (412, 668), (767, 1023), (618, 874)} <= set(isaid.windows(1023))
    assert {(1442, 1698), (1648, 1904), (2266, 2522), (2301, 2557), (1030, 1286), (0, 256)} <= set(isaid.windows(2557))


def test_patches_are_cut_where_a_class_is_large_enough(root: Path) -> None:
    dataset, patches = opened(root), expected()
    for split in ("train", "val"):
        numbers = dataset.numbers(split)
        assert [dataset.image_name(number) for number in numbers] == sorted(patches[split])
        for number in numbers:
            name = dataset.image_name(number)
            assert np.array_equal(dataset.mask(number), patches[split][name])
            top, bottom, left, right = map(int, name.split("_")[1:])
            with PIL.Image.open(root / split / "images" / f"{name[:5]}.png") as picture:
                assert np.array_equal(dataset.image(number), np.asarray(picture)[top:bottom, left:right])
            assert np.array_equal(dataset.index.pixels[number], np.bincount(dataset.mask(number).ravel(), minlength=16))
    cut = sum(len(aerial.windows(h)) * len(aerial.windows(w)) for h, w in SIZES["val"])
    assert 5 < len(dataset.numbers("val")) < cut, "some are left out"


def test_folds_and_colours_are_those_of_the_codes() -> None:
    assert [ISAID().novel(fold) for fold in range(3)] == [tuple(range(5 * f + 1, 5 * f + 6)) for f in range(3)]
    assert [COLOURS[colour] for colour in aerial.COLOURS] == list(range(16))
    assert (ISAID.class_names[0], ISAID.class_names[13]) == ("ship", "plane")


def test_a_second_run_does_nothing_and_lost_patches_are_cut_again(root: Path) -> None:
    before = {path: path.read_bytes() for path in (root / "iSAID_patches").rglob("*.png")}
    assert not isaid.prepare(root)
    lost = sorted((root / "iSAID_patches/val/images").iterdir())[0]
    lost.unlink()
    # A copied tree has other times, so that the images count as other ones; existing patches stay.
    assert isaid.prepare(root)
    assert {path: path.read_bytes() for path in (root / "iSAID_patches").rglob("*.png")} == before


@pytest.mark.slow
def test_masks_may_lie_where_the_archives_put_them(tmp_path: Path) -> None:
    write_isaid(tmp_path, "Semantic_masks/images/images")
    assert isaid.prepare(tmp_path)
    assert len(opened(tmp_path).numbers("val")) == len(expected()["val"])


def test_the_archive_of_the_authors_is_read_too(root: Path, tmp_path: Path) -> None:
    (tmp_path / "remote_sensing").mkdir()
    (root / "iSAID_patches").rename(tmp_path / "remote_sensing/iSAID_patches")
    dataset = opened(tmp_path)
    assert dataset.name == "iSAID-5i (own patches)"
    assert "those of published numbers, another choice, are 6,363" in dataset.note
    assert not isaid.prepare(tmp_path / "remote_sensing/iSAID_patches"), "patches of another program stay"


@pytest.mark.parametrize(("fold", "shot"), [(0, 1), (2, 5)])
def test_episodes_are_those_of_gfsams_code(root: Path, fold: int, shot: int) -> None:
    """Each pair of a list is the query once, supports are other patches of the class and may repeat."""
    rule, dataset = protocol({"name": "isaid5i", "min_pixels": 300}, ISAID.family), opened(root)
    numbers = dataset.numbers("val")
    images = {c: dataset.index.images(c, numbers, 300) for c in dataset.novel(fold)}
    pairs = [pair for pair in dataset.index.order if pair[1] in images and pair[0] in images[pair[1]]]
    assert sorted(pairs) == sorted((int(n), c) for c, found in images.items() for n in found)
    lists = {c: [n for n, class_id in pairs if class_id == c] for c in images}  # in the order of the list
    draw = drawn(protocol({"name": "isaid5i", "episodes": len(pairs) + 3}, ""), dataset, images, (1, shot, 1))
    state = np.random.get_state()
    np.random.seed(0)
    for position, (query, class_id) in enumerate([*pairs, *pairs[:3]]):
        supports = chosen_supports(lists[class_id], query, shot)
        found = draw(Key(0, position))
        assert (found.query[0], found.classes, found.support[0]) == (query, (class_id,), supports)
    np.random.set_state(state)
    assert (rule.seed, rule.runs, rule.void, rule.support_void) == (0, 1, "ignore", "background")


@pytest.mark.slow
def test_the_miniature_through_every_command(fsseg: Callable, official: Path, tmp_path: Path) -> None:  # noqa: F811
    where = ("--root", str(official))
    said = fsseg("data", "prepare", "isaid", *where).out
    patches = {split: len(found) for split, found in expected().items()}
    assert said.startswith(f"iSAID-5i (own patches): {patches['train']} train and {patches['val']} val images, 15 cl")
    assert "already prepared" in fsseg("data", "prepare", "isaid", *where).out
    verified = fsseg("data", "verify", "isaid", *where, "--workers", "0")
    assert (verified.code, "iSAID-5i (own patches): clean" in verified.out) == (0, True), verified.out
    assert "blocks of five in the order of iSAID's ids" in fsseg("data", "info", "isaid", *where).out
    show_and_fit(fsseg, "--data.dataset", "ISAID", "--data.root", str(official), "--data.fold", "1")
    tested = fsseg("test", "--ckpt_path", "run/last.ckpt", "--protocol.name", "isaid5i", "--protocol.episodes", "9",
                   "--out", "test")  # fmt: skip
    assert tested.code == 0, tested.err
    assert "at least 1,024 pixels" in tested.out
    with (tmp_path / "test/rows.csv").open() as file:
        assert {int(row["class_id"]) for row in csv.DictReader(file)} <= {0, 6, 7, 8, 9, 10}


def _grey(path: Path, shape: tuple[int, int], value: int = 0) -> None:
    save(path, np.full(shape, value, dtype=np.uint8))


PREPARED: dict[str, tuple[Callable[[Path], object], str]] = {
    "no folder": (lambda root: shutil.rmtree(root / "val"), "has no val images of iSAID. DOTA v1.0's images belong"),
    "no mask": (lambda root: (root / "val/images/P0051_instance_color_RGB.png").unlink(), "has no mask P0051_"),
    "no image": (lambda root: (root / "val/images/P0051.png").unlink(), "has no image P0051.png"),
    "another size": (
        lambda root: save(root / "val/images/P0051_instance_color_RGB.png", np.zeros((9, 7, 3), np.uint8)),
        "P0051_instance_color_RGB.png is 7x9, its image 462x470",
    ),
    "another colour": (
        lambda root: save(root / "val/images/P0051_instance_color_RGB.png", np.full((470, 462, 3), 9, np.uint8)),
        "P0051_instance_color_RGB.png holds the colour 9,9,9, which iSAID does not list",
    ),
    "no PNG": (lambda root: (root / "val/images/P0050.png").write_bytes(b"nothing"), "P0050.png cannot be decoded"),
    "a truncated PNG": (
        lambda root: (root / "val/images/P0050.png").write_bytes((root / "val/images/P0050.png").read_bytes()[:900]),
        "P0050.png cannot be decoded",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", PREPARED)
def test_bad_official_files_are_one_line(fsseg: Callable, official: Path, case: str) -> None:  # noqa: F811
    breaks, message = PREPARED[case]
    breaks(official)
    ran = fsseg("data", "prepare", "isaid", "--root", str(official))
    assert (ran.code, message in ran.line) == (2, True), ran.line


def _first(root: Path, part: str) -> Path:
    return sorted((root / "iSAID_patches/val" / part).iterdir())[0]


BROKEN: dict[str, tuple[Callable[[Path], object], str]] = {
    "no patches": (lambda root: shutil.rmtree(root / "iSAID_patches"), "has no patches of iSAID, iSAID_patches/val"),
    "no masks": (
        lambda root: [path.unlink() for path in (root / "iSAID_patches/val/semantic_png").iterdir()],
        "has no mask NAME_instance_color_RGB.png",
    ),
    "no image": (lambda root: _first(root, "images").unlink(), "Put it there, or remove the mask"),
    "another size": (lambda root: _grey(_first(root, "semantic_png"), (7, 9)), "is 9x7, its image 256x256"),
    "another class": (lambda root: _grey(_first(root, "semantic_png"), (256, 256), 16), "holds class ids [16]"),
    "colours": (
        lambda root: save(_first(root, "semantic_png"), np.full((256, 256, 3), 63, np.uint8) * np.uint8([0, 1, 2])),
        "is a RGB image; class ids need an indexed or 8-bit grey PNG",
    ),
    "no PNG": (lambda root: _first(root, "semantic_png").write_bytes(b""), "cannot be decoded"),
}  # fmt: skip


@pytest.mark.parametrize("case", BROKEN)
def test_bad_patches_are_one_line(fsseg: Callable, root: Path, case: str) -> None:  # noqa: F811
    breaks, message = BROKEN[case]
    breaks(root)
    ran = fsseg("data", "info", "isaid", "--root", str(root))
    assert (ran.code, message in ran.line) == (2, True), ran.line


def test_void_is_read(root: Path) -> None:
    path = _first(root, "semantic_png")
    with PIL.Image.open(path) as picture:
        mask = np.asarray(picture).copy()
    mask[:9] = 255
    file = io.BytesIO()
    PIL.Image.fromarray(mask).save(file, "PNG")
    path.write_bytes(file.getvalue())
    dataset = opened(root)
    number = dataset.numbers("val")[0]
    assert (dataset.episode_mask(number, (3,))[:9] == 255).all()
    assert dataset.index.pixels[number].sum() == mask.size - 9 * mask.shape[1]
