"""IoU from pixel counts: the only place where intersections are divided by unions.

Counts are first summed over everything that a number covers (a query, a class of a run, a bootstrap draw), and divided
once. If the union is 0, neither mask nor prediction shows the class. The IoU is then NaN, and means leave the class out
instead of counting 0 or 1.
"""

from typing import Any, TypeVar

import numpy as np

A = TypeVar("A", bound=Any)  # an array or a tensor; without torch's import, tables start fast


def iou(intersection: A, union: A) -> A:
    """Intersection over union, element by element; NaN where the union is 0.

    Args:
        intersection: summed pixel counts, a numpy array or a tensor of floats, of any shape.
        union: summed pixel counts of the same shape; 0 only where the intersection is 0.
    """
    with np.errstate(invalid="ignore"):  # numpy warns of 0 / 0, torch does not; both give NaN
        ratio: A = intersection / union
    return ratio


def mean_of_known(values: Any) -> Any:
    """Mean over the last axis of a numpy array without its NaN; NaN where all values are NaN."""
    known = ~np.isnan(values)
    return iou(np.where(known, values, 0).sum(-1), known.sum(-1))


def percent(intersection: A, union: A) -> A:
    """`iou` in percent; multiplying before dividing makes all callers round alike."""
    product: Any = 100 * intersection
    ratio: A = iou(product, union)
    return ratio
