"""The contract of data sets, of every data set found in the package."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import fsseg.datasets
from fsseg.contracts.datasets import CHECKS, check_files, numbers
from fsseg.datasets import (
    FSS1000,
    ISAID,
    ISIC2018,
    SUIM,
    ChestXRay,
    Coco,
    CocoJson,
    Dataset,
    DeepGlobe,
    Folder,
    LabellingExport,
    Lvis,
    Pascal,
    Shapes,
)
from fsseg.prepare import isaid
from tests.aerial import write_isaid
from tests.datasets import exports
from tests.federated import write_lvis
from tests.found import concrete, modules
from tests.suites import write_chest, write_deepglobe, write_fss1000, write_isic, write_suim

# How to make it, and the fixture of its files: the originals, so that an index is counted once.
DATASETS: dict[str, tuple[Callable[[], Dataset], str | None]] = {
    "Pascal": (Pascal, "_voc_original"),
    "Shapes": (lambda: Shapes(size=32, train=40, val=40), None),
    "Coco": (Coco, "_coco_original"),
    "Coco-contiguous-crowds-ignored": (lambda: Coco(fold_rule="contiguous", crowds="ignore"), "_coco_original"),
    "Coco-convex": (lambda: Coco(masks="first_polygon_convex"), "_coco_original"),
    "Folder": (Folder, "_maps"),
    "Folder-per-class": (lambda: Folder(folds=3), "_classes"),
    "CocoJson": (
        lambda: CocoJson(
            "annotations/instances_train2017.json",
            "annotations/instances_val2017.json",
            "train2017",
            "val2017",
            folds=7,
        ),
        "_coco_original",
    ),
    "CocoJson-one-file": (
        lambda: CocoJson("annotations/instances_val2017.json", images="val2017", val_share=0.5),
        "_coco_original",
    ),
    "FSS1000": (FSS1000, "_fss1000"),
    "DeepGlobe": (DeepGlobe, "_deepglobe"),
    "ISIC2018": (ISIC2018, "_isic"),
    "ChestXRay": (ChestXRay, "_chest"),
    "SUIM": (SUIM, "_suim"),
    "ISAID": (ISAID, "_isaid"),
    "Lvis": (Lvis, "_lvis"),
    "Lvis-ignore": (lambda: Lvis(not_exhaustive="ignore"), "_lvis"),
    **{
        f"LabellingExport-{program}": (lambda: LabellingExport(folds=2, val_share=0.5), f"_export_{program}")
        for program in exports.WRITERS
    },
    "Coco-map": (lambda: Coco(masks="first_polygon_map"), "_coco_original"),
}

STEPS = {"index": 5, "masks of episodes": 5, "reading twice": 17}  # images from one checked image to the next


@pytest.fixture
def _maps(_folder_originals: Path) -> Path:
    return _folder_originals / "maps"


@pytest.fixture
def _classes(_folder_originals: Path) -> Path:
    return _folder_originals / "classes"


def _written(write: Callable[[Path], None]) -> Callable[[pytest.TempPathFactory], Path]:
    """A fixture of files that no test changes."""

    @pytest.fixture(scope="module")
    def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
        root = tmp_path_factory.mktemp("files")
        write(root)
        return root

    return files


_fss1000, _deepglobe, _isic, _chest, _suim, _lvis = map(
    _written, (write_fss1000, write_deepglobe, write_isic, write_chest, write_suim, write_lvis)
)


@pytest.fixture(scope="module")
def _isaid(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("isaid")
    write_isaid(root)
    isaid.prepare(root)
    return root


@pytest.fixture(scope="session")
def _exports(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("exports")
    for program, write in exports.WRITERS.items():
        write(root / program)
    return root


@pytest.fixture
def _export_labelme(_exports: Path) -> Path:
    return _exports / "labelme"


@pytest.fixture
def _export_cvat(_exports: Path) -> Path:
    return _exports / "cvat"


@pytest.fixture
def _export_label_studio(_exports: Path) -> Path:
    return _exports / "label_studio"


@pytest.fixture
def _export_yolo(_exports: Path) -> Path:
    return _exports / "yolo"


@pytest.mark.parametrize("name", DATASETS)
def test_files_pass_their_check(name: str, request: pytest.FixtureRequest) -> None:
    make, files = DATASETS[name]
    made = make()
    made.locate(request.getfixturevalue(files) if files else None)
    check_files(made)


@pytest.fixture(params=DATASETS)
def dataset(request: pytest.FixtureRequest) -> Dataset:
    make, files = DATASETS[request.param]
    made = make()
    made.open(request.getfixturevalue(files) if files else None)
    return made


def test_every_data_set_of_the_package_is_here() -> None:
    """A data set needs files, so that a new one is named above with a fixture of its own."""
    found = set(concrete(modules(fsseg.datasets), Dataset))
    assert found == {type(make()) for make, _ in DATASETS.values()}


@pytest.mark.parametrize("check", CHECKS)
def test_check_passes(dataset: Dataset, check: str) -> None:
    CHECKS[check](dataset, numbers(dataset)[:: STEPS.get(check, 1)])


def test_masks_of_few_classes_have_8_bits(dataset: Dataset) -> None:
    assert {dataset.mask(i).dtype for i in numbers(dataset)} == {np.dtype(np.uint8)}


@pytest.mark.slow
def test_index_equals_a_scan_of_all_masks(dataset: Dataset) -> None:
    pixels = {c: [(dataset.episode_mask(i, (c,)) == 1).sum() for i in numbers(dataset)] for c in dataset.class_ids}
    for split in ("train", "val"):
        for class_id in dataset.class_ids:
            for least in (1, 60):
                shown = [i for i in dataset.numbers(split) if pixels[class_id][i] >= least]
                assert dataset.index.images(class_id, dataset.numbers(split), min_pixels=least).tolist() == shown
    two = tuple(c for c in (2, 5) if c in dataset.class_ids) or dataset.class_ids
    for split in ("train", "val"):
        without = [i for i in dataset.numbers(split) if not any(pixels[c][i] for c in two)]
        assert dataset.index.without(two, dataset.numbers(split)).tolist() == without
    assert dataset.index.pixels.dtype == np.int32
    assert np.array_equal(dataset.index.pixels[:, 1:].T, list(pixels.values()))


def test_folds_of_pascal_are_panets(oracle_folder: Path) -> None:
    official = json.loads((oracle_folder / "panet_label_sets.json").read_text())["VOC"]
    for fold in range(4):
        assert list(Pascal().base(fold)) == official[str(fold)]["train_iter_order"]
        assert list(Pascal().novel(fold)) == official[str(fold)]["test_iter_order"]


def test_folds_and_names_of_coco_are_those_of_panet_and_pmms(oracle_folder: Path) -> None:
    official = json.loads((oracle_folder / "coco_folds.json").read_text())
    assert list(Coco.class_names) == official["names"]
    for rule, code in (("contiguous", "panet"), ("interleaved", "pmms")):
        dataset = Coco(fold_rule=rule)
        for fold in range(4):
            assert [c - 1 for c in dataset.novel(fold)] == official[code][str(fold)]  # theirs count from 0
