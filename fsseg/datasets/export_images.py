"""What the readers of labelling programs' exports share: an annotated image, and where its file is."""

from collections.abc import Iterable
from math import cos, pi, sin
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from fsseg.errors import FssegError
from fsseg.files.decoders import is_image, list_files
from fsseg.files.marks import Points, Shape
from fsseg.files.names import FileNames, plain
from fsseg.protocols.protocol import Split
from fsseg.untrusted.text import is_line, leads_out, shown

_LARGEST = 2**15  # pixels of a side, and of an image below, as in `coco_annotations`
_PIXELS = 178_956_970
_QUOTE = 60  # characters of a broken value that an error shows
_DIGITS = 6  # of pixels
_CORNERS = 360  # of an ellipse as an outline


class ExportImage(NamedTuple):
    """An annotated image of an export.

    Attributes:
        names: names that its file may have, relative to a folder of the export; the likeliest first.
        shapes: its shapes.
        size: ``(height, width)``, if the export holds it.
        where: names its annotations, for errors.
        file: that holds its annotations.
        split: of the data set, if the export decides it.
        anywhere: whether the image may be in another folder of the export, under its name.
        fractions: whether points are in fractions of the image's sides, as the export does not hold its size.
    """

    names: tuple[str, ...]
    shapes: list[Shape]
    size: tuple[int, int] | None
    where: str
    file: Path
    split: Split | None = None
    anywhere: bool = True
    fractions: bool = False

    def shapes_on(self, size: tuple[int, int]) -> list[Shape]:
        """The shapes in pixels of the image, whose size is ``(height, width)``."""
        if not self.fractions:
            return self.shapes
        return [shape._replace(points=in_pixels(shape.points, *size)) for shape in self.shapes]


class Export(NamedTuple):
    """The annotations of an export.

    Attributes:
        program: that wrote it.
        images: in the order of the export.
        labels: names of classes in the export's order; shapes may have others.
        note: what is left out.
    """

    program: str
    images: list[ExportImage]
    labels: list[str]
    note: str = ""


class ImageIndex:
    """The images in and below a folder, found by relative path or by name.

    Args:
        folder: path.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._names = FileNames(folder)
        self._by_name: dict[str, list[Path]] | None = None

    def find(self, image: ExportImage) -> Path:
        """The file of an image.

        Raises:
            FssegError: a name leads out of the folder, or no file or several files have it.
        """
        inside = [name for name in image.names if is_line(name) and not leads_out(name)]
        for name in inside:
            if (found := self._names.find(name)) is not None:
                return self.folder / found
        if image.anywhere and (place := self._by_its_name(image)) is not None:
            return place
        if not inside:
            raise FssegError(
                f"{image.where} names the image {shown(image.names[0])!a:.80}, which leads out of its folder "
                f"{self.folder}. Put the image beside its annotations, under the same name."
            )
        raise FssegError(
            f"image {shown(image.names[0])[:_QUOTE]} of {image.where} is missing in {self.folder}: put it there; "
            "exports without images need yours."
        )

    def _by_its_name(self, image: ExportImage) -> Path | None:
        """The only image below the folder that has a name of an image, without its folders."""
        if self._by_name is None:
            self._by_name = {}
            for path in filter(is_image, list_files(self.folder, below=True)):
                self._by_name.setdefault(plain(path.name), []).append(path)
        for name in image.names:
            there = self._by_name.get(plain(PurePosixPath(name.replace("\\", "/")).name), [])
            if len(there) == 1:
                return there[0]
            if there:
                raise FssegError(
                    f"{image.where}: {there[0]} and {there[1]} both have the name of its image. Rename one, also in "
                    "the labelling program, or keep one."
                )
        return None


def checked_size(where: str, height: Any, width: Any) -> tuple[int, int]:
    """``(height, width)`` of an image in an export.

    Raises:
        FssegError: they are no numbers of pixels, or too large.
    """
    try:
        found = int(height), int(width)
    except (TypeError, ValueError, OverflowError) as error:
        raise FssegError(f"{where} has an image without width or height: {shown(str(width))[:_QUOTE]!r}.") from error
    if not 1 <= min(found) <= max(found) <= _LARGEST or found[0] * found[1] > _PIXELS:
        raise FssegError(f"{where} is an image of {found[1]}x{found[0]} pixels. Export again.")
    return found


def numbers(where: str, what: str, values: Iterable[Any]) -> list[float]:
    """Values as numbers; `fsseg.files.marks` refuses infinite ones.

    Raises:
        FssegError: a value is no number.
    """
    values = list(values)
    try:
        return [float(value) for value in values]
    except (TypeError, ValueError, OverflowError) as error:
        listed = shown(str(values))[:_QUOTE]
        raise FssegError(f"{where}: {what} has other values than numbers: {listed}. Export again.") from error


def in_pixels(points: Points, height: int, width: int) -> Points:
    """Points in fractions of an image's sides in pixels, without the noise of the division that made the fractions."""
    return [(round(x * width, _DIGITS), round(y * height, _DIGITS)) for x, y in points]


def rectangle(left: float, top: float, width: float, height: float) -> Points:
    """The corners of an upright rectangle."""
    return [(left, top), (left + width, top), (left + width, top + height), (left, top + height)]


def turned(points: Points, about: tuple[float, float], degrees: float) -> Points:
    """Points rotated clockwise."""
    c, s = cos(degrees * pi / 180), sin(degrees * pi / 180)
    x0, y0 = about
    return [(x0 + c * (x - x0) - s * (y - y0), y0 + s * (x - x0) + c * (y - y0)) for x, y in points]


def ellipse(x: float, y: float, radius_x: float, radius_y: float) -> Points:
    """An upright ellipse as an outline."""
    angles = [2 * pi * i / _CORNERS for i in range(_CORNERS)]
    return [(x + radius_x * cos(angle), y + radius_y * sin(angle)) for angle in angles]
