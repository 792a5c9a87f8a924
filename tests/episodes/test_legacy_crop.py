import ast
import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

import fsseg
from fsseg.encoders import ConvNet
from fsseg.episodes.legacy_crop import crop_box
from fsseg.episodes.transforms import Augmentation, resize_image, resize_mask
from fsseg.errors import FssegError

Oracle = Callable[[str], dict[str, np.ndarray]]
FLIP = {"class_path": "HorizontalFlip", "init_args": {"p": 0.5}}
CROP = "fsseg.episodes.legacy_crop.OldRandomResizedCrop"
RANDOM = np.random.default_rng(0)
IMAGE = RANDOM.integers(0, 256, (20, 28, 3), dtype=np.uint8)
MASK = np.arange(20 * 28).reshape(20, 28).astype(np.uint8)


def test_boxes_equal_pmms_code(oracle: Oracle) -> None:
    stored = oracle("pmms_rrc_params")
    generator = random.Random(int(stored["seed"]))
    for width, height, *box in stored["params"].tolist():
        assert list(crop_box(generator, height, width)) == box


def transformed_as(stored: dict[str, np.ndarray], image: np.ndarray, mask: np.ndarray) -> None:
    """Resize and normalise, and compare with the official transform's output."""
    size = (int(stored["size"]),) * 2
    small = torch.from_numpy(resize_image(image, size).copy()).permute(2, 0, 1)
    tensor = ConvNet((8,), (1,)).normalise(small.unsqueeze(0))[0].numpy()
    wrong = np.abs(tensor - stored["out_image"])
    assert np.array_equal(resize_mask(mask, size), stored["out_mask"][0])
    assert wrong.max() < 0.02  # one grey level, where PIL versions differ
    assert (wrong > 1e-5).mean() < 0.01


def test_training_pipeline_equals_pmms_code(oracle: Oracle) -> None:
    stored = oracle("pmms_transform_train")
    image, mask = stored["image"], stored["mask"]
    # Python's generator, as the official code uses it: the flip draws first, then the crop.
    generator = random.Random(int(stored["random_seed"]))
    if generator.random() < 0.5:
        image, mask = image[:, ::-1], mask[:, ::-1]
    top, left, height, width = crop_box(generator, *mask.shape)
    window = slice(top, top + height), slice(left, left + width)
    transformed_as(stored, np.ascontiguousarray(image[window]), np.ascontiguousarray(mask[window]))
    transformed_as(stored, *Augmentation([FLIP, CROP])(stored["image"], stored["mask"], int(stored["random_seed"])))


def test_test_pipeline_equals_pmms_code(oracle: Oracle) -> None:
    stored = oracle("pmms_transform_val")
    transformed_as(stored, stored["image"], stored["mask"])


def test_where_no_box_fits_the_centre_square_is_taken() -> None:
    assert crop_box(random.Random(0), height=100, width=10) == (45, 0, 10, 10)
    assert crop_box(random.Random(0), height=11, width=100) == (0, 44, 11, 11)


def test_image_and_mask_are_cropped_alike_and_repeatably() -> None:
    crop = Augmentation([CROP])
    sizes = set()
    for seed in range(20):
        image, mask = crop(IMAGE, MASK, seed)
        top, left, height, width = crop_box(random.Random(seed), 20, 28)
        assert np.array_equal(image, IMAGE[top : top + height, left : left + width])
        assert np.array_equal(mask, MASK[top : top + height, left : left + width])
        assert np.array_equal(image, Augmentation([CROP])(IMAGE, MASK, seed)[0])
        sizes.add(mask.shape)
    assert len(sizes) > 10


def test_scale_and_ratio_are_what_was_asked_for() -> None:
    whole = {"class_path": CROP, "init_args": {"scale": [1, 1], "ratio": [1, 1]}}
    square = np.zeros((20, 20), dtype=np.uint8)
    assert Augmentation([whole])(IMAGE[:, :20], square, seed=0)[1].shape == (20, 20)
    tall = {"class_path": CROP, "init_args": {"scale": [0.1, 0.1], "ratio": [0.2, 0.2]}}
    shapes = {Augmentation([tall])(IMAGE, MASK, seed)[1].shape for seed in range(10)}
    assert shapes == {(17, 3), (3, 17)}


@pytest.mark.parametrize("bad", [{"scale": [0.5]}, {"scale": [1, 0.5]}, {"ratio": [0, 1]}, {"p": 2}, {"size": 321}])
def test_arguments_that_make_no_sense_are_refused(bad: dict[str, object]) -> None:
    with pytest.raises(FssegError, match=f"{CROP}.*{next(iter(bad))}") as error:
        Augmentation([{"class_path": CROP, "init_args": bad}])
    assert "\n" not in str(error.value)


@pytest.mark.slow
def test_no_module_imports_the_crop() -> None:
    # It brings albumentations along, which takes seconds: only a class path leads to it.
    for path in Path(fsseg.__path__[0]).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in getattr(node, "names", [])] if "Import" in type(node).__name__ else []
            assert not any(name in ("crop", "fsseg.episodes.legacy_crop") for name in names), path
            assert getattr(node, "module", None) != "fsseg.episodes.legacy_crop", path
