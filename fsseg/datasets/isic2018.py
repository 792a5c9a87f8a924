"""ISIC 2018, task 1, for cross-domain tests (PATNet, ECCV 2022): 2,594 photos of skin lesions, three classes.

::

    ISIC2018_Task1-2_Training_Input/ISIC_0000000.jpg                    photos, as in the official archive; or
    ISIC2018_Task1-2_Training_Input/1/ISIC_0000019.jpg                  in a folder per class: 1, 2, 3
    ISIC2018_Task1_Training_GroundTruth/ISIC_0000000_segmentation.png   masks; 128 and more are the lesion
    class_id.csv                                                        without class folders: ID,Class

The classes are a table of PATNet's (slei109/PATNet, data/isic/class_id.csv). Its folders are 1 seborrheic keratosis,
2 nevus, 3 melanoma, with 208, 1,867 and 519 photos (DR-Adapter, data_util/ISIC_Split.py). That script makes photos of
512 x 512 pixels and leaves masks as they are; masks are then resized to their photos.
"""

import csv
from pathlib import Path

from fsseg.datasets.base import Count
from fsseg.datasets.class_masks import ClassMaskDataset, MaskedImage, folder_with
from fsseg.errors import FssegError
from fsseg.files.decoders import list_files
from fsseg.untrusted.text import decoded, shown

IMAGES, MASKS, TABLE = "ISIC2018_Task1-2_Training_Input", "ISIC2018_Task1_Training_GroundTruth", "class_id.csv"
_PLACES = ("", "ISIC", "ISIC/ISIC", "ISIC2018")
_VALUES = ("seborrheic_keratosis", "nevus", "melanoma")  # of the table, in the order of the folders
_COMPLETE = (208, 1_867, 519)
_QUOTE = 60  # characters of the table that an error repeats


class ISIC2018(ClassMaskDataset):
    """ISIC 2018: three classes, all novel, for tests only."""

    name = "ISIC 2018"
    family = "isic2018"
    class_names = ("seborrheic keratosis", "nevus", "melanoma")
    fold_words = "all classes novel, for tests only"
    resized_masks = True
    layout = (
        f"the folder that holds {IMAGES} and {MASKS} (`fsseg data prepare isic2018` fetches both), and class_id.csv of "
        "slei109/PATNet (data/isic/class_id.csv)"
    )

    def counts(self) -> dict[str, Count]:
        """Number of photos and of masks, in all and of each class, and in the official data set."""
        of = {c: [found.masks[c] for found in self._images if c in found.masks] for c in self.class_ids}
        masks = sum(path.is_file() for paths in of.values() for path in paths)
        every = sum(_COMPLETE)
        found = {self.class_name(c): Count(len(of[c]), _COMPLETE[c - 1]) for c in self.class_ids}
        return {"photos": Count(len(self._images), every), "masks": Count(masks, every), **found}

    def _find(self, root: Path) -> tuple[list[MaskedImage], list[MaskedImage]]:
        folder = folder_with(root, _PLACES, IMAGES, self)
        masks = folder / MASKS
        if not masks.is_dir():
            raise FssegError(f"{masks} is missing. {self.needed}")
        known = self._of_folders(folder / IMAGES) or self._of_table(folder, root)
        found = [
            MaskedImage(path.stem, path, {class_id: masks / f"{path.stem}_segmentation.png"})
            for path, class_id in sorted(known.items(), key=lambda item: item[0].name)
        ]
        every = {path.name for path in list_files(masks) if path.suffix == ".png"}
        others = every - {path.name for each in found for path in each.masks.values()}
        self.note = f"masks without a photo, left out: {len(others):,}, e.g. {min(others)}" if others else ""
        lacking = sum(_COMPLETE) - len(found)
        if type(self) is ISIC2018:
            self.name = "ISIC 2018 subset" if lacking else ISIC2018.name
        return [], found

    def _of_folders(self, folder: Path) -> dict[Path, int]:
        """Class id of each photo in class folders; empty without such folders."""
        found: dict[Path, int] = {}
        for class_id in self.class_ids:
            part = folder / str(class_id)
            found |= {path: class_id for path in list_files(part) if path.suffix == ".jpg"} if part.is_dir() else {}
        return found

    def _of_table(self, folder: Path, root: Path) -> dict[Path, int]:
        """Class id of each photo by the table.

        Raises:
            FssegError: the table is missing or broken, or does not list a photo.
        """
        photos = [path for path in list_files(folder / IMAGES) if path.suffix == ".jpg"]
        if not photos:
            raise FssegError(f"{folder / IMAGES} has no photo ISIC_0000000.jpg ... {self.needed}")
        table = next((path / TABLE for path in (folder, root) if (path / TABLE).is_file()), None)
        if table is None:
            raise FssegError(
                f"{folder / TABLE} is missing, which says the class of each photo. Put data/isic/class_id.csv of "
                "slei109/PATNet there, or sort the photos into the folders 1, 2 and 3."
            )
        classes = _read_table(table)
        if unknown := [path.stem for path in photos if path.stem not in classes]:
            raise FssegError(f"{table} lacks {unknown[0]}: {len(unknown):,} of {len(photos):,} photos have no class.")
        return {path: classes[path.stem] for path in photos}


def _read_table(path: Path) -> dict[str, int]:
    """Class id of each photo's name.

    Raises:
        FssegError: the file is no table, the columns are not ID and Class, a class is unknown, or a photo has two.
    """
    rows = csv.DictReader(decoded(path.read_bytes(), "replace").splitlines())
    found: dict[str, int] = {}
    try:
        for row in rows:
            name, value = row.get("ID") or "", row.get("Class") or ""
            where = f"{path}, line {rows.line_num}"
            if value not in _VALUES or not name:
                needed = f"Lines ID,Class with {', '.join(_VALUES)} are needed."
                raise FssegError(f"{where}: {shown(value or name)[:_QUOTE]!r} is no class. {needed}")
            class_id = _VALUES.index(value) + 1
            if found.setdefault(name, class_id) != class_id:
                raise FssegError(f"{where}: {shown(name)[:_QUOTE]} has two classes. Keep one.")
    except csv.Error as error:  # e.g. a field of megabytes
        raise FssegError(f"{path}, line {rows.line_num}, is no line of a table ({error}). Replace the file.") from error
    return found
