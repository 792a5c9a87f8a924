"""Custom data set: a folder of images beside a folder of masks, scribbles or annotation JSONs.

::

    images/NAME.jpg             images; also png, webp, bmp, tif, gif, avif, heic
    masks/NAME.png              label map: class ids, 0 background, 255 ignore (65535 in 16 bits); also tif, bmp, gif
    masks/NAME.scribble.png     scribbles: a label map, 255 where unlabelled
    masks/NAME.json             polygons, boxes, lines or points, see `fsseg.files.annotation_json`
    classes.yaml                classes: [cat, dog, ...] or {1: cat, 2: dog, ...}
                                optional folds: 2 or [[cat], [dog, ...]]
    train.txt, val.txt          optional: image names of the splits; with one list, the rest is the other split
    instances/NAME.png          optional: instance numbers, for boxes

Without classes.yaml, each class has a folder, and masks may overlap: ``masks/cat/NAME.png`` (see
`fsseg.files.mask_regions`), ``masks/cat/NAME.scribble.png`` and ``masks/cat/NAME.json``. With CVAT's ``labelmap.txt``
in place of classes.yaml, masks are colours, see `fsseg.datasets.labelmap`.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from fsseg.datasets.base import Index, class_map, count_pixels
from fsseg.datasets.boxes import Box, boxes_of
from fsseg.datasets.custom import CustomDataset, Folds, check_bits, check_share, is_val
from fsseg.datasets.folder_layout import SCRIBBLE, find
from fsseg.disk_cache import cached
from fsseg.episode import BACKGROUND, IGNORE, ClassMap, Image, Mask, void_of
from fsseg.errors import FssegError
from fsseg.files.annotation_json import read_marks
from fsseg.files.images import depth_note, image_header, image_size, read_image
from fsseg.files.masks import read_colours, read_labels, read_region, read_scribble
from fsseg.files.names import plain
from fsseg.progress import tracked
from fsseg.protocols.protocol import Split

_FORMAT = 3  # version of the cache; increase it when masks are read in another way
_NAMED = 3  # images that a note names


class Folder(CustomDataset):
    """A folder of images and masks, see the module for the layout.

    Args:
        folds: number of folds, or the names of each fold's novel classes. None: as in classes.yaml, or up to four
            folds. With one fold all classes are novel: for testing, not for training. 0: none is, so that a training
            has all classes.
        val_share: share of the images in the val split, chosen by name, if there is no list; 1 for testing only.
        bits: bits of grey images of more than 8 bits, such as 12 or 16; 0 scales each image by its own range.

    Raises:
        FssegError: an argument is out of range.
    """

    name = "Folder"

    def __init__(self, folds: Folds | None = None, val_share: float = 0.3, bits: int = 0) -> None:
        check_share(val_share)
        check_bits(bits)
        self.asked_folds, self.val_share, self.bits = folds, val_share, bits

    def open(self, root: Path | None) -> None:
        """Find images and masks, and build or load the index.

        Raises:
            FssegError: a folder is missing, a mask has no image, or a mask is broken.
        """
        self.locate(root)
        masks = [path for name in self._names for path in self._files.masks[name]]
        count = len(self._names)
        shapes = {"pixels": (count, len(self.class_names) + 1), "weak": (count,), "void": (count,), "deep": (count,)}
        options = (_FORMAT, self.class_names, self._names, sorted(self._files.colours.items()))
        found = cached("folder", masks, self._scan, shapes, *options)
        self.index = Index(found.arrays["pixels"], None, found.cache, found.fresh)
        self.weak = frozenset(np.flatnonzero(found.arrays["weak"]).tolist())
        self._note_shown(np.flatnonzero(found.arrays["void"]).tolist(), int(found.arrays["deep"].sum()))

    def locate(self, root: Path | None) -> None:
        """Find images and masks.

        Raises:
            FssegError: a folder is missing, a mask has no image, or classes.yaml is broken.
        """
        if root is None:
            raise FssegError("Folder needs `data.root` DIR (or FSSEG_DATA_ROOT), which holds images/ and masks/.")
        self._files = find(root)
        folds = self.asked_folds if self.asked_folds is not None else self._files.folds
        self._set_classes(self._files.class_names, folds, str(self._files.source))
        self._ids = {name: c for c, name in enumerate(self.class_names, 1)}
        self._tables = {void: self._files.table(void) for void in (IGNORE, int(np.iinfo(np.uint16).max))}
        train, val = self._split()
        self._names, self._train = [*train, *val], len(train)
        self.name = root.resolve().name
        self.note = self._files.note

    def _split(self) -> tuple[list[str], list[str]]:
        names = sorted(self._files.masks)
        if self._files.splits is not None:
            return self._files.splits
        val = [name for name in names if is_val(name, self.val_share)]
        train = [name for name in names if name not in set(val)]
        if not val or (not train and self.val_share < 1):
            raise FssegError(
                f"{self._files.root} has {len(names)} images with masks, too few for a train and a val split. Write "
                "their names into train.txt and val.txt, or give another `data.dataset.val_share`."
            )
        return train, val

    def check(self, number: int) -> None:
        """Read and check an image, its masks, and its instance map, if it has one.

        Raises:
            FssegError: a file is missing or broken, or sizes differ.
        """
        self.image(number)
        self._count(number)
        if self._names[number] in self._files.instances:
            self.boxes(number, 1)

    def numbers(self, split: Split) -> range:
        """Image numbers of a split."""
        return range(self._train) if split == "train" else range(self._train, len(self._names))

    def image_name(self, number: int) -> str:
        """Name of an image file without its ending."""
        return self._names[number]

    def image(self, number: int) -> Image:
        """An image, RGB, rotated upright by its EXIF tag."""
        return read_image(self._image_path(number), upright=True, bits=self.bits)

    def mask(self, number: int) -> ClassMap:
        """An image's label map; where classes overlap, the smaller region covers the larger one."""
        paths = self._files.masks[self._names[number]]
        if self._files.per_class:
            maps = self._maps(number)
            mask = class_map(next(iter(maps.values())).shape, len(self.class_names))
            mask[np.all([found == IGNORE for found in maps.values()], axis=0)] = void_of(mask)
            for class_id in sorted(maps, key=lambda c: -int((maps[c] == 1).sum())):
                mask[maps[class_id] == 1] = class_id
            return mask
        if paths[0].suffix == ".json":
            return read_marks(paths[0], self._ids).paint(*image_size(self._image_path(number), upright=True))
        if self._files.colours:
            return read_colours(paths[0], self._files.colours, self._files.source.name)
        return self._known(read_labels(paths[0]), paths[0])

    def episode_mask(self, number: int, classes: Sequence[int], own: int | None = None) -> Mask:
        """An image's mask in episode labels; where classes overlap, the own way covers the others."""
        if not self._files.per_class:
            return super().episode_mask(number, classes, own)
        maps = self._maps(number, classes)
        mask = np.zeros(image_size(self._image_path(number), upright=True), dtype=np.uint8)
        if own is not None and classes[own] in maps:
            mask[maps[classes[own]] == IGNORE] = IGNORE
        for way in sorted(range(len(classes)), key=lambda way: way == own):
            if classes[way] in maps:
                mask[maps[classes[way]] == 1] = way + 1
        return mask

    def boxes(self, number: int, class_id: int) -> list[Box]:
        """Boxes of instances from the instance map, if the image has one; otherwise of the mask's connected parts.

        Raises:
            FssegError: the instance map cannot be read, or differs from the mask in size.
        """
        path = self._files.instances.get(self._names[number])
        if path is None:
            return super().boxes(number, class_id)
        region, instances = self.episode_mask(number, (class_id,)) == 1, read_labels(path)
        if instances.shape != region.shape:
            raise FssegError(f"{path} and the mask of {self._names[number]} differ in size. Replace one.")
        return boxes_of(instances, region)

    def _note_shown(self, void: Sequence[int], deep: int) -> None:
        """Note weak masks, masks without labelled objects, absent classes and deep images; refuse if all are absent."""
        absent = [self.class_name(c) for c in self.class_ids if not self.index.pixels[:, c].any()]
        if len(absent) == len(self.class_names):
            raise FssegError(
                f"no mask of {self._files.root} shows a class: in label maps 0 is background, 255 not labelled. Put "
                f"white masks of one class into its folder: masks/{absent[0]}/NAME.png, without classes.yaml."
            )
        more = [f"images with weak masks, used as supports only: {len(self.weak):,}"] if self.weak else []
        if void:
            names = ", ".join(self._names[number] for number in void[:_NAMED]) + ", ..." * (len(void) > _NAMED)
            more += [f"{len(void):,} masks hold only 0 and 255, background and not labelled: {names}"]
        more += [f"no mask shows {', '.join(absent)}"] if absent else []
        more += [depth_note(deep, self.bits)]
        self.note = "; ".join(filter(None, [self._files.note, *more]))

    def _image_path(self, number: int) -> Path:
        return self._files.images[self._names[number]]

    def _maps(self, number: int, classes: Sequence[int] | None = None) -> dict[int, Mask]:
        """One mask per annotated class of an image: 1 the class, 0 background, 255 unlabelled."""
        found: dict[int, Mask] = {}
        for path in self._files.masks[self._names[number]]:
            class_id = self._ids[plain(path.parent.name)]
            if classes is not None and class_id not in classes:
                continue
            if path.suffix == ".json":
                marks = read_marks(path, {plain(path.parent.name): 1})
                found[class_id] = marks.paint(*image_size(self._image_path(number), upright=True)).astype(np.uint8)
            else:
                read = read_scribble if path.name.endswith(SCRIBBLE) else read_region
                found[class_id] = read(path)
        return found

    def _known(self, mask: ClassMap, path: Path) -> ClassMap:
        """Convert the ids of classes.yaml to class ids; refuse unknown ids."""
        void, source = void_of(mask), self._files.source.name
        if void == IGNORE and IGNORE in self._files.ids and (mask == IGNORE).any():
            raise FssegError(
                f"mask {path} holds 255: is 255 the class of this id in {source}, or not labelled? Save the mask with "
                "16 bits, where 65535 is not labelled."
            )
        known = self._tables[void][mask]
        wrong = (known == void_of(known)) & (mask != void)
        if wrong.any():
            ids = np.unique(mask[wrong])[:5].tolist()
            deep = " In a mask of 16 bits, not labelled is 65535." if void > IGNORE in ids else ""
            raise FssegError(f"mask {path} holds the ids {ids}, which {source} does not list. Fix one.{deep}")
        return known

    def _scan(self) -> dict[str, npt.NDArray[np.int32]]:
        numbers = tracked(range(len(self._names)), f"index of {len(self._names):,} masks")
        pixels, void, deep = zip(*(self._count(number) for number in numbers), strict=True)
        weak = [self._is_weak(number) for number in range(len(self._names))]
        flags = {"weak": weak, "void": void, "deep": deep}
        return {"pixels": np.stack(pixels)} | {name: np.array(flag, dtype=np.int32) for name, flag in flags.items()}

    def _count(self, number: int) -> tuple[npt.NDArray[np.int32], bool, bool]:
        """Pixel count of each class, whether a label map has no class but unlabelled pixels, and `Header.deep`."""
        size, deep = image_header(self._image_path(number), upright=True)
        counts = np.zeros(len(self.class_names) + 1, dtype=np.int32)
        if self._files.per_class:
            maps = self._maps(number)
            for class_id, found in maps.items():
                self._check_size(number, found.shape, size)
                counts[class_id] = (found == 1).sum()
            counts[0] = np.all([found == BACKGROUND for found in maps.values()], axis=0).sum()
            return counts, False, deep
        mask = self.mask(number)
        self._check_size(number, mask.shape, size)
        counts = count_pixels(mask, len(self.class_names))
        void = not counts[1:].any() and counts[0] < mask.size
        if void and len(self.class_names) == 1 and counts[0]:
            path, name = self._files.masks[self._names[number]][0], self.class_names[0]
            raise FssegError(
                f"mask {path} holds only 0 and 255: is 255 {name}, or not labelled? Save {name} as 1, or put black "
                f"and white masks into its folder: masks/{name}/NAME.png, without classes.yaml."
            )
        return counts, void, deep

    def _check_size(self, number: int, mask: tuple[int, ...], image: tuple[int, int]) -> None:
        if mask != image:
            path = self._files.masks[self._names[number]][0]
            turned = ". The image is rotated by its EXIF tag: paint on the upright image" if mask == image[::-1] else ""
            raise FssegError(
                f"mask {path} is {mask[1]}x{mask[0]}, its image {image[1]}x{image[0]}{turned}. Replace one."
            )

    def _is_weak(self, number: int) -> bool:
        paths = self._files.masks[self._names[number]]
        marked = [read_marks(path, self._ids).weak for path in paths if path.suffix == ".json"]
        return any(marked) or any(path.name.endswith(SCRIBBLE) for path in paths)
