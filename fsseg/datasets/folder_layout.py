"""Find the files of a `Folder`: images, masks, classes and splits."""

from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from fsseg.datasets import labelmap
from fsseg.datasets.base import class_map
from fsseg.datasets.custom import Folds, check_names
from fsseg.datasets.export_formats import export_hint
from fsseg.episode import IGNORE, MOST_CLASSES, ClassMap, void_of
from fsseg.errors import FssegError
from fsseg.files.decoders import (
    count_endings,
    first_names,
    installation,
    is_image,
    is_undecodable,
    list_files,
    list_folders,
)
from fsseg.files.names import plain
from fsseg.untrusted.text import BrokenTextError, decoded, is_line, load_yaml

_PICTURES = {".png", ".tif", ".tiff", ".bmp", ".gif"}  # formats of masks, without loss
_MASKS = _PICTURES | {".json", ".npy"}
SCRIBBLE = ".scribble.png"  # ending of a scribble mask
_OF_CVAT = {"images": "JPEGImages", "masks": "SegmentationClass"}  # folders of CVAT's export
_NAMED = 3  # files that a note or an error lists


class Files(NamedTuple):
    """The files of a `Folder`.

    Attributes:
        root: the folder.
        images: path of each image that has a mask, by image name; names are `plain`.
        masks: paths of an image's masks, by image name; several if each class has a folder.
        per_class: whether each class has a folder of masks.
        ids: value of each class in label maps, in the order of the names.
        class_names: names of the classes.
        folds: entry of classes.yaml; None without entry.
        splits: names of train and val images; None without lists.
        source: file or folder of the class names, for errors.
        note: caveat for results, see `Dataset.note`.
        instances: path of each instance map, by image name.
        colours: class id of each colour of CVAT's masks; empty for other masks.
    """

    root: Path
    images: dict[str, Path]
    masks: dict[str, list[Path]]
    per_class: bool
    ids: list[int]
    class_names: list[str]
    folds: Folds | None
    splits: tuple[list[str], list[str]] | None
    source: Path
    note: str
    instances: dict[str, Path]
    colours: Mapping[labelmap.Colour, int]

    def table(self, void: int) -> ClassMap:
        """Class id for each value of a label map; unknown values map to the void of the table's type.

        Args:
            void: value of unlabelled pixels in the file: 255 (8 bits) or 65535 (16 bits).
        """
        table = class_map((void + 1,), len(self.ids))
        table[1:] = void_of(table)
        for class_id, value in enumerate(self.ids, 1):
            if value < void:
                table[value] = class_id
        return table


def find(root: Path) -> Files:
    """Find and check the files of a folder.

    Raises:
        FssegError: no images or masks, a mask has no image, two files have one name, or classes.yaml is broken.
    """
    coloured = (root / labelmap.FILE).is_file() and not (root / "classes.yaml").is_file()
    image_folder, mask_folder = _folder(root, "images", coloured), _folder(root, "masks", coloured)
    every = _files(image_folder, below=coloured)
    images = _by_name(list(filter(is_image, every)), image_folder)
    undecodable = list(filter(is_undecodable, every))
    folders = [] if coloured else list_folders(mask_folder)
    masks = _masks(mask_folder, folders, coloured)
    _check_masks(masks, set(images), image_folder, mask_folder, undecodable)
    if coloured:
        names, colours = labelmap.read_labelmap(root / labelmap.FILE)
        ids, folds, source = [*range(1, len(names) + 1)], None, root / labelmap.FILE
        splits = _splits(root / "ImageSets" / "Segmentation", set(masks))
        splits = splits if splits and all(splits) else None  # a list of all images is no split
    else:
        annotated = all(path.suffix == ".json" for paths in masks.values() for path in paths)
        ids, names, folds, source = _classes(root, [plain(folder.name) for folder in folders], annotated)
        splits, colours = _splits(root, set(masks)), {}
    used = {name: images[name] for name in masks}
    note = _left_out(every, sorted(set(images) - set(masks)), folders or [mask_folder])
    instances = {plain(path.stem): path for path in list_files(root / "instances") if path.suffix.lower() in _PICTURES}
    return Files(root, used, masks, bool(folders), ids, names, folds, splits, source, note, instances, colours)


