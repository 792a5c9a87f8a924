"""Read and check annotation files in COCO's format."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any, NamedTuple

from fsseg.datasets.custom import check_names
from fsseg.datasets.segmentations import BoxOnly, Segmentation, compact
from fsseg.errors import FssegError
from fsseg.files.names import plain, within
from fsseg.progress import status
from fsseg.untrusted.text import decoded, is_line, leads_out, load_json

_LARGEST = 2**15  # pixels of a side; far above any camera
_PIXELS = 178_956_970  # of an image: twice PIL.Image.MAX_IMAGE_PIXELS, PIL's limit; pycocotools counts in 32 bits
_MUCH = 2**24  # bytes; reading a smaller file takes less than a second and shows no status
_LONGEST = 255  # characters of a file name: the limit of most file systems
_CROWD = {"None": False, "0": False, "1": True, "False": False, "True": True, "0.0": False, "1.0": True}  # iscrowd


Id = int | str  # of an image, an annotation or a category: a number, or a text that is no number


class Annotation(NamedTuple):
    """An object, or a crowd of objects.

    Attributes:
        number: id in the file, for errors.
        class_id: 1 .. number of categories.
        crowd: whether the annotation covers a group of objects roughly (iscrowd).
        segmentation: region in the file's format.
    """

    number: Id
    class_id: int
    crowd: bool
    segmentation: Segmentation


class AnnotatedImage(NamedTuple):
    """An image of an annotation file, with its annotations in the file's order."""

    name: str
    height: int
    width: int
    annotations: list[Annotation]


class AnnotationFile(NamedTuple):
    """Images in the order of their ids, and the name of class id ``i + 1`` at position ``i``.

    Two categories may have one name until `leave_out_unused`.
    """

    images: list[AnnotatedImage]
    class_names: tuple[str, ...]


def read_annotations(
    path: Path,
    class_names: Sequence[str] | None = None,
    folder: Path | None = None,
    adapt: Callable[[dict[str, Any]], None] | None = None,
) -> AnnotationFile:
    """Read and check an annotation file. pycocotools' reader does not check, and prints.

    Args:
        path: of the file.
        class_names: required categories, in the order of their ids. None: any categories, and an object may have a
            box (bbox) in place of a segmentation.
        folder: folder of the images, in which absolute file names become relative ones.
        adapt: changes the content of a file in another format to COCO's; its objects need segmentations.

    Raises:
        FssegError: the file is missing, truncated or malformed, or has other categories.
    """
    content = _read(path)
    if adapt is not None:
        adapt(content)
    names = _categories(path, content["categories"])
    found = tuple(names[number] for number in sorted(names, key=_by_id))
    if class_names is not None and found != tuple(class_names):
        raise _other_categories(path, found, class_names)
    class_ids = {number: place + 1 for place, number in enumerate(sorted(names, key=_by_id))}
    images = _images(path, content["images"], folder)
    for item in content["annotations"]:
        _add(path, item, images, class_ids, boxes=class_names is None and adapt is None)
    return AnnotationFile([images[number] for number in sorted(images, key=_by_id)], found)


def _add(path: Path, item: Any, images: Mapping[Id, AnnotatedImage], class_ids: Mapping[Id, int], boxes: bool) -> None:
    """Add an annotation to its image."""
    try:
        number, image, category = _id(item["id"]), _id(item["image_id"]), _id(item["category_id"])
        crowd, segmentation = item.get("iscrowd"), item.get("segmentation")
        if boxes and segmentation in (None, [], [[]], {}, "") and item.get("bbox"):
            segmentation = BoxOnly(*map(float, item["bbox"]))
        elif segmentation is None:
            raise KeyError("segmentation")
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise FssegError(
            f"{path} has an annotation without id, image, category or segmentation: {item!s:.80}."
        ) from error
    if image not in images or category not in class_ids:
        what = f"category {category}" if image in images else f"image {image}"
        raise FssegError(f"{path}: annotation {number} names {what}, which is not listed. Replace the file.")
    if str(crowd) not in _CROWD:
        raise FssegError(f"{path}: annotation {number} has iscrowd {crowd!r:.20}; 0 or 1 is needed. Fix it.")
    images[image].annotations.append(Annotation(number, class_ids[category], _CROWD[str(crowd)], segmentation))


