"""Reader of YOLO's segments: a text file for each image, with a line for each object.

A line is ``CLASS X Y X Y ...``: the number of a class, from 0, and the corners of an outline in fractions of the
image's sides, as in https://docs.ultralytics.com/datasets/segment/. Five numbers are a box (centre, width, height).
``data.yaml`` names the classes; Label Studio writes ``classes.txt``. Images are in ``images/``, text files in
``labels/`` likewise, with folders such as ``train`` and ``val`` in either order; or a text file is beside its image.
"""

from pathlib import Path
from typing import Any

from fsseg.datasets.export_images import Export, ExportImage, numbers
from fsseg.errors import FssegError
from fsseg.files.decoders import endings, is_image, list_files
from fsseg.files.marks import Shape
from fsseg.files.names import plain
from fsseg.protocols.protocol import Split
from fsseg.untrusted.text import BrokenTextError, decoded, is_line, load_yaml, shown

_YAML = ("data.yaml", "data.yml", "dataset.yaml", "dataset.yml")
_LISTS = ("classes.txt", "obj.names")  # a name on each line
NAMES_ENDINGS = (".yaml", ".yml")
_LABELS, _IMAGES = "labels", "images"
_SPLITS: dict[str, Split | None] = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": None}
_BOX, _LEAST = 5, 7  # numbers of a line with a box, and with a triangle
_OVER = 0.01  # fractions may leave 0..1 by rounding
_MOST = 1_000_000  # class numbers that a file may name


def names_file(folder: Path) -> Path | None:
    """The file with the names of the classes in a folder; None without one."""
    listed = [folder / name for name in (*_YAML, *_LISTS) if (folder / name).is_file()]
    if not listed and folder.is_dir():
        others = [path for path in list_files(folder) if path.suffix.lower() in NAMES_ENDINGS]
        listed = [path for path in others if "names" in _yaml(path)]
    return listed[0] if listed else None


def names_above(path: Path) -> dict[int, str]:
    """Names of the classes for a text file, from the nearest folder above that has them.

    Raises:
        FssegError: no such folder, or its file is broken.
    """
    for folder in path.absolute().parents[:4]:
        if (file := names_file(folder)) is not None:
            return read_names(file)
    raise FssegError(f"{path} has numbers as classes: put data.yaml with names: [cat, dog] into its folder, or above.")


def read_names(path: Path) -> dict[int, str]:
    """Names of the classes by number.

    Raises:
        FssegError: the file has no names, or belongs to another task than segmentation.
    """
    if path.name in _LISTS:
        names: Any = dict(enumerate(line.strip() for line in _text(path).splitlines() if line.strip()))
    else:
        content = _yaml(path)
        if "kpt_shape" in content:
            raise FssegError(f"{path} is for key points (kpt_shape). Export segments: YOLO segmentation, or COCO.")
        names = content.get("names")
        names = dict(enumerate(names)) if isinstance(names, list) else names
    fine = isinstance(names, dict) and bool(names)
    if not fine or not all(isinstance(key, int) and is_line(name) and name.strip() for key, name in names.items()):
        raise FssegError(f"{path} has no names of classes, such as names: [cat, dog]. Add them.")
    return {key: plain(name.strip()) for key, name in names.items()}


def read(folder: Path, source: Path) -> Export:
    """Read the text files of a folder.

    Args:
        folder: of the export.
        source: file with the names of the classes.

    Raises:
        FssegError: no text file, or a broken one.
    """
    names = read_names(source)
    every = list_files(folder, below=True)
    texts = label_files(folder, every)
    if not texts:
        raise FssegError(f"{folder} has {source.name}, but no text files in {_LABELS}/. Export YOLO segments again.")
    found = [_image(folder, path, names) for path in texts]
    kept = [image for image in found if image is not None]
    left = len(found) - len(kept)
    marked = {Path(name).with_suffix("") for image in kept for name in image.names}
    bare = sum(path.relative_to(folder).with_suffix("") not in marked for path in every if is_image(path)) - left
    notes = [f"images of test are left out: {left:,}"] if left else []
    notes += [f"images without a text file are left out: {bare:,}"] if bare > 0 else []
    if kept and not any(shape.kind == "outline" for image in kept for shape in image.shapes):
        raise FssegError(
            f"{folder}: its labels are boxes alone (YOLO detection). Export segments: YOLO segmentation, or COCO."
        )
    return Export("YOLO", kept, [names[key] for key in sorted(names)], "; ".join(notes))


