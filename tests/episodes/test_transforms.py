from collections import Counter
from collections.abc import Callable

import numpy as np
import pytest
import torch

from fsseg.encoders import ConvNet
from fsseg.episodes.transforms import Augmentation, resize_image, resize_mask
from fsseg.errors import FssegError

RANDOM = np.random.default_rng(0)
IMAGE = RANDOM.integers(0, 256, (20, 28, 3), dtype=np.uint8)
MASK = np.full((20, 28), 7, dtype=np.uint8)


def step(name: str, **arguments: object) -> dict[str, object]:
    return {"class_path": name, "init_args": arguments}


def test_input_pipeline_equals_panets_code(oracle: Callable[[str], dict[str, np.ndarray]]) -> None:
    stored = oracle("panet_transform")
    height, width = stored["size"].tolist()
    image = resize_image(stored["image"], (height, width))
    assert np.array_equal(image, stored["resized_image"])
    assert np.array_equal(resize_mask(stored["label"], (height, width)), stored["resized_label"])
    tensor = ConvNet((8,), (1,)).normalise(torch.from_numpy(image.copy()).permute(2, 0, 1).unsqueeze(0))
    np.testing.assert_allclose(tensor[0].numpy(), stored["tensor"], rtol=0, atol=1e-6)


def test_size_is_height_and_width() -> None:
    assert resize_image(IMAGE, (10, 14)).shape == (10, 14, 3)
    assert resize_mask(MASK, (10, 14)).shape == (10, 14)


def test_no_steps_change_nothing() -> None:
    image, mask = Augmentation([])(IMAGE, MASK, seed=0)
    assert image is IMAGE
    assert mask is MASK


def test_the_seed_alone_decides() -> None:
    steps = [step("albumentations.HorizontalFlip", p=0.5), step("albumentations.RandomCrop", height=10, width=10)]
    first, second = Augmentation(steps), Augmentation(steps)
    results = [first(IMAGE, MASK, seed)[0] for seed in range(12)]
    again = [second(IMAGE, MASK, seed)[0] for seed in reversed(range(12))][::-1]
    assert all(np.array_equal(a, b) for a, b in zip(results, again, strict=True))
    assert len({image.tobytes() for image in results}) > 6


def test_steps_draw_independently_of_each_other() -> None:
    flips = Augmentation([step("albumentations.HorizontalFlip", p=0.5), step("albumentations.VerticalFlip", p=0.5)])
    corners = np.arange(4, dtype=np.uint8).reshape(2, 2)
    found = Counter(flips(IMAGE[:2, :2], corners, seed)[1].tobytes() for seed in range(200))
    assert len(found) == 4
    assert min(found.values()) > 30


def test_image_and_mask_move_together() -> None:
    flip = Augmentation(["albumentations.HorizontalFlip"])  # a bare path; p is 0.5
    mask = np.arange(20 * 28, dtype=np.uint16).reshape(20, 28).astype(np.uint8)
    flipped = 0
    for seed in range(10):
        image, moved = flip(IMAGE, mask, seed)
        flipped += not np.array_equal(image, IMAGE)
        assert np.array_equal(image, IMAGE[:, ::-1]) == np.array_equal(moved, mask[:, ::-1])
    assert 1 < flipped < 9


@pytest.mark.parametrize(
    "uncovering",
    [
        step("albumentations.PadIfNeeded", min_height=40, min_width=40, border_mode=0),
        step("albumentations.Affine", translate_percent=0.4, p=1),
        step("albumentations.Rotate", limit=(45, 45), border_mode=0, p=1),
    ],
)
def test_uncovered_pixels_are_ignored(uncovering: dict[str, object]) -> None:
    _, mask = Augmentation([uncovering])(IMAGE, MASK, seed=0)
    assert set(np.unique(mask)) == {7, 255}


def test_a_users_own_fill_wins() -> None:
    padding = step("PadIfNeeded", min_height=40, min_width=40, border_mode=0, fill_mask=0)
    assert set(np.unique(Augmentation([padding])(IMAGE, MASK, seed=0)[1])) == {0, 7}


@pytest.mark.parametrize("name", ["Normalize", "ToFloat", "albumentations.pytorch.ToTensorV2"])
def test_what_the_encoder_does_itself_is_refused(name: str) -> None:
    with pytest.raises(FssegError, match="leave out Normalize and ToTensorV2"):
        Augmentation([step(name)])(IMAGE, MASK, seed=0)


def test_a_crop_larger_than_the_image_is_an_error_in_words() -> None:
    crop = Augmentation([step("RandomCrop", height=64, width=64)])
    with pytest.raises(FssegError, match=r"`data.images.augment` fails on an image of 28x20.*64"):
        crop(IMAGE, MASK, seed=0)


@pytest.mark.parametrize("path", ["albumentations.Flop", "no_such_module.Flip", "", "os.getcwd"])
def test_no_such_transform(path: str) -> None:
    with pytest.raises(FssegError, match="no such transform"):
        Augmentation([step(path)])


@pytest.mark.parametrize(
    "bad",
    [
        step("albumentations.HorizontalFlip", p=2),
        step("albumentations.HorizontalFlip", probability=0.5),
        step("albumentations.RandomCrop"),
    ],
)
def test_arguments_that_a_transform_does_not_take(bad: dict[str, object]) -> None:
    with pytest.raises(FssegError, match=str(bad["class_path"])) as error:
        Augmentation([bad])
    assert "\n" not in str(error.value)


FLIP, FLOP = step("albumentations.HorizontalFlip", p=0.5), step("albumentations.VerticalFlip", p=0.5)


@pytest.mark.parametrize(
    ("steps", "given", "variants"),
    [([], None, 1), ([], 3, 1), ([FLIP], None, 2), ([FLOP, FLIP], None, 4), ([FLIP, FLIP], None, 2),
     ([step("RandomResizedCrop", size=[20, 20])], 5, 5)],
)  # fmt: skip
def test_a_variant_is_what_the_seed_gives(steps, given, variants):
    augmentation = Augmentation(steps, given)
    assert augmentation.variants == variants
    seen = set()
    for seed in range(40):
        variant = augmentation.variant(seed)
        expected, mask = augmentation(IMAGE, MASK, seed, number=7)
        assert np.array_equal(augmentation.image(IMAGE, 7, variant), expected)
        assert np.array_equal(mask, augmentation(np.zeros_like(IMAGE), MASK, seed, number=7)[1])
        seen.add(variant)
    assert seen == set(range(variants))


def test_variants_differ_between_images():
    crop = Augmentation([step("RandomResizedCrop", size=[20, 20], scale=[0.2, 0.5])], 1)
    assert not np.array_equal(crop.image(IMAGE, 1, 0), crop.image(IMAGE, 2, 0))


def test_without_a_number_of_variants_random_steps_have_infinitely_many():
    assert Augmentation([step("RandomResizedCrop", size=[20, 20])]).variants is None


@pytest.mark.parametrize("mixed", [step("MaskDropout", p=1.0), step("CropNonEmptyMaskIfExists", height=100, width=100)])
def test_variants_of_a_step_that_looks_at_the_mask_are_refused(mixed):
    with pytest.raises(FssegError, match=r"variants`: a step of `data\.images\.augment` depends on"):
        Augmentation([mixed], 4)