def _check_masks(
    masks: dict[str, list[Path]], images: set[str], image_folder: Path, mask_folder: Path, undecodable: list[Path]
) -> None:
    """Refuse a folder without masks, and masks without an image."""
    if orphans := sorted(set(masks) - images):
        raise FssegError(
            f"mask {masks[orphans[0]][0]} has no image {orphans[0]} in {image_folder}; of {len(masks):,} masks, "
            f"{len(orphans):,} have none. Name a mask like its image, up to the ending.{_undecodable(undecodable)}"
        )
    if not masks:
        others = sorted({path.suffix for path in _files(mask_folder)})
        found = f" Found files of {', '.join(others)}; a lossy format changes ids." if others else ""
        raise FssegError(f"{mask_folder} has no mask: NAME.png, NAME.json, or a folder per class is needed.{found}")


def _folder(root: Path, name: str, coloured: bool) -> Path:
    """The folder of images or masks; beside labelmap.txt, CVAT's names are possible."""
    names = (name, _OF_CVAT[name]) if coloured else (name,)
    for folder in (root / each for each in names):
        if folder.is_dir():
            return folder
    other = ""
    if (root / "annotations.json").is_file():
        other = " It has annotations.json: its data set is coco_json (CocoJson)."
    else:
        other = export_hint(root)
    if coloured:
        other = f" Beside {labelmap.FILE}, CVAT's folders JPEGImages and SegmentationClass are possible too."
    raise FssegError(f"`data.root` {root} has no folder {name}: images/ and masks/ are needed there.{other}")


def _left_out(every: list[Path], bare: list[str], folders: list[Path]) -> str:
    """Note on files that the data set leaves out: images without a mask by name, other files by ending."""
    several = f"{len(bare):,} images without a mask are" if len(bare) > 1 else "1 image without a mask is"
    names = f"{', '.join(bare[:_NAMED])}{', ...' * (len(bare) > _NAMED)}"
    others = [path for path in every if not is_image(path)]
    others += [path for folder in folders for path in _files(folder) if path.suffix.lower() not in _MASKS]
    notes = [f"{several} left out: {names}"] if bare else []
    notes += (
        [f"other files are left out: {count_endings(others)}{_undecodable(list(filter(is_undecodable, others)))}"]
        if (others)
        else []
    )
    return "; ".join(notes)


def _files(folder: Path, below: bool = False) -> list[Path]:
    found = list_files(folder, below)
    for path in found:
        if not is_line(path.name):
            raise FssegError(f"{folder} holds a file whose name cannot be printed: {path.name!a}. Rename it.")
    return found


def _undecodable(paths: list[Path]) -> str:
    return f" {first_names(paths)} cannot be decoded: {installation(paths[0])}" if paths else ""


def _name(path: Path, folder: Path) -> str:
    """Image name of a file: its path in the folder without the ending."""
    relative = path.relative_to(folder).as_posix()
    return plain(relative.removesuffix(SCRIBBLE) if relative.endswith(SCRIBBLE) else relative.removesuffix(path.suffix))


def _by_name(paths: list[Path], folder: Path) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for path in paths:
        if (name := _name(path, folder)) in found:
            raise FssegError(f"{found[name]} and {path.name} have the same name. Rename one.")
        found[name] = path
    return found


def _masks(root: Path, folders: list[Path], below: bool) -> dict[str, list[Path]]:
    single = [path for path in _files(root, below) if path.suffix.lower() in _MASKS]
    if folders and single:
        raise FssegError(f"{root} has both {single[0].name} and the folder {folders[0].name}. Use one kind.")
    found: dict[str, list[Path]] = {}
    of_image: dict[str, Path] = {}
    for path in single:
        _add(found, path, root, of_image)
    for folder in folders:
        of_image = {}
        for path in _files(folder):
            if path.suffix.lower() in _MASKS:
                _add(found, path, folder, of_image)
    return found


def _add(found: dict[str, list[Path]], path: Path, folder: Path, of_image: dict[str, Path]) -> None:
    """Add a mask under its image's name; refuse a second mask of the same class, or a second label map."""
    name = _name(path, folder)
    if name in of_image:
        raise FssegError(f"{of_image[name]} and {path.name} are masks of one image. Keep one.")
    of_image[name] = path
    found.setdefault(name, []).append(path)


