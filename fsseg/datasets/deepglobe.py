"""DeepGlobe for cross-domain tests (PATNet, ECCV 2022): patches of the land cover challenge of 2018, six classes.

::

    1/test/origin/NAME.jpg          patches that show class 1
    1/test/groundtruth/NAME.png     their masks; grey levels of 128 and more are the class
    2/test/... to 6/test/...        likewise; a patch that shows several classes lies in several folders

PATNet cuts each photo into 6 x 6 patches and leaves out those with one class, or with a class on less than 4.8 % of the
patch (data/preprocess.py). Its script lists the colours in OpenCV's order (blue, green, red), so that folder 1 is
agriculture and folder 2 is urban land. The patches exist in several versions with other numbers of images: PATNet's
paper counts 5,666, and users of its archive and of its script report other numbers (niejiahao1998/IFA, issue 14).
"""

from pathlib import Path

from fsseg.datasets.base import Count
from fsseg.datasets.class_masks import ClassMaskDataset, MaskedImage, folder_with, pair_files
from fsseg.errors import FssegError

_PLACES = ("", "Deepglobe", "deepglobe", "DeepGlobe")


class DeepGlobe(ClassMaskDataset):
    """DeepGlobe's patches: six classes, all novel, for tests only."""

    name = "DeepGlobe"
    family = "deepglobe"
    class_names = ("agriculture", "urban", "rangeland", "forest", "water", "barren")
    fold_words = "all classes novel, for tests only"
    layout = (
        "the folder of PATNet's preprocessed patches (slei109/PATNet, README: Google Drive "
        "12Dljy04maKIim3mZsR50CEOC3_ROZLCg), which holds 1/test/origin, 1/test/groundtruth ... 6/test/groundtruth"
    )

    def counts(self) -> dict[str, Count]:
        """Number of patches, and of masks of each class."""
        masks = {c: sum(c in found.masks for found in self._images) for c in self.class_ids}
        found = {self.class_name(c): Count(number, None) for c, number in masks.items()}
        return {"patches": Count(len(self._images), None), **found}

    def _find(self, root: Path) -> tuple[list[MaskedImage], list[MaskedImage]]:
        folder = folder_with(root, _PLACES, "1/test/origin", self)
        images: dict[str, MaskedImage] = {}
        for class_id in self.class_ids:
            origin, truth = (folder / str(class_id) / "test" / part for part in ("origin", "groundtruth"))
            for part in (origin, truth):
                if not part.is_dir():
                    raise FssegError(
                        f"{part} is missing: {self.class_name(class_id)} is class {class_id}. {self.needed}"
                    )
            for image, mask in pair_files(origin, {".jpg"}, truth, {".png"}):
                first = images.get(image.name, MaskedImage(image.stem, image, {}))
                images[image.name] = first._replace(masks={**first.masks, class_id: mask})
        return [], [images[name] for name in sorted(images)]
