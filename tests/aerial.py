"""A miniature of iSAID in its official layout: 3 train and 4 val images with all 15 classes."""

from pathlib import Path

import numpy as np

from tests.suites import photo, save

# Colours of CAPTAIN-WHU/iSAID_Devkit, in the order of its ids.
COLOURS = [
    (0, 0, 0), (0, 0, 63), (0, 63, 63), (0, 63, 0), (0, 63, 127), (0, 63, 191), (0, 63, 255), (0, 127, 63),
    (0, 127, 127), (0, 0, 127), (0, 0, 191), (0, 0, 255), (0, 191, 127), (0, 127, 191), (0, 127, 255), (0, 100, 155),
]  # fmt: skip
LAST = 53  # seed of the last val image
SIZES = {"train": [(470, 500), (300, 256), (512, 480)], "val": [(512, 500), (470, 462), (200, 700), (500, 500)]}


def ids(seed: int, size: tuple[int, int]) -> np.ndarray:
    """Class ids: a square of 44 pixels of each class at a random place, and small ones that are left out."""
    random, found = np.random.default_rng(seed), np.zeros(size, dtype=np.uint8)
    for side in (8, 44):
        for class_id in random.permutation(np.arange(1, 16)).tolist():
            top, left = (int(random.integers(0, length - side)) for length in size)
            found[top : top + side, left : left + side] = class_id
    if seed == LAST:  # large objects in one corner only
        found[250:, :] = found[:, 250:] = 0
        found[300:308, 300:308] = 4
    return found


def write_isaid(root: Path, masks: str = "images") -> None:
    for split, sizes in SIZES.items():
        for place, size in enumerate(sizes):
            seed = place + 50 * (split == "val")
            name, shown = f"P{seed:04d}", ids(seed, size)
            save(root / split / "images" / f"{name}.png", photo(seed, shown > 0, seed))
            colours = np.array(COLOURS, dtype=np.uint8)[shown]
            save(root / split / masks / f"{name}_instance_color_RGB.png", colours)
            save(root / split / masks / f"{name}_instance_id_RGB.png", np.zeros_like(colours))


def windows(length: int) -> list[tuple[int, int]]:
    """The loop of the development kit (preprocess/split.py) along one side, for sides of 256 pixels and more."""
    found = []
    for start in range(0, length, 256 - 50):
        end = start + 256
        if end > length:
            start -= end - length
            end = length
        found.append((max(start, 0), end))
    return sorted(set(found))
