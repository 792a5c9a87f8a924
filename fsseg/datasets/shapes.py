"""Shapes: a built-in data set of drawn objects, for the quickstart and for tests. The data set needs no files.

A class is a texture on a shape, e.g. "striped star". All other properties are random and independent of the class:
colours, place, size, tilt, and the texture's wavelength and phase. An image shows two to four objects of different
classes, so that separating foreground from background is not enough.

Why 5 textures x 4 shapes: each fold has every texture once and every shape at least once, in combinations that no other
fold has. So a novel class is a new combination of known textures and shapes, and a small network generalises after
minutes of training. Objects tilt by at most 20 degrees, because bands and stripes differ only in direction.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt

from fsseg import limits
from fsseg.datasets.base import Dataset, Index, count_pixels
from fsseg.episode import Image, Mask
from fsseg.errors import FssegError
from fsseg.protocols.protocol import Split

Plane = npt.NDArray[np.float32]  # H W, or H W 3 for colours
Point = npt.NDArray[np.float64]  # x y

# Numbers without a source are chosen by eye.
MIN_SIZE = 32  # pixels; in smaller images, a texture's wavelength is under three pixels
SHARE = (0.09, 0.135)  # an object's share of the image's area, before border and other objects cut the object
WAVELENGTH = (0.075, 0.095)  # of a texture, in sides of the image
TILT = np.deg2rad(20)
APART = 0.46  # target distance of two objects' centres, in sides of the image: objects touch, but none disappears
CONTRAST = 0.45  # smallest distance of touching colours; RGB in 0..1
REACH = 1.6  # largest extent of a shape, in radii of the disc of equal area


def _star(corners: int, inner: float, outer: float) -> Callable[[Plane, Plane], Plane]:
    """Signed distance to a star, ``inner * outer`` wide between corners: half a spike's border is a line."""
    half = np.float32(np.pi / corners)
    edge = np.array([inner * np.cos(half) - 1, inner * np.sin(half)], dtype=np.float32)
    normal = np.array([edge[1], -edge[0]]) / np.hypot(*edge)

    def distance(x: Plane, y: Plane) -> Plane:
        radius, angle = np.hypot(x, y), np.arctan2(x, -y)
        folded = np.abs((angle + half) % (2 * half) - half)
        result: Plane = (radius * np.cos(folded) - outer) * normal[0] + radius * np.sin(folded) * normal[1]
        return result

    return distance


def _cross(x: Plane, y: Plane) -> Plane:
    """Signed distance to a cross of two bars."""
    result: Plane = np.maximum(np.maximum(abs(x), abs(y)) - 1.32, np.minimum(abs(x), abs(y)) - 0.36)
    return result


# Signed distance to the border, negative inside; every shape has about the area of a disc of radius 1.
SHAPES: dict[str, Callable[[Plane, Plane], Plane]] = {
    "disc": lambda x, y: np.hypot(x, y) - 1,
    "triangle": _star(3, 0.5, 1.55),
    "star": _star(5, 0.45, 1.54),
    "cross": _cross,
}

# Positive at pixels of the second colour, with a slope of about 1 at the border; x and y are in radians.
TEXTURES: dict[str, Callable[[Plane, Plane], Plane]] = {
    "plain": lambda x, y: np.full_like(x, -np.inf),
    "banded": lambda x, y: np.sin(y),
    "striped": lambda x, y: np.sin(x),
    "dotted": lambda x, y: np.cos(x) + np.cos(y) - np.float32(0.4),
    "checked": lambda x, y: 2 * np.sin(x / np.float32(1.6)) * np.sin(y / np.float32(1.6)),
}


class Shapes(Dataset):
    """20 classes in 4 folds of 5; `open` draws all images into memory, 28 kB per image at the default size.

    Image ``i`` depends only on ``(size, seed, i)`` and always shows class ``i % 20 + 1``, so that 40 images show each
    class at least twice.

    Args:
        size: height and width of the images.
        train: number of images of the train split.
        val: number of images of the val split; their image numbers follow those of the train split.
        seed: random seed of the images.

    Raises:
        FssegError: an argument is too small.
    """

    name = "Shapes"
    needs_root = False
    class_names = tuple(
        f"{texture} {shape}"
        for fold in range(Dataset.folds)
        for texture, shape in zip(TEXTURES, np.roll(list(SHAPES) * 2, fold), strict=False)
    )

    def __init__(self, size: int = 96, train: int = 1200, val: int = 400, seed: int = 0) -> None:
        least = 2 * len(self.class_names)
        if size < MIN_SIZE:
            raise FssegError(f"Shapes: size is {size}; at least {MIN_SIZE} pixels are needed to show textures.")
        if min(train, val) < least:
            raise FssegError(f"Shapes: {train} train and {val} val images; {least} each are needed, 2 per class.")
        limits.check({"size": size, "train": train, "val": val, "seed": seed}, limits.ARGUMENTS, "Shapes: {}")
        limits.check_memory("Shapes: size", size, train + val, 1)
        self.size, self.train, self.val, self.seed = size, train, val, seed

    def open(self, root: Path | None = None) -> None:
        """Draw all images; ``root`` is ignored."""
        self._drawn = [draw(self.size, self.seed, i) for i in range(self.train + self.val)]
        self.index = Index(np.stack([count_pixels(mask, len(self.class_names)) for _, mask in self._drawn]))

    def numbers(self, split: Split) -> range:
        """Image numbers of a split: train first, then val."""
        return range(self.train) if split == "train" else range(self.train, self.train + self.val)

    def image_name(self, number: int) -> str:
        """Name of an image, e.g. ``shapes-00017``."""
        return f"shapes-{number:05d}"

    def image(self, number: int) -> Image:
        """A copy of an image, RGB."""
        return self._drawn[number][0].copy()

    def mask(self, number: int) -> Mask:
        """A copy of an image's mask: class ids, 0 background."""
        return self._drawn[number][1].copy()


