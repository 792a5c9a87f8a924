"""The contract of data sets."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from fsseg.contracts.checks import require
from fsseg.datasets.base import Dataset
from fsseg.episode import IGNORE, MOST_CLASSES, ClassMap, void_of
from fsseg.protocols.protocol import SPLITS
from fsseg.untrusted.text import is_line

_SOME = 8  # images of a split that `sample` chooses


def numbers(dataset: Dataset) -> list[int]:
    """All image numbers."""
    return [number for split in SPLITS for number in dataset.numbers(split)]


def sample(dataset: Dataset) -> list[int]:
    """A few image numbers of each split, evenly spaced."""
    found = []
    for split in SPLITS:
        every = dataset.numbers(split)
        found += [every[int(i)] for i in np.unique(np.linspace(0, len(every) - 1, _SOME, dtype=int)) if len(every)]
    return found


def check_splits(dataset: Dataset, chosen: Sequence[int]) -> None:
    """Splits share no image, and each image has its own name."""
    train, val = (dataset.numbers(split) for split in SPLITS)
    require(len(val) > 0, "numbers('val') is empty; the images of tests are needed there.")
    both = set(train) & set(val)
    require(not both, f"image {min(both, default=0)} is in both splits. Image numbers count over all splits.")
    names = [dataset.image_name(number) for number in (*train, *val)]
    wrong = [name for name in names if not (name and is_line(name))]
    require(not wrong, f"image name {wrong[:1]}: a text of one line is needed.")
    require(len(set(names)) == len(names), f"{len(names) - len(set(names)):,} images have the name of another image.")


def check_classes(dataset: Dataset, chosen: Sequence[int]) -> None:
    """Each class has its own printable name."""
    names = dataset.class_names
    require(
        0 < len(names) <= MOST_CLASSES,
        f"class_names has {len(names)} names; 1 to {MOST_CLASSES:,} are needed, after open.",
    )
    wrong = [name for name in names if not (name and is_line(name))]
    require(not wrong, f"class name {wrong[:1]}: a text of one line is needed.")
    twice = [name for name in set(names) if names.count(name) > 1]
    require(not twice, f"class name {twice[:1]} stands for several classes.")


def check_folds(dataset: Dataset, chosen: Sequence[int]) -> None:
    """Each class is novel in one fold, or for validation alone; in a fold, the other classes are base classes."""
    require(dataset.folds >= 1, f"folds is {dataset.folds}; 1 or more are needed.")
    novel = [dataset.novel(fold) for fold in range(dataset.folds)]
    empty = [fold for fold, classes in enumerate(novel) if not classes]
    require(not empty, f"fold {empty[:1]} has no novel class. Set fewer `folds` than classes.")
    every = [class_id for classes in novel for class_id in classes]
    twice = [class_id for class_id in set(every) if every.count(class_id) > 1]
    require(not twice, f"class {twice[:1]} is novel in several folds.")
    lacking = [class_id for class_id in dataset.class_ids if class_id not in every]
    require(
        not lacking or dataset.never_novel or any(map(dataset.validation, range(dataset.folds))),
        f"classes {lacking[:5]} are novel in no fold: {len(dataset.class_names)} classes, {dataset.folds} folds. Set "
        "`folds` to a divisor, or override `novel`.",
    )
    unknown = set(every) - set(dataset.class_ids)
    require(not unknown, f"`novel` returns {sorted(unknown)[:5]}; class ids are 1 to {len(dataset.class_names)}.")
    for fold, classes in enumerate(novel):
        parts = sorted([*dataset.base(fold), *dataset.validation(fold), *classes])
        require(
            parts == list(dataset.class_ids),
            f"base, validation and novel classes of fold {fold} are not all classes, each once.",
        )


def check_masks(dataset: Dataset, chosen: Sequence[int]) -> None:
    """An image is RGB, its mask has the same size and holds class ids, 0 and the value of ignored pixels."""
    for number in chosen:
        name, image, mask = dataset.image_name(number), dataset.image(number), dataset.mask(number)
        require(
            image.dtype == np.uint8 and image.ndim == 3 and image.shape[2] == 3,
            f"image {name} is {image.dtype} of shape {image.shape}; uint8 of shape (H, W, 3) is needed.",
        )
        require(
            mask.dtype in (np.uint8, np.uint16) and mask.ndim == 2,
            f"the mask of {name} is {mask.dtype} of shape {mask.shape}; uint8 of shape (H, W) is needed, or uint16 "
            "with more than 254 classes.",
        )
        dataset.refuse_other_size(number, image, mask)
        void = void_of(mask)
        unknown = sorted(set(np.unique(mask).tolist()) - {0, void, *dataset.class_ids})
        require(
            not unknown,
            f"the mask of {name} holds {unknown[:5]}; class ids 1 to {len(dataset.class_names)}, 0 (background) and "
            f"{void} (ignored) are possible.",
        )


def check_index(dataset: Dataset, chosen: Sequence[int]) -> None:
    """The index counts the pixels of each class as masks show them."""
    pixels, classes = dataset.index.pixels, len(dataset.class_names)
    needed = (max(numbers(dataset)) + 1, classes + 1)
    require(
        pixels.ndim == 2 and pixels.shape[0] >= needed[0] and pixels.shape[1] == needed[1],
        f"index.pixels has the shape {pixels.shape}; {needed} is needed: images, background and classes.",
    )
    for number in chosen:
        shown = np.flatnonzero(pixels[number, 1:] > 0)[:3] + 1
        in_mask = np.setdiff1d(np.unique(dataset.mask(number)), [0, void_of(dataset.mask(number))])
        for class_id in {*shown.tolist(), *in_mask.tolist(), number % classes + 1}:
            found = int((dataset.episode_mask(number, (class_id,)) == 1).sum())
            require(
                found == pixels[number, class_id],
                f"image {dataset.image_name(number)} shows {found:,} pixels of {dataset.class_name(class_id)}, the "
                f"index has {pixels[number, class_id]:,}. Count masks with count_pixels, in the order of numbers.",
            )


def check_episode_masks(dataset: Dataset, chosen: Sequence[int]) -> None:
    """Masks in episode labels show every way, and the way that an image was drawn for completely."""
    classes = len(dataset.class_names)
    for number in chosen:
        shown = np.flatnonzero(dataset.index.pixels[number][1:]) + 1
        first = int(shown[0]) if len(shown) else 1
        second = int(shown[-1]) if len(shown) > 1 else first % classes + 1
        ways = (first, second) if first != second else (first,)
        alone = [dataset.episode_mask(number, (class_id,)) == 1 for class_id in ways]
        for own in (None, *range(len(ways))):
            mask = dataset.episode_mask(number, ways, own)
            where = f"episode_mask({number}, {ways}, {own})"
            fits = mask.dtype == np.uint8 and mask.shape == dataset.mask(number).shape
            require(fits, f"{where} is {mask.dtype} of shape {mask.shape}; uint8 of the mask's size is needed.")
            values = set(np.unique(mask).tolist()) - {0, IGNORE, *range(1, len(ways) + 1)}
            require(not values, f"{where} holds {sorted(values)[:5]}; 0, labels from 1 and {IGNORE} are possible.")
            labelled = (mask > 0) & (mask <= len(ways))
            require(
                bool((labelled == np.any(alone, axis=0)).all()), f"{where} does not show all pixels of its classes."
            )
            top = len(ways) - 1 if own is None else own
            require(bool(((mask == top + 1) == alone[top]).all()), f"{where} does not show way {top} completely.")


def check_reading(dataset: Dataset, chosen: Sequence[int]) -> None:
    """Reading an image twice gives the same, and a change of an array stays with the caller."""
    for number in chosen:
        before = {name: array.copy() for name, array in _read(dataset, number).items()}
        for array in _read(dataset, number).values():
            if array.flags.writeable:
                array[:] = 0
        for name, array in _read(dataset, number).items():
            require(
                np.array_equal(array, before[name]),
                f"{name} of image {number} is another array after the caller changed an earlier one. Return a copy.",
            )


def _read(dataset: Dataset, number: int) -> dict[str, ClassMap]:
    return {
        "image": dataset.image(number),
        "mask": dataset.mask(number),
        "episode_mask": dataset.episode_mask(number, (1,)),
    }


def check_files(dataset: Dataset) -> None:
    """`Dataset.check` finds no problem in a data set that is located, not opened, as `fsseg data verify` needs it."""
    for number in sample(dataset):
        dataset.check(number)


CHECKS: Mapping[str, Callable[[Dataset, Sequence[int]], None]] = {
    "splits": check_splits,
    "class names": check_classes,
    "images and masks": check_masks,
    "folds": check_folds,
    "index": check_index,
    "masks of episodes": check_episode_masks,
    "reading twice": check_reading,
}
BASIC = ("open", "splits", "class names", "images and masks")  # checks that the others need
