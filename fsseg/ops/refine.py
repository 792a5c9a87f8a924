"""Sharper and cleaner predictions: logits follow the image's borders, and specks below a feature cell go."""

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Float
from scipy import ndimage
from torch import Tensor

from fsseg.ops.guided_filter import guided_filter

_BACKGROUND = 0  # label
_CELLS = 1.6  # radius of the filter in feature cells; measured with benchmarks/own_pictures.py
_EPS = 1e-3  # of the filter, in squared colours of 0..1; measured likewise
_SIDE = 256  # pixels of the longer side on which the filter's coefficients are computed, a limit of time
_SURE = 0.999  # largest filtered value before the logarithm; 3.8 as a logit


def refined(
    logits: Float[Tensor, "L H W"], image: npt.NDArray[np.uint8], cells: tuple[int, int]
) -> Float[Tensor, "L H W"]:
    """Logits after a guided filter, without specks and holes.

    Args:
        logits: background, then the classes.
        image: ``H W 3``, RGB.
        cells: height and width of the method's logits.
    """
    height, width = logits.shape[-2:]
    cell = max(height / cells[0], width / cells[1])
    guide = torch.from_numpy(np.array(image)).to(logits.device).permute(2, 0, 1) / 255
    margin = torch.tanh((logits[1:] - logits[:1]) / 2)  # 2 p - 1 of two classes
    step = max(1, round(max(height, width) / _SIDE))
    sharp = guided_filter(guide, margin, max(1, round(_CELLS * cell)), _EPS, step).clamp(-_SURE, _SURE)
    return without_specks(torch.cat([torch.zeros_like(logits[:1]), 2 * torch.atanh(sharp)]), cell * cell)


def without_specks(logits: Float[Tensor, "L H W"], area: float) -> Float[Tensor, "L H W"]:
    """Logits whose regions and holes of fewer pixels than an area have changed sides.

    A small region of a class becomes background; a small region of background within one class joins it.
    """
    label = logits.argmax(0).cpu().numpy()
    for value in np.unique(label):
        region, _ = ndimage.label(label == value)
        sizes = np.bincount(region.ravel())
        for speck, box in enumerate(ndimage.find_objects(region), 1):
            if sizes[speck] >= area:
                continue
            grown = tuple(slice(max(0, side.start - 1), side.stop + 1) for side in box)
            inside = region[grown] == speck
            around = np.unique(label[grown][ndimage.binary_dilation(inside) & ~inside])
            target = around[0] if value == _BACKGROUND and len(around) == 1 else _BACKGROUND
            if target != value:
                _swap(logits, grown, torch.from_numpy(inside).to(logits.device), int(value), int(target))
    return logits


def _swap(logits: Float[Tensor, "L H W"], box: tuple[slice, ...], inside: Tensor, first: int, second: int) -> None:
    """Exchange the logits of two labels in a region."""
    part = logits[(slice(None), *box)]
    one, other = part[first].clone(), part[second].clone()
    part[first], part[second] = other.where(inside, one), one.where(inside, other)
