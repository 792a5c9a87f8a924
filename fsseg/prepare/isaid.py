"""Cuts the patches of iSAID-5i from the official images and masks of iSAID.

::

    train/images/P0000.png                      DOTA v1.0's images, train and val; also in train/images/images
    train/images/P0000_instance_color_RGB.png   iSAID's masks of class colours; also in train/Semantic_masks/images
    val/...

The windows are those of iSAID's development kit (preprocess/split.py in CAPTAIN-WHU/iSAID_Devkit) with 256 pixels and
an overlap of 50: a window every 206 pixels, and the last of a row or column moved back to the border. Patches of
iSAID-5i that public code names fit this rule, such as P0003_767_1023_618_874. Which windows its authors kept, 6,363 of
the val images, is stated nowhere; here a patch is kept if a class has at least 1,024 of its 65,536 pixels (32 x 32, the
threshold that their data/remote_val.py has in a comment).
"""

import hashlib
import io
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import PIL.Image

from fsseg.datasets.isaid import COLOURS, ENDING, PATCHES
from fsseg.errors import FssegError
from fsseg.files.decoders import list_files
from fsseg.files.images import image_size, read_image
from fsseg.files.masks import ids_of_colours
from fsseg.prepare.archives import Archive
from fsseg.prepare.extract import write
from fsseg.prepare.state import PreparedArchives
from fsseg.progress import tracked
from fsseg.protocols.protocol import SPLITS, Split

SIDE, OVERLAP, LEAST = 256, 50, 1024  # pixels
_SKIPPED = ("P1527", "P1530")  # images that the development kit leaves out
_IMAGES = ("images", "images/images")
_MASKS = ("images", "Semantic_masks/images", "Semantic_masks/images/images", "images/images")
_ROOTS = ("", "iSAID")
_NEEDED = (
    "DOTA v1.0's images belong in train/images and val/images, iSAID's semantic masks "
    f"(NAME{ENDING}.png, captain-whu.github.io/iSAID) there too or in train/Semantic_masks/images"
)


class _Source(NamedTuple):
    image: Path
    mask: Path


def prepare(root: Path) -> bool:
    """Cut the patches of the train and val images below ``root`` into ``root/iSAID_patches``; existing files stay.

    Patches of another program stay as they are.

    Returns:
        whether files were made.

    Raises:
        FssegError: images or masks are missing or broken, or the disk is full; the next call resumes.
    """
    state = PreparedArchives(root / PATCHES)
    if not state.begun and any((root / place / "val/semantic_png").is_dir() for place in (PATCHES, "")):
        return False
    sources = {split: _sources(root, split) for split in SPLITS}
    if not sources["val"]:
        raise FssegError(f"{root} has no val images of iSAID. {_NEEDED}.")
    # Recorded like an archive: the checksum is that of names, sizes and times of the files.
    records = {s: Archive(f"{s} patches", "", _digest(sources[s]), 0.0) for s in SPLITS if sources[s]}
    if all(state.has(record) for record in records.values()):
        return False
    with state.lock():
        for split, record in records.items():
            if not state.has(record):
                state.note_lost(record)
                for source in tracked(sources[split], f"patches of {len(sources[split]):,} {split} images"):
                    _cut(source, root / PATCHES / split)
                parts = [part for part in ("images", "semantic_png") if (state.folder / split / part).is_dir()]
                state.add(record, [f"{split}/{part}" for part in parts])
    return True


def windows(length: int) -> list[tuple[int, int]]:
    """Begin and end of each window along a side, see the module."""
    begins = [min(begin, max(length - SIDE, 0)) for begin in range(0, length, SIDE - OVERLAP)]
    return [(begin, min(begin + SIDE, length)) for begin in dict.fromkeys(begins)]


def _sources(root: Path, split: Split) -> list[_Source]:
    """Images of a split that have a mask.

    Raises:
        FssegError: a mask has no image.
    """
    folders = [root / place / split for place in _ROOTS]
    masks = {path.stem.removesuffix(ENDING): path for path in _files(folders, _MASKS) if path.stem.endswith(ENDING)}
    images = {path.stem: path for path in _files(folders, _IMAGES) if "_" not in path.stem}
    if lacking := sorted(masks.keys() - images.keys() - {*_SKIPPED}):
        raise FssegError(f"mask {masks[lacking[0]]} has no image {lacking[0]}.png. {_NEEDED}.")
    if bare := sorted(images.keys() - masks.keys() - {*_SKIPPED}):
        raise FssegError(f"image {images[bare[0]]} has no mask {bare[0]}{ENDING}.png. {_NEEDED}.")
    return [_Source(images[name], masks[name]) for name in sorted(masks.keys() - {*_SKIPPED})]


def _files(folders: list[Path], places: tuple[str, ...]) -> Iterator[Path]:
    for folder in folders:
        for place in places:
            if (folder / place).is_dir():
                yield from (path for path in list_files(folder / place) if path.suffix == ".png")


def _digest(sources: list[_Source]) -> str:
    states = [(path.name, path.stat().st_size, path.stat().st_mtime_ns) for source in sources for path in source]
    return hashlib.sha256(repr((states, SIDE, OVERLAP, LEAST)).encode()).hexdigest()


def _cut(source: _Source, folder: Path) -> None:
    """Write the patches of an image in which a class is large enough.

    Raises:
        FssegError: a file is broken, sizes differ, or the mask has a colour that is no class.
    """
    size = image_size(source.image)
    if size != (other := image_size(source.mask)):
        raise FssegError(f"mask {source.mask} is {other[1]}x{other[0]}, its image {size[1]}x{size[0]}. Replace one.")
    image, colours = read_image(source.image), read_image(source.mask)
    for top, bottom in windows(size[0]):
        for left, right in windows(size[1]):
            part = colours[top:bottom, left:right]
            if not part.any():
                continue
            ids = ids_of_colours(part, COLOURS, f"mask {source.mask}", "iSAID")
            if np.bincount(ids.ravel(), minlength=2)[1:].max() >= LEAST:
                name = f"{source.image.stem}_{top}_{bottom}_{left}_{right}"
                write(folder / "images" / f"{name}.png", _png(image[top:bottom, left:right]))
                write(folder / "semantic_png" / f"{name}{ENDING}.png", _png(ids))


def _png(pixels: npt.NDArray[np.uint8]) -> bytes:
    file = io.BytesIO()
    PIL.Image.fromarray(np.ascontiguousarray(pixels)).save(file, "PNG")
    return file.getvalue()
