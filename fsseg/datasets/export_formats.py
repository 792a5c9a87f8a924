"""Which labelling program wrote a file or a folder; anything else is refused with the export to choose."""

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from fsseg.datasets import cvat, label_studio, labelme, yolo
from fsseg.datasets.coco_annotations import AnnotatedImage, read_annotations
from fsseg.datasets.export_images import Export, ExportImage
from fsseg.datasets.segmentations import BoxOnly, exact
from fsseg.episode import BACKGROUND, IGNORE, Mask
from fsseg.errors import FssegError
from fsseg.files.annotation_json import read_json, shapes_of
from fsseg.files.decoders import list_files
from fsseg.files.marks import Shape, is_class, marks_of
from fsseg.files.names import plain

ENDINGS = (".json", ".xml", ".txt")  # of files with annotations
ONE = "one image"  # program of a JSON of labelme or fsseg
_READ = (
    "fsseg reads labelme, CVAT for images 1.1, Label Studio's JSON, YOLO segments, COCO, masks as PNG or TIFF, and .npy"
)
# Names of other programs' formats by a key of their JSON, and what to choose there.
_OTHERS = (
    ("_via_img_metadata", "a project of the VGG Image Annotator", "COCO"),
    ("classTitle", "an annotation of Supervisely", "COCO"),
    ("FeatureCollection", "GeoJSON, e.g. of QuPath", "a label image (PNG or TIFF)"),
    ("labelbox", "an export of Labelbox", "COCO, or masks"),
    ("dataset", "an export of Darwin V7", "COCO"),
    ("infos", "an export of Datumaro", "CVAT for images 1.1, or COCO"),
)
_ENDINGS = {
    ".zip": "unpack it, and give the folder", ".7z": "unpack it, and give the folder",
    ".gz": "unpack it, and give the folder", ".tar": "unpack it, and give the folder",
    ".csv": "export COCO, or masks as PNG", ".tsv": "export COCO, or masks as PNG",
    ".geojson": "export a label image (PNG or TIFF)", ".ndjson": "export COCO, or masks as PNG",
    ".jsonl": "export COCO, or masks as PNG", ".npz": "save one array as .npy", ".mat": "save the mask as PNG or .npy",
    ".pkl": "save the mask as PNG or .npy", ".pickle": "save the mask as PNG or .npy", ".pt": "save the mask as .npy",
    ".svg": "export the mask as PNG", ".xcf": "export the mask as PNG", ".psd": "export the mask as PNG",
    ".roi": "export a label image (PNG or TIFF)", ".nii": "export slices as PNG", ".parquet": "export masks as PNG",
    ".record": "export COCO, or masks as PNG", ".tfrecord": "export COCO, or masks as PNG",
}  # fmt: skip


def refuse_unread(path: Path) -> None:
    """Refuse a file whose ending belongs to a format that fsseg does not read.

    Raises:
        FssegError: with the export to choose.
    """
    if (fix := _ENDINGS.get(path.suffix.lower())) is not None:
        raise FssegError(f"{path}: {path.suffix.lower()} files are not read; {fix}. {_READ}.")


def find_export(folder: Path) -> tuple[str, list[Path]] | None:
    """The program that wrote a folder, and the files that hold its annotations; None for any other folder."""
    if (folder / cvat.FILE).is_file():
        return "CVAT", [folder / cvat.FILE]
    files = list_files(folder, below=True)
    if (names := yolo.names_file(folder)) is not None and (texts := yolo.label_files(folder, files)):
        return "YOLO", [names, *texts]
    found = [path for path in files if path.suffix.lower() == ".json"]
    if len(found) == 1 and label_studio.is_export(read_json(found[0])):
        return "Label Studio", found
    return ("labelme", found) if any(labelme.is_labelme(read_json(path)) for path in found) else None


def export_hint(folder: Path) -> str:
    """A sentence for an error: which data set reads a labelling program's folder; empty for any other folder."""
    try:
        found = find_export(folder) if folder.is_dir() else None
    except FssegError:  # a broken file, which is not what the error is about
        return ""
    return f" It has annotations of {found[0]}: its data set is labelling (LabellingExport)." if found else ""


def read_export(path: Path) -> Export:
    """Read a folder or a file of a labelling program.

    Raises:
        FssegError: no program's export, or a broken one.
    """
    if path.is_file():
        return _read_file(path.resolve(), path, path.stat().st_mtime_ns)
    found = find_export(path)
    if found is None:
        raise FssegError(
            f"{path} holds no annotations of a labelling program: JSON files of labelme beside images, {cvat.FILE}, "
            f"one JSON of Label Studio, or data.yaml with labels/. {_READ}."
        )
    program, files = found
    if program == "CVAT":
        return cvat.read(files[0])
    if program == "YOLO":
        return yolo.read(path, files[0])
    if program == "Label Studio":
        return label_studio.read(files[0], read_json(files[0]))
    return labelme.read(path, files)


