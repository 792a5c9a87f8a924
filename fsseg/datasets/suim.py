"""SUIM (Islam et al., IROS 2020) for cross-domain tests: 1,635 underwater photos, seven classes.

::

    images/NAME.jpg             photos, of the official training and test folders together
    masks/FV/NAME.png           a folder of masks per class: FV, HD, PF, RI, RO, SR, WR; also bmp and jpg
                                grey levels of 128 and more are the class; a mask may show no pixel of it

The folder is that of Kaggle's heyoujue/suim-merged, which ABCDFSS and INSID3 read (data/suim.py, datasets/suim.py).
Its 3,859 masks that are not empty are the pairs of a photo and a class (ABCDFSS, data/README.md).
"""

from pathlib import Path

from fsseg.datasets.base import Count
from fsseg.datasets.class_masks import ClassMaskDataset, MaskedImage, folder_with
from fsseg.errors import FssegError
from fsseg.files.decoders import list_files

_PLACES = ("", "SUIM", "suim_merged", "suim-merged/suim_merged")
_FOLDERS = ("FV", "HD", "PF", "RI", "RO", "SR", "WR")
_MASKS = {".png", ".bmp", ".jpg"}
_COMPLETE = 1_635


class SUIM(ClassMaskDataset):
    """SUIM: seven classes, all novel, for tests only."""

    name = "SUIM"
    family = "suim"
    class_names = (
        "fish and vertebrates", "human divers", "plants and sea-grass", "reefs and invertebrates", "robots",
        "sea-floor and rocks", "wrecks and ruins",
    )  # fmt: skip
    fold_words = "all classes novel, for tests only"
    blank_masks = True
    layout = f"the folder of Kaggle's heyoujue/suim-merged, which holds images and masks/{', masks/'.join(_FOLDERS)}"

    def counts(self) -> dict[str, Count]:
        """Number of photos, and of masks of each class, empty ones included."""
        masks = {c: sum(c in found.masks for found in self._images) for c in self.class_ids}
        found = {_FOLDERS[c - 1]: Count(number, None) for c, number in masks.items()}
        return {"photos": Count(len(self._images), _COMPLETE), **found}

    def _find(self, root: Path) -> tuple[list[MaskedImage], list[MaskedImage]]:
        folder = folder_with(root, _PLACES, "images", self)
        images = {path.stem: path for path in list_files(folder / "images") if path.suffix == ".jpg"}
        found: dict[str, MaskedImage] = {}
        for class_id, part in enumerate(_FOLDERS, 1):
            masks = folder / "masks" / part
            if not masks.is_dir():
                raise FssegError(f"{masks} is missing: {part} is {self.class_name(class_id)}. {self.needed}")
            for mask in list_files(masks):
                if mask.suffix in _MASKS:
                    self._add(found, images, class_id, mask)
        if not found:
            raise FssegError(f"{folder / 'masks'} has no mask. {self.needed}")
        bare = len(images) - len(found)
        self.note = f"photos without a mask, left out: {bare:,}" if bare else ""
        if type(self) is SUIM:
            self.name = SUIM.name if len(found) == _COMPLETE else "SUIM subset"
        return [], [found[name] for name in sorted(found, key=lambda name: images[name].name)]

    def _add(self, found: dict[str, MaskedImage], images: dict[str, Path], class_id: int, mask: Path) -> None:
        """Add a mask under its photo's name.

        Raises:
            FssegError: the mask has no photo, or the photo has two masks of the class.
        """
        if mask.stem not in images:
            raise FssegError(f"mask {mask} has no photo {mask.stem}.jpg in images. Put it there, or remove the mask.")
        first = found.get(mask.stem, MaskedImage(mask.stem, images[mask.stem], {}))
        if class_id in first.masks:
            raise FssegError(f"{first.masks[class_id]} and {mask.name} are masks of one photo. Keep one.")
        found[mask.stem] = first._replace(masks={**first.masks, class_id: mask})
