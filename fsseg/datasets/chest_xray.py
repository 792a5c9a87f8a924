"""Chest X-ray for cross-domain tests (PATNet, ECCV 2022): lungs in screenings for tuberculosis, one class.

::

    CXR_png/CHNCXR_0001_0.png           800 X-rays, of Shenzhen (CHNCXR) and Montgomery County (MCUCXR)
    masks/CHNCXR_0001_0_mask.png        704 masks of the lungs; grey levels of 128 and more are lung
    masks/MCUCXR_0001_0.png             a mask of Montgomery County has the name of its X-ray

Candemir et al. and Jaeger et al. (2013); the folder is that of Kaggle's nikhilpandey360/chest-xray-masks-and-labels.
X-rays without a mask are left out. PATNet's loader strips the ending of every mask's name (data/lung.py), INSID3's
keeps the names of Montgomery County (datasets/lung.py); here a mask belongs to the X-ray that exists.
"""

from pathlib import Path

from fsseg.datasets.base import Count
from fsseg.datasets.class_masks import ClassMaskDataset, MaskedImage, folder_with
from fsseg.errors import FssegError
from fsseg.files.decoders import list_files

_PLACES = ("", "LungSegmentation", "Lung Segmentation", "data/Lung Segmentation")
_ENDING = "_mask"
_COMPLETE = {"X-rays": 800, "masks": 704}


class ChestXRay(ClassMaskDataset):
    """Chest X-ray: one class, the lung, novel, for tests only."""

    name = "Chest X-ray"
    family = "chest_xray"
    class_names = ("lung",)
    fold_words = "one class, novel, for tests only"
    layout = (
        "the folder LungSegmentation of Kaggle's nikhilpandey360/chest-xray-masks-and-labels, which holds CXR_png and "
        "masks"
    )

    def counts(self) -> dict[str, Count]:
        """Number of X-rays and of masks, and in the official data set."""
        found = {"X-rays": self._every, "masks": len(self._images)}
        return {what: Count(number, _COMPLETE[what]) for what, number in found.items()}

    def _find(self, root: Path) -> tuple[list[MaskedImage], list[MaskedImage]]:
        folder = folder_with(root, _PLACES, "CXR_png", self)
        if not (folder / "masks").is_dir():
            raise FssegError(f"{folder / 'masks'} is missing. {self.needed}")
        images = {path.stem: path for path in list_files(folder / "CXR_png") if path.suffix == ".png"}
        found: dict[str, MaskedImage] = {}
        for mask in list_files(folder / "masks"):
            if mask.suffix != ".png":
                continue
            name = mask.stem if mask.stem in images else mask.stem.removesuffix(_ENDING)
            if name not in images:
                raise FssegError(f"mask {mask} has no X-ray {name}.png in CXR_png. Put it there, or remove the mask.")
            if name in found:
                raise FssegError(f"{found[name].masks[1]} and {mask.name} are masks of one X-ray. Keep one.")
            found[name] = MaskedImage(name, images[name], {1: mask})
        if not found:
            raise FssegError(f"{folder / 'masks'} has no mask NAME_mask.png. {self.needed}")
        self._every = len(images)
        bare = len(images) - len(found)
        self.note = f"X-rays without a mask, left out: {bare:,}" if bare else ""
        if type(self) is ChestXRay:
            complete = {"X-rays": self._every, "masks": len(found)} == _COMPLETE
            self.name = ChestXRay.name if complete else "Chest X-ray subset"
        return [], list(found.values())