def _classes(root: Path, folders: list[str], annotated: bool) -> tuple[list[int], list[str], Folds | None, Path]:
    path = root / "classes.yaml"
    content = _yaml(path) if path.is_file() else {}
    folds = content.get("folds")
    if folds is not None and not _are_folds(folds):
        raise FssegError(f"{path}: folds is {folds!r}; a number, or lists such as [[cat, dog], [fish]] are needed.")
    listed = content.get("classes")
    if folders:
        names = listed if isinstance(listed, list) else folders
        check_names(names, str(path))
        names = [plain(name) for name in names]
        if sorted(names) != sorted(folders):
            raise FssegError(f"{path} lists {', '.join(names)}; the folders of masks are {', '.join(folders)}.")
        return list(range(1, len(names) + 1)), names, folds, path if listed else root / "masks"
    if isinstance(listed, list):
        listed = dict(enumerate(listed, 1))
    if not isinstance(listed, dict) or not listed:
        raise FssegError(
            f"{path} is needed {'with the labels of the JSON files' if annotated else 'for masks of class ids'}, such "
            "as: classes: [cat, dog] or {1: cat, 2: dog}."
        )
    if wrong := [value for value in listed if type(value) is not int or not 0 < value <= MOST_CLASSES]:
        raise FssegError(
            f"{path}: class ids are integers from 1 to 254, not {wrong[0]!r}; in masks of 16 bits, up to "
            f"{MOST_CLASSES}."
        )
    if max(listed) == IGNORE:
        raise FssegError(f"{path}: class ids are integers from 1 to 254, not 255, which means not labelled.")
    ids = sorted(listed)
    names = [listed[value] for value in ids]
    check_names(names, str(path))
    if len(set(names)) < len(names):
        raise FssegError(f"{path} names a class twice: {', '.join(names)}.")
    return ids, names, folds, path


def _are_folds(folds: Any) -> bool:
    if isinstance(folds, list):
        return all(isinstance(fold, list) for fold in folds)
    return isinstance(folds, int) and not isinstance(folds, bool)


def _yaml(path: Path) -> dict[str, Any]:
    try:
        content = load_yaml(decoded(path.read_bytes()))
    except (OSError, UnicodeDecodeError) as error:
        raise FssegError(f"{path} is no YAML: no text.") from error
    except BrokenTextError as error:
        raise FssegError(f"{path} is no YAML: {error}.") from error
    if not isinstance(content, dict) or not content.keys() <= {"classes", "folds"}:
        raise FssegError(f"{path} must hold `classes` and optionally `folds`, nothing else.")
    return content


def _splits(root: Path, known: set[str]) -> tuple[list[str], list[str]] | None:
    paths = [root / "train.txt", root / "val.txt"]
    there = [path for path in paths if path.is_file()]
    if not there:
        return None
    listed = {path.stem: _listed(path, known) for path in there}
    # With one list, all other images belong to the other split.
    rest = sorted(known - {name for names in listed.values() for name in names})
    lists = [listed.get(name, rest) for name in ("train", "val")]
    if both := sorted(set(lists[0]) & set(lists[1])):
        raise FssegError(f"{both[0]} is listed in train.txt and in val.txt. Remove it from one.")
    return lists[0], lists[1]


def _listed(path: Path, known: set[str]) -> list[str]:
    """Image names of a list file, which may have endings. The train list may be empty, for testing only."""
    text = decoded(path.read_bytes(), "replace")
    lines = [plain(line.strip()) for line in text.splitlines() if line.strip()]
    names = []
    for line in lines:
        file = PurePosixPath(line.replace("\\", "/"))
        names.append(next((name for name in (line, str(file.with_suffix("")), file.name) if name in known), file.stem))
    if unknown := [name for name in names if name not in known]:
        raise FssegError(f"{path} lists {unknown[0]}, which has no image with a mask. Remove it, or add its mask.")
    if (not names and path.name == "val.txt") or len(set(names)) < len(names):
        raise FssegError(f"{path} is empty, or lists an image twice. List each image once.")
    return names