def label_files(folder: Path, every: list[Path]) -> list[Path]:
    """The text files with labels: those below ``labels``, and those beside an image of their name.

    Args:
        folder: of the export.
        every: files in and below it.
    """
    images = {path.with_suffix("") for path in every if is_image(path)}
    texts = [path for path in every if path.suffix.lower() == ".txt" and path.name not in _LISTS]
    return [path for path in texts if _LABELS in path.relative_to(folder).parts[:-1] or path.with_suffix("") in images]


def _image(folder: Path, path: Path, names: dict[int, str]) -> ExportImage | None:
    """An image; None for one of the test split."""
    relative = path.relative_to(folder)
    parts = list(relative.parts)
    split: Split | None = None
    for part in parts[:-1]:
        if part in _SPLITS and (split := _SPLITS[part]) is None:
            return None
    if _LABELS in parts[:-1]:
        place = len(parts) - 2 - parts[-2::-1].index(_LABELS)
        parts[place] = _IMAGES
    bare = Path(*parts)
    stems = [bare.with_name(f"{bare.stem}{ending}") for ending in (*endings(), *map(str.upper, endings()))]
    there = [name for name in stems if (folder / name).is_file()] or stems[:1]
    if len(there) > 1:
        raise FssegError(f"{path} has the name of {there[0]} and of {there[1]}. Rename or remove one.")
    shapes = read_labels(path, names)
    return ExportImage((there[0].as_posix(),), shapes, None, str(path), path, split, anywhere=False, fractions=True)


def read_labels(path: Path, names: dict[int, str]) -> list[Shape]:
    """The objects of a text file, in fractions of the image's sides, see `ExportImage.fractions`.

    Raises:
        FssegError: a line is no outline and no box, or its class has no name.
    """
    lines = enumerate(_text(path).splitlines(), 1)
    return [_object(f"{path}, line {number}", line.split(), names) for number, line in lines if line.strip()]


def _object(where: str, words: list[str], names: dict[int, str]) -> Shape:
    values = numbers(where, "a line", words)
    number, places = values[0], values[1:]
    if not 0 <= number < _MOST or number % 1 or int(number) not in names:
        listed = f"0 to {max(names)}" if len(names) > 1 else "0"
        raise FssegError(f"{where}: class {shown(words[0])[:20]} has no name; data.yaml names {listed}. Fix one.")
    if len(values) != _BOX and (len(values) < _LEAST or len(values) % 2 == 0):
        raise FssegError(
            f"{where} has {len(values)} numbers: a class and three or more pairs x y are needed. Export YOLO segments."
        )
    if not all(-_OVER <= place <= 1 + _OVER for place in places):
        raise FssegError(f"{where}: coordinates are fractions of the image's sides, 0 to 1. Divide x by its width.")
    label = names[int(number)]
    if len(values) == _BOX:
        x, y, width, height = places
        return Shape(label, "box", [(x - width / 2, y - height / 2), (x + width / 2, y + height / 2)])
    return Shape(label, "outline", list(zip(places[::2], places[1::2], strict=True)))


def _text(path: Path) -> str:
    try:
        return decoded(path.read_bytes())
    except OSError as error:
        raise FssegError(f"{path} cannot be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise FssegError(f"{path} is no text file. Export it again.") from error


def _yaml(path: Path) -> dict[str, Any]:
    try:
        content = load_yaml(_text(path))
    except BrokenTextError as error:
        raise FssegError(f"{path} is no YAML: {error}.") from error
    return content if isinstance(content, dict) else {}