def draw(size: int, seed: int, number: int) -> tuple[Image, Mask]:
    """Draw an image and its mask with a random generator seeded by ``(seed, number)``."""
    random = np.random.Generator(np.random.Philox(np.random.SeedSequence([seed, number])))
    class_ids = _choose_classes(random, number % len(Shapes.class_names) + 1)
    background = _choose_colour(random)
    image = _paint_background(random, size, background)
    mask = np.zeros((size, size), dtype=np.uint8)
    for centre, class_id in zip(_choose_centres(random, len(class_ids)) * size, class_ids, strict=True):
        _paint_object(random, image, mask, centre, class_id, background)
    return (image.clip(0, 1) * 255 + 0.5).astype(np.uint8), mask


def _choose_classes(random: np.random.Generator, sure: int) -> list[int]:
    """Two to four different class ids, ``sure`` included, in random order: later objects cover earlier ones."""
    others = random.permutation([c for c in range(1, len(Shapes.class_names) + 1) if c != sure])
    return [int(c) for c in random.permutation([sure, *others[: random.integers(1, 4)]])]


def _choose_centres(random: np.random.Generator, count: int) -> Point:
    """Centres ``x, y`` in sides of the image: the first of 100 draws whose objects are `APART`, else the best draw."""
    draws = random.uniform(0.18, 0.82, (100, count, 2))
    distances = np.linalg.norm(draws[:, :, None] - draws[:, None], axis=-1) + 9 * np.eye(count)
    chosen: Point = draws[np.argmax(distances.min((1, 2)).clip(max=APART))]
    return chosen


def _choose_colour(random: np.random.Generator, *touched: Plane) -> Plane:
    """A slightly desaturated random colour that differs from the colours which it touches."""
    colours = random.uniform(0.05, 0.95, (40, 3)).astype(np.float32)
    colours += np.float32(0.2) * (colours.mean(1, keepdims=True) - colours)
    distances = [np.linalg.norm(colours - other, axis=1) for other in touched]
    chosen: Plane = colours[np.argmax(np.min([np.full(40, CONTRAST), *distances], axis=0))]
    return chosen


def _paint_background(random: np.random.Generator, size: int, colour: Plane) -> Plane:
    """A colour with soft waves of light and random noise."""
    y, x = np.mgrid[:size, :size].astype(np.float32) / np.float32(size)
    light = random.standard_normal((size, size), dtype=np.float32)
    for u, v, phase in random.uniform((-9, -9, 0), (9, 9, 2 * np.pi), (3, 3)).astype(np.float32):
        light += np.sin(u * x + v * y + phase)
    image: Plane = colour + np.float32(0.04) * light[..., None]
    return image


def _paint_object(
    random: np.random.Generator, image: Plane, mask: Mask, centre: Point, class_id: int, background: Plane
) -> None:
    """Paint an object on image and mask, within the window that can contain the object."""
    size = len(mask)
    texture, shape = Shapes.class_names[class_id - 1].split()
    first = _choose_colour(random, background)
    second = _choose_colour(random, background, first)
    radius = size * np.sqrt(random.uniform(*SHARE) / np.pi)
    radian = size * random.uniform(*WAVELENGTH) / (2 * np.pi)  # of the texture, in pixels
    low = np.maximum(centre - REACH * radius, 0).astype(int)
    high = np.minimum(centre + REACH * radius + 2, size).astype(int)
    window = slice(low[1], high[1]), slice(low[0], high[0])
    y, x = np.mgrid[window] - centre[::-1, None, None]
    tilt = random.uniform(-TILT, TILT)
    u = (np.cos(tilt) * x + np.sin(tilt) * y).astype(np.float32)
    v = (np.cos(tilt) * y - np.sin(tilt) * x).astype(np.float32)
    distance = SHAPES[shape](u / np.float32(radius), v / np.float32(radius)) * np.float32(radius)
    phase = random.uniform(0, 2 * np.pi, 2)
    u, v = u / np.float32(radian) + np.float32(phase[0]), v / np.float32(radian) + np.float32(phase[1])
    # Ramps of one pixel antialias texture and border.
    ink = (0.5 + TEXTURES[texture](u, v) * np.float32(radian)).clip(0, 1)[..., None]
    cover = (0.5 - distance).clip(0, 1)[..., None]
    image[window] += cover * (first + ink * (second - first) - image[window])
    mask[window][distance < 0] = class_id
