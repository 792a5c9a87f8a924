"""IoU from pixel counts: the one place where intersections are divided by unions.

The rule: counts are summed first, over whatever a number covers (a query, a class of a run, a bootstrap draw), and
divided once. Where the union is 0, neither mask nor prediction shows the class, and the IoU is NaN: the class is left
out of a mean, it does not count as 0 or 1.
"""

from typing import Any, TypeVar

import numpy as np

A = TypeVar("A", bound=Any)  # an array or a tensor; this module imports no torch, tables start fast


def iou(intersection: A, union: A) -> A:
    """Intersection over union, element by element; NaN where the union is 0.

    Args:
        intersection: summed pixel counts, a numpy array or a tensor of floats, of any shape.
        union: likewise, of the same shape; 0 only where the intersection is 0.
    """
    with np.errstate(invalid="ignore"):  # numpy warns of 0 / 0, torch does not; both give NaN
        ratio: A = intersection / union
    return ratio


def percent(intersection: A, union: A) -> A:
    """`iou` in percent; the product comes first, so that every place rounds alike."""
    product: Any = 100 * intersection
    ratio: A = iou(product, union)
    return ratio