@lru_cache(maxsize=8)
def _read_file(_: Path, path: Path, __: int) -> Export:
    """Read a file; it is read once for all supports, unless it changes."""
    if path.suffix.lower() == ".xml":
        return cvat.read(path)
    if path.suffix.lower() in yolo.NAMES_ENDINGS:
        return yolo.read(path.parent, path)
    if path.suffix.lower() == ".txt":
        shapes = yolo.read_labels(path, yolo.names_above(path))
        return Export("YOLO", [ExportImage((path.stem,), shapes, None, str(path), path, fractions=True)], [])
    content = read_json(path)
    if isinstance(content, dict) and {"shapes", "boxes", "points"} & content.keys():
        found = shapes_of(path, content)
        return Export(ONE, [ExportImage((path.stem,), found.shapes, found.size, str(path), path)], [])
    if label_studio.is_export(content):
        return label_studio.read(path, content)
    if isinstance(content, dict) and {"images", "annotations"} <= content.keys():
        file = read_annotations(path)
        found_images = [_of_coco(path, image, file.class_names) for image in file.images]
        return Export("COCO", found_images, [*file.class_names])
    raise other_json(path, content)


def _of_coco(path: Path, image: AnnotatedImage, names: tuple[str, ...]) -> ExportImage:
    where, shapes = f"{path} ({image.name})", []
    for annotation in image.annotations:
        label, found = names[annotation.class_id - 1], annotation.segmentation
        if isinstance(found, BoxOnly):
            corners = [(found.left, found.top), (found.left + found.width, found.top + found.height)]
            shapes.append(Shape(label, "box", corners))
            continue
        try:
            code = exact(found, image.height, image.width)
        except (ValueError, TypeError) as error:
            raise FssegError(f"{where}: annotation {annotation.number} is {error}. Fix or remove it.") from error
        shapes.append(Shape(label, "mask", [(0, 0), (image.width - 1, image.height - 1)], code))
    return ExportImage((image.name,), shapes, (image.height, image.width), where, path)


def other_json(path: Path, content: Any) -> FssegError:
    """The error for a JSON file of no supported program."""
    text = str(content)[:10_000].casefold()
    for key, what, fix in _OTHERS:
        if key.casefold() in text:
            return FssegError(f"{path} is {what}, which fsseg does not read. Export {fix} there.")
    return FssegError(f"mask {path} has neither shapes (labelme) nor boxes or points. {_READ}.")


def annotation_of(path: Path, image: Path) -> ExportImage:
    """The shapes of an image in a file of annotations.

    Args:
        path: JSON of labelme, fsseg, Label Studio or COCO, XML of CVAT, or a text file of YOLO.
        image: file of the image.

    Raises:
        FssegError: the file is broken, of another program, or does not list the image, or lists it twice.
    """
    listed = read_export(path).images
    if len(listed) == 1 and listed[0].names == (path.stem,):  # a file of one image
        return listed[0]
    named = [each for each in listed if any(_is_name(name, image) for name in each.names)]
    longest = [each for each in named if any(_is_path(name, image) for name in each.names)]
    matching = longest if len(named) > 1 else named
    if len(matching) != 1:
        problem = f"lists {len(matching)} images with the name of {image}" if matching else f"does not list {image}"
        raise FssegError(f"{path} {problem}; it has {_few(listed)}. Give the image and the file of one export.")
    return matching[0]


def classes_in(image: ExportImage, names: Sequence[str] = ()) -> list[str]:
    """Names of the classes that an image shows, sorted; of the given names only, in their order, if there are any."""
    found = {shape.label for shape in image.shapes if is_class(shape.label)}
    return [name for name in names if name in found] if names else sorted(found)


def painted(image: ExportImage, names: Sequence[str], size: tuple[int, int], others: bool) -> Mask:
    """Labels ``H W`` of an image: 0 background, 1..N the named classes, 255 unlabelled.

    Args:
        image: with its shapes.
        names: of the classes; empty if every shape has the label 1, whatever its class.
        size: ``(height, width)`` of the image.
        others: whether shapes of other classes are background; otherwise they are refused.

    Raises:
        FssegError: a shape is broken or of another class, the size is another one, or no shape has a class.
    """
    shapes = image.shapes_on(size)
    if others and names:
        shapes = [shape for shape in shapes if shape.label in names or not is_class(shape.label)]
    ids = {name: c for c, name in enumerate(names, 1)} or {shape.label: 1 for shape in shapes}
    labels = marks_of(image.where, shapes, ids, image.size).paint(*size)
    if not ((labels != BACKGROUND) & (labels != IGNORE)).any():
        raise FssegError(f"mask {image.where} is empty: no shape has the name of a class. Mark the object.")
    return labels.astype(np.uint8)


def _is_name(name: str, image: Path) -> bool:
    return plain(PurePosixPath(name.replace("\\", "/")).name) == plain(image.name)


def _is_path(name: str, image: Path) -> bool:
    parts, there = PurePosixPath(plain(name.replace("\\", "/"))).parts, PurePosixPath(plain(image.as_posix())).parts
    return there[-len(parts) :] == parts


def _few(images: list[ExportImage]) -> str:
    names = [PurePosixPath(image.names[0]).name for image in images[:3]]
    return ", ".join(names) + ", ..." * (len(images) > len(names))
