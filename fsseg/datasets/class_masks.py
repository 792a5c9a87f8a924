"""Common parts of data sets with one black-and-white mask per image and class: FSS-1000 and the cross-domain sets.

A pixel shows the class from the grey level 128 on, as in the codes that report these sets (see `read_white`).
"""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar, NamedTuple

import numpy as np
import numpy.typing as npt
import PIL.Image

from fsseg.datasets.base import Dataset, Index, class_map
from fsseg.disk_cache import cached
from fsseg.episode import ClassMap, Image, Mask
from fsseg.errors import FssegError
from fsseg.files.decoders import list_files
from fsseg.files.images import image_size, read_image
from fsseg.files.masks import read_white
from fsseg.progress import tracked
from fsseg.protocols.protocol import Split

_FORMAT = 1  # version of the cache; increase it when masks are read in another way
_NAMED = 3  # classes that a note names


class MaskedImage(NamedTuple):
    """An image file and its masks.

    Attributes:
        name: name of the image.
        image: path of the image.
        masks: path of the mask of each class id that has one.
    """

    name: str
    image: Path
    masks: Mapping[int, Path]


class ClassMaskDataset(Dataset):
    """A data set with one mask file per image and class; `_find` finds the files, all else is here.

    Attributes:
        layout: the folders that are needed, and where they come from, for errors.
        blank_masks: whether a mask may show no pixel of its class.
        resized_masks: whether a mask of another size than its image is resized to the image.
    """

    class_names: tuple[str, ...] = ()
    folds = 1
    layout: ClassVar[str]
    blank_masks: ClassVar[bool] = False
    resized_masks: ClassVar[bool] = False

    @property
    def needed(self) -> str:
        """What an error asks for: the folder to give."""
        return f"Give {self.layout}."

    @abstractmethod
    def _find(self, root: Path) -> tuple[list[MaskedImage], list[MaskedImage]]:
        """Train and val images below a folder, in the order of their numbers; sets name, classes and note.

        Raises:
            FssegError: the folder has another layout.
        """

    def open(self, root: Path | None) -> None:
        """Find the files, and build or load the index.

        Raises:
            FssegError: the folder has another layout, a mask is missing or broken, or no mask shows a class.
        """
        self.locate(root)
        of = [(number, class_id) for number, found in enumerate(self._images) for class_id in found.masks]
        masks = [path for found in self._images for path in found.masks.values()]
        shapes = {"shown": (len(masks),), "background": (len(self._images),)}
        # One number per mask: a matrix of images and classes is 40 MB for FSS-1000, nearly all of it 0.
        found = cached("class-masks", masks, self._scan, shapes, _FORMAT, self.resized_masks, of)
        pixels = np.zeros((len(self._images), len(self.class_names) + 1), dtype=np.int32)
        pixels[:, 0] = found.arrays["background"]
        pixels[tuple(np.array(of).T)] = found.arrays["shown"]
        self.index = Index(pixels, None, found.cache, found.fresh, self._walk())
        self._note_absent()

    def locate(self, root: Path | None) -> None:
        """Find the files without reading masks.

        Raises:
            FssegError: the folder has another layout.
        """
        if root is None:
            raise FssegError(f"{type(self).name} needs `data.root` DIR (or FSSEG_DATA_ROOT): {self.layout}.")
        train, val = self._find(root)
        self._images, self._train = [*train, *val], len(train)

    def _walk(self) -> tuple[tuple[int, int], ...]:
        """Pairs in the order of the official code, see `Index.order`; empty for the order of image numbers."""
        return ()

    def novel(self, fold: int) -> tuple[int, ...]:
        """Novel class ids: all classes, since a cross-domain set is for tests only."""
        return self.class_ids

    def numbers(self, split: Split) -> range:
        """Image numbers of a split."""
        return range(self._train) if split == "train" else range(self._train, len(self._images))

    def image_name(self, number: int) -> str:
        """Name of an image."""
        return self._images[number].name

    def image(self, number: int) -> Image:
        """An image, RGB."""
        return read_image(self._images[number].image)

    def mask(self, number: int) -> ClassMap:
        """An image's label map; where masks overlap, the smaller region covers the larger one."""
        regions = self._regions(number)
        mask = class_map(next(iter(regions.values())).shape, len(self.class_names))
        for class_id in sorted(regions, key=lambda c: -int(regions[c].sum())):
            mask[regions[class_id] == 1] = class_id
        return mask

    def episode_mask(self, number: int, classes: Sequence[int], own: int | None = None) -> Mask:
        """An image's mask in episode labels; where masks overlap, the own way covers the others."""
        regions = self._regions(number, classes)
        mask = np.zeros(image_size(self._images[number].image), dtype=np.uint8)
        for way in sorted(range(len(classes)), key=lambda way: way == own):
            if classes[way] in regions:
                mask[regions[classes[way]] == 1] = way + 1
        return mask

    def check(self, number: int) -> None:
        """Read and check an image and its masks.

        Raises:
            FssegError: a file is missing or broken, sizes differ, or a mask shows no pixel of its class.
        """
        image = self.image(number)
        for class_id, region in self._regions(number).items():
            self.refuse_other_size(number, image, region)
            if not region.any() and not self.blank_masks:
                raise FssegError(
                    f"mask {self._images[number].masks[class_id]} shows no pixel of {self.class_name(class_id)}: grey "
                    "levels of 128 and more mark the class. Replace it, or remove it and its image."
                )

    def _regions(self, number: int, classes: Sequence[int] | None = None) -> dict[int, Mask]:
        """Region of each class of an image that has a mask: 1 the class, 0 elsewhere."""
        found = self._images[number]
        wanted = {c: path for c, path in found.masks.items() if classes is None or c in classes}
        regions = {c: read_white(path) for c, path in wanted.items()}
        return {c: self._sized(region, wanted[c], found.image) for c, region in regions.items()}

    def _sized(self, region: Mask, path: Path, image: Path) -> Mask:
        """The region, in the size of its image.

        Raises:
            FssegError: the sizes differ, and such masks are not resized.
        """
        size = image_size(image)
        if region.shape == size:
            return region
        if not self.resized_masks:
            raise FssegError(
                f"mask {path} is {region.shape[1]}x{region.shape[0]}, its image {size[1]}x{size[0]}. Replace one."
            )
        return np.asarray(PIL.Image.fromarray(region).resize(size[::-1], PIL.Image.Resampling.NEAREST))

    def _scan(self) -> dict[str, npt.NDArray[np.int32]]:
        shown: list[int] = []
        background: list[int] = []
        for number in tracked(range(len(self._images)), f"index of {len(self._images):,} images"):
            regions = list(self._regions(number).values())
            shown += [int(region.sum()) for region in regions]
            background.append(int((np.max(regions, axis=0) == 0).sum()))
        return {"shown": np.array(shown, dtype=np.int32), "background": np.array(background, dtype=np.int32)}

    def _note_absent(self) -> None:
        """Note classes that no mask shows; refuse a data set in which this is true of all.

        Raises:
            FssegError: no mask shows a class.
        """
        absent = [self.class_name(c) for c in self.class_ids if not self.index.pixels[:, c].any()]
        if len(absent) == len(self.class_names):
            raise FssegError(
                f"no mask of {type(self).name} shows a class, e.g. {next(iter(self._images[0].masks.values()))}: grey "
                "levels of 128 and more mark a class. Save masks as 0 and 255."
            )
        if absent:
            several = ", ..." * (len(absent) > _NAMED)
            self.note = "; ".join(filter(None, [self.note, f"no mask shows {', '.join(absent[:_NAMED])}{several}"]))


def folder_with(root: Path, places: Sequence[str], part: str, dataset: ClassMaskDataset) -> Path:
    """The first of some folders below ``root`` that holds a part of the data set.

    Raises:
        FssegError: none holds it.
    """
    for place in places:
        if (root / place / part).is_dir():
            return root / place
    raise FssegError(f"`data.root` {root} is no {type(dataset).name}: it has no folder {part}. {dataset.needed}")


def pair_files(images: Path, image_endings: set[str], masks: Path, mask_endings: set[str]) -> list[tuple[Path, Path]]:
    """Images of a folder with the masks of the same names in another; a mask may be missing on the disk.

    Raises:
        FssegError: the folder has no image, or a mask has no image.
    """
    found = {path.stem: path for path in list_files(images) if path.suffix in image_endings}
    named = {path.stem: path for path in list_files(masks) if path.suffix in mask_endings}
    if not found:
        raise FssegError(f"{images} has no image NAME{min(image_endings)}. Unpack the data set again.")
    if orphans := sorted(set(named) - set(found)):
        raise FssegError(f"mask {named[orphans[0]]} has no image in {images}. Put it there, or remove the mask.")
    return [(path, named.get(stem, masks / f"{stem}{min(mask_endings)}")) for stem, path in found.items()]
