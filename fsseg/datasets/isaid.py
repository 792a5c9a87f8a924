"""iSAID-5i (Yao et al., TGRS 2021): 15 classes of aerial images in three folds of five, on patches of 256 pixels.

::

    iSAID_patches/val/images/P0003_206_462_412_668.png                              a patch: top, bottom, left, right
    iSAID_patches/val/semantic_png/P0003_206_462_412_668_instance_color_RGB.png     its class ids, 255 void
    iSAID_patches/train/...

``fsseg data prepare isaid`` cuts the patches from the images of iSAID (Zamir et al., CVPRW 2019), which are those of
DOTA v1.0; see `fsseg.prepare.isaid` for the rule. The archive of iSAID-5i's authors (caoql98/SDM, Google Drive
17PQ1iKCbaj2OjwBdCn_VBh09ntI4lxgL) has the same layout, with 6,363 val patches, and is read as well.
"""

import hashlib
from pathlib import Path

import numpy as np
import numpy.typing as npt

from fsseg.datasets.base import Count, Dataset, Index, count_pixels
from fsseg.disk_cache import cached
from fsseg.episode import ClassMap, Image
from fsseg.errors import FssegError
from fsseg.files.decoders import list_files
from fsseg.files.images import image_size, read_image
from fsseg.files.masks import read_labels
from fsseg.progress import tracked
from fsseg.protocols.protocol import SPLITS, Split

# Class ids and colours of iSAID's masks: preprocess/cityscapesScripts/cityscapesscripts/helpers/labels.py of
# CAPTAIN-WHU/iSAID_Devkit.
COLOURS = {
    (0, 0, 0): 0, (0, 0, 63): 1, (0, 63, 63): 2, (0, 63, 0): 3, (0, 63, 127): 4, (0, 63, 191): 5, (0, 63, 255): 6,
    (0, 127, 63): 7, (0, 127, 127): 8, (0, 0, 127): 9, (0, 0, 191): 10, (0, 0, 255): 11, (0, 191, 127): 12,
    (0, 127, 191): 13, (0, 127, 255): 14, (0, 100, 155): 15,
}  # fmt: skip
PATCHES = "iSAID_patches"
ENDING = "_instance_color_RGB"  # of the names of masks
PUBLISHED = 6_363  # val patches of the authors' archive
_PLACES = (PATCHES, "", "iSAID", f"remote_sensing/{PATCHES}", f"iSAID/{PATCHES}")


class ISAID(Dataset):
    """iSAID-5i: fold f tests on the five classes from 5 f + 1 on, in the order of iSAID's ids."""

    name = "iSAID-5i"
    family = "isaid"
    folds = 3
    class_names = (
        "ship", "storage tank", "baseball diamond", "tennis court", "basketball court", "ground track field", "bridge",
        "large vehicle", "small vehicle", "helicopter", "swimming pool", "roundabout", "soccer ball field", "plane",
        "harbor",
    )  # fmt: skip
    fold_words = "blocks of five in the order of iSAID's ids"

    def open(self, root: Path | None) -> None:
        """Find the patches, and build or load the index.

        Raises:
            FssegError: the folder has no patches, a mask or an image is missing or broken, or sizes differ.
        """
        self.locate(root)
        shape = (len(self._images), len(self.class_names) + 1)
        found = cached("isaid", self._masks, self._scan, {"pixels": shape})
        self.index = Index(found.arrays["pixels"], None, found.cache, found.fresh, self._walk(found.arrays["pixels"]))

    def locate(self, root: Path | None) -> None:
        """Find the patches without reading masks.

        Raises:
            FssegError: the folder has no patches, or a mask has no image.
        """
        if root is None:
            raise FssegError("iSAID-5i needs `data.root` DIR (or FSSEG_DATA_ROOT), the folder of its patches.")
        places = [root / place for place in _PLACES if (root / place / "val/semantic_png").is_dir()]
        if not places:
            raise FssegError(
                f"`data.root` {root} has no patches of iSAID, {PATCHES}/val/semantic_png. Run fsseg data prepare isaid "
                "with this folder."
            )
        pairs = {split: _pairs(places[0] / split) for split in SPLITS}
        if not pairs["val"]:
            raise FssegError(f"{places[0] / 'val/semantic_png'} has no mask NAME{ENDING}.png. Prepare it again.")
        every = [pair for split in SPLITS for pair in pairs[split]]
        self._images, self._masks = [image for image, _ in every], [mask for _, mask in every]
        self._train = len(pairs["train"])
        published = len(pairs["val"]) == PUBLISHED
        if type(self) is ISAID:
            self.name = ISAID.name if published else "iSAID-5i (own patches)"
        note = f"{len(pairs['val']):,} val patches; those of published numbers, another choice, are {PUBLISHED:,}"
        self.note = "" if published else note

    def _walk(self, pixels: npt.NDArray[np.int32]) -> tuple[tuple[int, int], ...]:
        """Pairs of image and class in the order of a hash of their names, so that the first ones are a sample."""
        names = [path.stem for path in self._images]
        pairs = [(number, class_id + 1) for number, class_id in np.argwhere(pixels[:, 1:] > 0).tolist()]
        return tuple(sorted(pairs, key=lambda p: hashlib.sha256(f"{names[p[0]]}__{p[1]:02d}".encode()).digest()))

    def counts(self) -> dict[str, Count]:
        """Number of patches, and in the authors' archive."""
        return {
            "train patches": Count(len(self.numbers("train")), None),
            "val patches": Count(len(self.numbers("val")), PUBLISHED if not self.note else None),
        }

    def numbers(self, split: Split) -> range:
        """Image numbers of a split, in the order of the names."""
        return range(self._train) if split == "train" else range(self._train, len(self._images))

    def image_name(self, number: int) -> str:
        """Name of a patch."""
        return self._images[number].stem

    def image(self, number: int) -> Image:
        """A patch, RGB."""
        return read_image(self._images[number])

    def mask(self, number: int) -> ClassMap:
        """A patch's mask: class ids, 0 background, 255 void."""
        return read_labels(self._masks[number])

    def _scan(self) -> dict[str, npt.NDArray[np.int32]]:
        counts = np.zeros((len(self._masks), len(self.class_names) + 1), dtype=np.int32)
        for number in tracked(range(len(self._masks)), f"index of {len(self._masks):,} patches"):
            path, mask, size = self._masks[number], self.mask(number), image_size(self._images[number])
            if mask.shape != size:
                raise FssegError(
                    f"mask {path} is {mask.shape[1]}x{mask.shape[0]}, its image {size[1]}x{size[0]}. Replace one."
                )
            counts[number] = count_pixels(mask, len(self.class_names), f"mask {path}".format)
        return {"pixels": counts}


def _pairs(folder: Path) -> list[tuple[Path, Path]]:
    """Images and masks of a split, sorted by name; none without its folder.

    Raises:
        FssegError: a mask has no image.
    """
    if not (folder / "semantic_png").is_dir():
        return []
    masks = [path for path in list_files(folder / "semantic_png") if path.name.endswith(f"{ENDING}.png")]
    found = [(folder / "images" / f"{path.stem.removesuffix(ENDING)}.png", path) for path in masks]
    names = {path.name for path in list_files(folder / "images")} if (folder / "images").is_dir() else set()
    if orphans := [mask for image, mask in found if image.name not in names]:
        raise FssegError(
            f"mask {orphans[0]} has no image {folder / 'images' / orphans[0].name.replace(ENDING, '')}. Put it there, "
            "or remove the mask."
        )
    return found