def leave_out_unused(files: Sequence[AnnotationFile], path: Path) -> tuple[list[AnnotationFile], list[str]]:
    """Annotation files of one data set without the categories that no object has, and the names of these categories.

    Roboflow's category 0, for example, is the group of all others. Files without any object keep all categories.

    Args:
        files: with the same categories.
        path: of the first file, for errors.

    Raises:
        FssegError: two used categories have the same name.
    """
    every = files[0].class_names
    images = [image for file in files for image in file.images]
    used = sorted({annotation.class_id for image in images for annotation in image.annotations})
    used = used or [*range(1, len(every) + 1)]
    names = tuple(every[class_id - 1] for class_id in used)
    if len(set(names)) < len(names):
        raise FssegError(f"{path} has two categories with the same id or name. Remove one.")
    new = {class_id: place for place, class_id in enumerate(used, 1)}
    unused = [name for class_id, name in enumerate(every, 1) if class_id not in new]
    if not unused:
        return [*files], []
    for image in images:
        image.annotations[:] = [each._replace(class_id=new[each.class_id]) for each in image.annotations]
    return [file._replace(class_names=names) for file in files], unused


def _id(value: Any) -> Id:
    """An id: numbers, also written as text, become int; other text, such as a file name, stays text.

    Raises:
        ValueError: the value is neither a whole number nor a printable text.
    """
    if isinstance(value, float) and not value.is_integer():
        raise ValueError("no id")
    if isinstance(value, str) and not value.strip().lstrip("-").isdecimal():
        if not value.isprintable() or not 0 < len(value) <= _LONGEST:
            raise ValueError("no id")
        return value
    return int(value)


def _by_id(number: Id) -> tuple[bool, int, str]:
    """Sort key of ids: numbers, then texts."""
    return (True, 0, number) if isinstance(number, str) else (False, number, "")


def _read(path: Path) -> dict[str, Any]:
    try:
        long = path.stat().st_size > _MUCH
        with status(f"reading {path.name}") if long else nullcontext():
            content = load_json(decoded(path.read_bytes()), compact)
    except OSError as error:
        raise FssegError(f"{path} cannot be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise FssegError(f"{path} is no text file: unpack it if it is compressed, or download it again.") from error
    except ValueError as error:
        raise FssegError(f"{path} is no complete JSON file ({error}). Download or unpack it again.") from error
    needed = ("images", "annotations", "categories")
    lacking = [key for key in needed if not isinstance(content, dict) or not isinstance(content.get(key), list)]
    if lacking:
        raise FssegError(f"{path} is no COCO annotation file: it has no list of {' and of '.join(lacking)}.")
    return dict(content)


def _categories(path: Path, categories: list[Any]) -> dict[Id, str]:
    """Names by category id."""
    try:
        names = {_id(category["id"]): category["name"] for category in categories}
        check_names([name for name in names.values() if name != "background"], str(path))
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise FssegError(f"{path} has a category without id or name.") from error
    if len(names) < len(categories):
        raise FssegError(f"{path} has two categories with the same id or name. Remove one.")
    return {number: plain(name) for number, name in names.items()}


def _other_categories(path: Path, found: Sequence[str], class_names: Sequence[str]) -> FssegError:
    unknown, lacking = set(found) - set(class_names), set(class_names) - set(found)
    wrong = f"{min(unknown)} is none of them" if unknown else f"{min(lacking)} is missing" if lacking else "other order"
    return FssegError(
        f"{path} has {len(found)} categories; COCO's {len(class_names)} are needed ({wrong}). "
        "Put COCO's own instances file there."
    )


def _images(path: Path, listed: list[Any], folder: Path | None) -> dict[Id, AnnotatedImage]:
    images: dict[Id, AnnotatedImage] = {}
    names = set()
    for item in listed:
        try:
            number = _id(item["id"])
            image = AnnotatedImage(item["file_name"], int(item["height"]), int(item["width"]), [])
            if not isinstance(image.name, str) or not Path(image.name).name:
                raise ValueError
            image = image if folder is None else image._replace(name=within(image.name, folder))
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise FssegError(f"{path} has an image without id, file name or size: {str(item)!a:.80}.") from error
        if not is_line(image.name) or len(image.name) > _LONGEST:
            raise FssegError(f"{path}: {image.name!a:.60} is no file name. Fix it.")
        if leads_out(image.name):
            raise FssegError(f"{path} names the image {image.name}, which leads out of its folder. Replace the file.")
        if (
            not 1 <= min(image.height, image.width) <= max(image.height, image.width) <= _LARGEST
            or image.height * image.width > _PIXELS
        ):
            raise FssegError(f"{path}: image {image.name} is {image.width}x{image.height} pixels. Replace the file.")
        if number in images or image.name in names:
            raise FssegError(f"{path} lists image {number} ({image.name}) twice. List each image once.")
        images[number] = image
        names.add(image.name)
    if not images:
        raise FssegError(f"{path} lists no image. Give an annotation file with images.")
    return images
