"""Find the files of a `Folder`: images, masks, classes and splits."""

from pathlib import Path
from typing import Any, NamedTuple

from fsseg.datasets.base import class_map
from fsseg.datasets.custom import Folds, check_names
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
from fsseg.untrusted.text import BrokenTextError, is_line, load_yaml

_MASKS = {".png", ".json"}
SCRIBBLE = ".scribble.png"  # ending of a scribble mask
_NAMED = 3  # files that a note or an error lists


class Files(NamedTuple):
    """The files of a `Folder`.

    Attributes:
        root: the folder.
        images: path of each image that has a mask, by image name.
        masks: paths of an image's masks, by image name; several if each class has a folder.
        per_class: whether each class has a folder of masks.
        ids: value of each class in label maps, in the order of the names.
        class_names: names of the classes.
        folds: entry of classes.yaml; None without entry.
        splits: names of train and val images; None without lists.
        source: file or folder of the class names, for errors.
        note: caveat for results, see `Dataset.note`.
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
    for name in ("images", "masks"):
        if not (root / name).is_dir():
            other = (
                " It has annotations.json: its data set is coco_json (CocoJson)."
                * (root / "annotations.json").is_file()
            )
            raise FssegError(f"`data.root` {root} has no folder {name}: images/ and masks/ are needed there.{other}")
    every = _files(root / "images")
    images, undecodable = _by_name(list(filter(is_image, every))), list(filter(is_undecodable, every))
    folders = list_folders(root / "masks")
    masks = _masks(root, folders)
    if orphans := sorted(set(masks) - set(images)):
        raise FssegError(
            f"mask {masks[orphans[0]][0]} has no image {orphans[0]} in {root / 'images'}; of {len(masks):,} masks, "
            f"{len(orphans):,} have none. Name a mask like its image, up to the ending.{_undecodable(undecodable)}"
        )
    if not masks:
        others = sorted({path.suffix for path in _files(root / "masks")})
        found = f" Found files of {', '.join(others)}; a lossy format changes ids." if others else ""
        raise FssegError(f"{root / 'masks'} has no mask: NAME.png, NAME.json, or a folder per class is needed.{found}")
    annotated = all(path.suffix == ".json" for paths in masks.values() for path in paths)
    ids, names, folds, source = _classes(root, [folder.name for folder in folders], annotated)
    used = {name: images[name] for name in masks}
    splits = _splits(root, set(masks))
    note = _left_out(every, sorted(set(images) - set(masks)), folders or [root / "masks"])
    return Files(root, used, masks, bool(folders), ids, names, folds, splits, source, note)


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


def _files(folder: Path) -> list[Path]:
    found = list_files(folder)
    for path in found:
        if not is_line(path.name):
            raise FssegError(f"{folder} holds a file whose name cannot be printed: {path.name!a}. Rename it.")
    return found


def _undecodable(paths: list[Path]) -> str:
    return f" {first_names(paths)} cannot be decoded: {installation(paths[0])}" if paths else ""


def _by_name(paths: list[Path]) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for path in paths:
        if path.stem in found:
            raise FssegError(f"{found[path.stem]} and {path.name} have the same name. Rename one.")
        found[path.stem] = path
    return found


def _masks(root: Path, folders: list[Path]) -> dict[str, list[Path]]:
    single = [path for path in _files(root / "masks") if path.suffix.lower() in _MASKS]
    if folders and single:
        raise FssegError(f"{root / 'masks'} has both {single[0].name} and the folder {folders[0].name}. Use one kind.")
    found: dict[str, list[Path]] = {}
    of_image: dict[str, Path] = {}
    for path in single:
        _add(found, path, of_image)
    for folder in folders:
        of_image = {}
        for path in _files(folder):
            if path.suffix.lower() in _MASKS:
                _add(found, path, of_image)
    return found


def _add(found: dict[str, list[Path]], path: Path, of_image: dict[str, Path]) -> None:
    """Add a mask under its image's name; refuse a second mask of the same class, or a second label map."""
    name = path.name.removesuffix(SCRIBBLE) if path.name.endswith(SCRIBBLE) else path.stem
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
        content = load_yaml(path.read_text(encoding="utf-8"))
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
    text = path.read_text(encoding="utf-8-sig", errors="replace")
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    names = [line if line in known else Path(line).stem for line in lines]
    if unknown := [name for name in names if name not in known]:
        raise FssegError(f"{path} lists {unknown[0]}, which has no image with a mask. Remove it, or add its mask.")
    if (not names and path.name == "val.txt") or len(set(names)) < len(names):
        raise FssegError(f"{path} is empty, or lists an image twice. List each image once.")
    return names
