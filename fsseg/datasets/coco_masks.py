"""Regions of each class in a COCO image: exact ones, and the inexact ones of two official codes for reproduction."""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import numpy.typing as npt
from pycocotools import mask as rle

from fsseg.datasets.base import class_map
from fsseg.datasets.boxes import Box
from fsseg.datasets.coco_annotations import AnnotatedImage, Annotation
from fsseg.datasets.mask_store import ImageRegions
from fsseg.datasets.segmentations import BoxOnly, Points, count_strays, exact, in_fractions, polygons
from fsseg.episode import ClassMap
from fsseg.errors import FssegError
from fsseg.files.run_lengths import Code, decode
from fsseg.protocols.protocol import Crowds, Masks

Canvas = ClassMap  # H W, class ids
Fill = Callable[[Canvas, npt.NDArray[np.int32], int], object]  # canvas, points x 2, colour


def find_regions(image: AnnotatedImage, masks: Masks, crowds: Crowds) -> ImageRegions:
    """One region per class, and the boxes of the objects of an image.

    Args:
        image: image with its annotations.
        masks: ``exact``: union of pycocotools' annToMask over a class's annotations. ``first_polygon_convex`` and
            ``first_polygon_map``: see `Coco`.
        crowds: ``include``: an exact region includes crowds. ``ignore``: crowds get a separate region.

    Raises:
        FssegError: a segmentation is malformed.
    """
    exact_regions, empty = [], []
    for annotation in image.annotations:
        code = _region(image, annotation)
        if _marks(image, annotation, code):
            exact_regions.append((annotation, code))
        else:
            empty.append(annotation.number)
    marking = [annotation for annotation, _ in exact_regions]
    image = image._replace(annotations=marking)
    if masks == "exact":
        codes = _exact(exact_regions, crowds)
    elif masks == "first_polygon_convex":
        codes = _first_polygon_convex(image)
    else:
        codes = _first_polygon_map(image)
    shown = {kind: code for kind, code in codes.items() if rle.area(code)}
    objects = [(annotation.class_id, _box(code)) for annotation, code in exact_regions if not annotation.crowd]
    strays = sum(count_strays(annotation.segmentation) for annotation in marking)
    weak = any(isinstance(annotation.segmentation, BoxOnly) for annotation in marking)
    return ImageRegions(image.name, image.height, image.width, shown, objects, empty, strays, weak)


def _marks(image: AnnotatedImage, annotation: Annotation, code: Code) -> bool:
    """Whether an annotation covers a pixel: it lies inside the image, and its coordinates are pixels, not fractions."""
    return bool(rle.area(code)) and not in_fractions(annotation.segmentation, image.height, image.width)


def _box(code: Code) -> Box:
    left, top, width, height = (int(value) for value in rle.toBbox(code))
    return Box(top, left, top + height, left + width, int(rle.area(code)))


def _exact(regions: Sequence[tuple[Annotation, Code]], crowds: Crowds) -> dict[int, Code]:
    objects: dict[int, list[Code]] = {}
    for annotation, code in regions:
        kind = -annotation.class_id if annotation.crowd and crowds == "ignore" else annotation.class_id
        objects.setdefault(kind, []).append(code)
    codes = {kind: rle.merge(parts) for kind, parts in objects.items()}
    for kind in codes:
        if kind < 0 and -kind in codes:
            codes[kind] = _encode(decode(codes[kind]) & ~decode(codes[-kind]))
    return codes


def _first_polygon_convex(image: AnnotatedImage) -> dict[int, Code]:
    """As PMMs' `get_mask` (coco_val.py): one canvas per class; fillConvexPoly is wrong for concave outlines."""
    import cv2  # imported late, because exact masks, the default, do not need OpenCV

    canvases: dict[int, Canvas] = {}
    for annotation, points in _first_polygons(image):
        canvas = canvases.setdefault(annotation.class_id, _blank(image))
        _draw(image, annotation, points, canvas, 1, cv2.fillConvexPoly)
    return {class_id: _encode(canvas) for class_id, canvas in canvases.items()}


def _first_polygon_map(image: AnnotatedImage) -> dict[int, Code]:
    """As in the label maps of PFENet and its successors: one class per pixel, later over earlier annotations."""
    import cv2

    canvas = _blank(image)
    for annotation, points in _first_polygons(image):
        _draw(image, annotation, points, canvas, annotation.class_id, lambda c, p, colour: cv2.fillPoly(c, [p], colour))
    return {int(class_id): _encode(canvas == class_id) for class_id in np.unique(canvas) if class_id}


def _first_polygons(image: AnnotatedImage) -> Iterator[tuple[Annotation, Points | None]]:
    """Annotations without crowds, and the first polygon of each; None if the annotation is run-length encoded."""
    for annotation in image.annotations:
        if not annotation.crowd:
            try:
                found = polygons(annotation.segmentation, image.height, image.width)
            except (ValueError, TypeError) as error:
                raise _broken(image, annotation, error) from error
            yield annotation, found[0] if found else None


def _draw(
    image: AnnotatedImage, annotation: Annotation, points: Points | None, canvas: Canvas, colour: int, fill: Fill
) -> None:
    if points is None:
        canvas[decode(_region(image, annotation))] = colour
    else:
        fill(canvas, points.reshape(-1, 2).astype(np.int32), colour)  # truncated as in both codes


def _region(image: AnnotatedImage, annotation: Annotation) -> Code:
    try:
        return exact(annotation.segmentation, image.height, image.width)
    except (ValueError, TypeError) as error:
        raise _broken(image, annotation, error) from error


def _broken(image: AnnotatedImage, annotation: Annotation, error: Exception) -> FssegError:
    return FssegError(
        f"annotation {annotation.number} of image {image.name} has a malformed segmentation: {error}. "
        "Fix it, or remove it from the annotation file."
    )


def _blank(image: AnnotatedImage) -> Canvas:
    most = max((annotation.class_id for annotation in image.annotations), default=0)
    return class_map((image.height, image.width), most)


def _encode(region: ClassMap | npt.NDArray[np.bool_]) -> Code:
    code: Code = rle.encode(np.asfortranarray(region, dtype=np.uint8))
    return code
