"""Makes PASCAL-5i's folders: VOC 2012 with SBD's masks, from the two official archives.

The 2,913 images with a VOC mask (with void borders) keep it; other images have SBD's mask (without void). This gives
12,031 masks: the 1,449 of VOC's val list are val, the other 10,582 are train ("trainaug"), as in all later work.
"""

import io
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import PIL.Image
from scipy.io import loadmat

from fsseg.datasets import Pascal
from fsseg.datasets.pascal_pairs import official_list
from fsseg.errors import FssegError
from fsseg.prepare.archives import SBD, VOC
from fsseg.prepare.download import check_space, fetch
from fsseg.prepare.extract import members, write
from fsseg.prepare.state import PreparedArchives
from fsseg.progress import Progress
from fsseg.protocols.protocol import SPLITS

_UNPACKED = 2.2  # gigabytes of the unpacked files
_USED = ("JPEGImages", "SegmentationClass", "SegmentationObject", "ImageSets/Segmentation")
_MASKS = {"cls": "SegmentationClassAug", "inst": "SegmentationObjectAug"}  # our folders by SBD's
_OF_VOC = {"SegmentationClass": "SegmentationClassAug", "SegmentationObject": "SegmentationObjectAug"}


class Made(NamedTuple):
    """Result of `prepare`.

    Attributes:
        ours: fsseg made the folders, now or before; folders of other origin stay as they are.
        changed: this call made files.
    """

    ours: bool
    changed: bool


def prepare(root: Path, archives: Path | None = None) -> Made:
    """Make the folders below ``root``; existing files stay.

    Args:
        root: folder for ``VOCdevkit/VOC2012``, or a VOCdevkit.
        archives: folder with the archives; by default they are downloaded to ``root/archives``.

    Raises:
        FssegError: an archive cannot be downloaded or is damaged, or the disk is full; the next call resumes.
    """
    folder = devkit(root) / "VOC2012"
    state = PreparedArchives(devkit(root))
    if not state.begun and _is_tree(root):
        return Made(ours=False, changed=False)
    lists = [folder / "ImageSets/SegmentationAug" / f"{name}.txt" for name in ("train_aug", "val")]
    if all(state.has(archive) for archive in (VOC, SBD)) and all(path.is_file() for path in lists):
        return Made(ours=True, changed=False)
    with state.lock():
        wanted = [archive for archive in (VOC, SBD) if not state.has(archive)]
        check_space(wanted, root, _UNPACKED if VOC in wanted else 0, archives)
        if VOC in wanted:
            state.note_lost(VOC)
            path = fetch(VOC, root / "archives", archives)
            for name, content in members(path, _is_used):
                write(folder / PurePosixPath(name).relative_to("VOCdevkit/VOC2012"), content)
            state.add(VOC, [f"VOC2012/{part}" for part in _USED])
        if SBD in wanted:
            state.note_lost(SBD)
            _masks_of_voc(folder)
        if not state.has(SBD):
            path = fetch(SBD, root / "archives", archives)
            for name, content in members(path, _is_mat):
                _mask_of_sbd(folder, PurePosixPath(name), content)
            state.add(SBD, [f"VOC2012/{part}" for part in _MASKS.values()])
        _write_lists(folder)
    return Made(ours=True, changed=True)


def devkit(root: Path) -> Path:
    """The folder that holds VOC2012."""
    name = root.resolve().name
    return root.parent if name == "VOC2012" else root if name == "VOCdevkit" else root / "VOCdevkit"


def _is_tree(root: Path) -> bool:
    """Whether the folder has lists and masks, whichever program made them."""
    try:
        Pascal().locate(root)
    except FssegError:
        return False
    return True


def _is_used(name: str) -> bool:
    return any(name.startswith(f"VOCdevkit/VOC2012/{part}/") for part in _USED)


def _is_mat(name: str) -> bool:
    path = PurePosixPath(name)
    return path.suffix == ".mat" and path.parent.name in _MASKS and path.parent.parent.name == "dataset"


def _masks_of_voc(folder: Path) -> None:
    """Copy VOC's masks without their palettes, so that codes that read colours get grey levels equal to class ids."""
    for source, target in _OF_VOC.items():
        paths = sorted((folder / source).glob("[!.]*.png"))
        with Progress(f"masks of {source}:", len(paths), "masks") as step:
            for path in paths:
                if not (folder / target / path.name).is_file():
                    write(folder / target / path.name, _png(_of_voc(path)))
                step.add(1)


def _of_voc(path: Path) -> npt.NDArray[np.uint8]:
    try:
        with PIL.Image.open(path, formats=("PNG",)) as mask:
            return np.asarray(mask)
    except Exception as error:  # PIL raises nearly anything on a broken file
        raise FssegError(f"{path} is no image, or is broken. Delete it and run the command again.") from error


def _mask_of_sbd(folder: Path, name: PurePosixPath, content: bytes) -> None:
    kind = name.parent.name
    path = folder / _MASKS[kind] / f"{name.stem}.png"
    if path.is_file() or (folder / "SegmentationClass" / f"{name.stem}.png").is_file():
        return  # VOC's mask has priority
    try:
        found = loadmat(io.BytesIO(content), squeeze_me=True, struct_as_record=False)[f"GT{kind}"].Segmentation
        mask = np.atleast_2d(np.asarray(found)).astype(np.uint8)
    except Exception as error:  # scipy raises nearly anything on a broken file
        raise FssegError(f"{SBD.name}: {name} is no mask of SBD ({error}). Download the archive again.") from error
    write(path, _png(mask))


def _png(mask: npt.NDArray[np.uint8]) -> bytes:
    buffer = io.BytesIO()
    PIL.Image.fromarray(mask).save(buffer, "PNG")
    return buffer.getvalue()


def _write_lists(folder: Path) -> None:
    """Write the lists of train and val images; they come last, so that their presence marks a complete result."""
    path = folder / "ImageSets" / "Segmentation" / "val.txt"
    try:
        val = path.read_text(encoding="utf-8").split()
    except (OSError, ValueError) as error:
        raise FssegError(f"{path} cannot be read: {error}. Delete {folder} and run the command again.") from error
    every = {path.stem for path in (folder / "SegmentationClassAug").glob("[!.]*.png")}
    lists = {"train_aug": sorted(every - set(val)), "val": sorted(every & set(val))}
    for name, names in lists.items():
        target = folder / "ImageSets" / "SegmentationAug" / f"{name}.txt"
        if not target.is_file():
            write(target, "".join(f"{line}\n" for line in names).encode(), member=False)


def write_pairs(root: Path, dataset: Pascal) -> None:
    """Write PASCAL-5i's official (image, class) pairs in the format of HSNet and PMMs: ``2007_000452__09``.

    Args:
        root: folder given to `prepare`.
        dataset: opened data set.
    """
    for split in SPLITS:
        for fold in range(dataset.folds):
            path = devkit(root) / "VOC2012/ImageSets/PASCAL-5i" / split / f"fold{fold}.txt"
            lines = "".join(f"{name}__{class_id:02d}\n" for name, class_id in official_list(dataset, split, fold))
            write(path, lines.encode(), member=False)
