"""The region around a clicked pixel, from the cached features of the image."""

import numpy as np
import numpy.typing as npt
import torch
from scipy import ndimage
from torch.nn import functional as F

from fsseg.demo.pictures import SIDE, fitted
from fsseg.episode import Image, Mask
from fsseg.episodes.transforms import resize_mask
from fsseg.ops.refine import refined
from fsseg.segmenter import Segmenter

_BINS = 64  # of the histogram of similarities
_SHIFT = (-0.1, 0.2)  # of the threshold at reach 1 and 0; chosen on 26 photographs
_STEEP = 8.0  # logits for a difference of 1 between similarity and threshold; our choice


@torch.inference_mode()
def region_around(segmenter: Segmenter, image: Image, row: int, column: int, reach: float) -> Mask:
    """The connected region ``H W`` (0, 1) around a pixel whose features are like that of the pixel.

    The similarity is the cosine of a cell's feature with the mean of the 3x3 cells around the click, after the mean
    feature of the image is subtracted. Its threshold is that of Otsu (1979), which separates the similarities best, and
    `_SHIFT` more, so that the region rather misses a part of the object than contains background. The borders follow
    the image by the guided filter of predictions.

    Args:
        segmenter: gives the features, without an encoder pass if the image is cached.
        image: of the support.
        row: of the clicked pixel.
        column: of the clicked pixel.
        reach: 0..1, how large the region is.
    """
    small = fitted(image, SIDE)
    height, width = small.shape[:2]
    place = row * height // image.shape[0], column * width // image.shape[1]
    similarity = similarities(segmenter.feature(small)[-1].float(), place[0] / height, place[1] / width)
    low, high = _SHIFT
    threshold = otsu(similarity.cpu().numpy()) + high + reach * (low - high)
    full = F.interpolate(similarity[None, None], (height, width), mode="bilinear", align_corners=False)[0, 0]
    margin = _STEEP * (full - threshold)
    cells = similarity.shape[0], similarity.shape[1]
    region = refined(torch.stack([torch.zeros_like(margin), margin]), small, cells).argmax(0).cpu().numpy() == 1
    found = connected(region, *place, min(height / cells[0], width / cells[1]) / 2)
    return resize_mask(found, (image.shape[0], image.shape[1])) if small is not image else found


def similarities(feature: torch.Tensor, down: float, right: float) -> torch.Tensor:
    """Cosine ``h w`` of each cell of a map ``C h w`` with the 3x3 cells at a point in fractions of the map's sides."""
    unit = F.normalize(feature - feature.mean((1, 2), keepdim=True), dim=0)
    row, column = int(down * unit.shape[1]), int(right * unit.shape[2])
    around = unit[:, max(0, row - 1) : row + 2, max(0, column - 1) : column + 2].mean((1, 2))
    return (unit * F.normalize(around, dim=0)[:, None, None]).sum(0)


def otsu(values: npt.NDArray[np.float32]) -> float:
    """The threshold of Otsu (1979): the border between two bins with the largest variance between both sides."""
    count, border = np.histogram(values, _BINS, (-1, 1))
    centre = (border[1:] + border[:-1]) / 2
    below, total = np.cumsum(count)[:-1], count.sum()
    moment = np.cumsum(count * centre)[:-1]
    above = total - below
    with np.errstate(divide="ignore", invalid="ignore"):
        between = below * above * (moment / below - ((count * centre).sum() - moment) / above) ** 2
    return float(border[1:-1][np.nanargmax(np.where((below > 0) & (above > 0), between, -1))])


def connected(region: npt.NDArray[np.bool_], row: int, column: int, radius: float) -> Mask:
    """The part ``H W`` (0, 1) of a region that is connected with a disc around a pixel, and the disc."""
    rows, columns = np.ogrid[: region.shape[0], : region.shape[1]]
    disc = (rows - row) ** 2 + (columns - column) ** 2 <= radius**2
    parts, _ = ndimage.label(region | disc)
    found: Mask = (parts == parts[row, column]).astype(np.uint8)
    return found
