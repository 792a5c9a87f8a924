"""PFENet's augmentation against its code; tolerances are those of golden/pfenet_hsnet.md."""

import random
from collections.abc import Callable

import numpy as np
import pytest
import torch

from fsseg.encoders import ConvNet
from fsseg.episodes.pfenet_augmentation import PFENetAugmentation, augmented
from fsseg.episodes.transforms import Augmentation
from fsseg.errors import FssegError

PATH = "fsseg.episodes.pfenet_augmentation.PFENetAugmentation"
ROUNDING = 0.5 / 255 / 0.224  # of ours to whole numbers of 0..255, normalised


@pytest.mark.parametrize("draw", range(6))
def test_it_equals_the_code(draw: int, oracle: Callable[[str], dict[str, np.ndarray]]) -> None:
    stored = oracle("pfenet_transform_train")
    generator = random.Random(int(stored["random_seeds"][draw]))
    scale = float(stored["scale_min"]), float(stored["scale_max"])
    image, mask = augmented(generator, stored["image0"], stored["label0"], int(stored["size"]), scale, 10.0)
    assert generator.random() == stored[f"next_random0_{draw}"]
    assert (mask != stored[f"label0_{draw}"]).sum() <= 3
    tensor = ConvNet().normalise(torch.from_numpy(image).permute(2, 0, 1)[None])[0, :, ::4, ::4]
    assert (tensor - torch.from_numpy(stored[f"tensor0_{draw}"])).abs().max() <= 0.03 + ROUNDING


def test_as_a_step_of_an_experiment() -> None:
    random_state = np.random.default_rng(0)
    image = random_state.integers(0, 256, (60, 80, 3), dtype=np.uint8)
    mask = np.zeros((60, 80), dtype=np.uint8)
    mask[20:40, 30:60] = 2
    steps = Augmentation([{"class_path": PATH, "init_args": {"size": 48, "scale": [0.8, 1.25]}}])
    found = [steps(image, mask, seed) for seed in range(20)]
    assert all(one.shape == (48, 48, 3) and label.shape == (48, 48) for one, label in found)
    assert all((label == 2).sum() > 300 for _, label in found)
    assert len({one.tobytes() for one, _ in found}) == 20
    again = steps(image, mask, 3)
    assert all(map(np.array_equal, again, found[3]))


def test_small_images_are_padded_and_bad_options_refused() -> None:
    image, mask = np.full((9, 7, 3), 200, dtype=np.uint8), np.ones((9, 7), dtype=np.uint8)
    padded, label = augmented(random.Random(0), image, mask, 33, (1.0, 1.0), 0.0)
    assert padded.shape == (33, 33, 3)
    assert set(np.unique(label)) == {1, 255}
    assert (padded[label == 255] <= 200).all()
    assert padded[0, 0].tolist() == [124, 116, 104]
    with pytest.raises(ValueError, match="size 0"):
        PFENetAugmentation(0)
    with pytest.raises(FssegError, match=r"scale \[1.1, 0.9\]"):
        Augmentation([{"class_path": PATH, "init_args": {"scale": [1.1, 0.9]}}])
