"""Scribbles generated from masks, as in PANet's test with weak annotations (section 4.4).

The algorithm is the interactive robot of the DAVIS challenge, in PANet's code util/scribbles.py: open the mask, take
its medial axis, and smooth the longest path through each connected part of the axis. This version uses scipy and
scikit-image. It differs in three points: a minimum spanning tree breaks cycles; among paths of equal length it may
choose another one; a region too small for a path gets its medial axis as scribble, where the code makes none.
"""

from itertools import pairwise

import numpy as np
import numpy.typing as npt
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import breadth_first_order, connected_components, minimum_spanning_tree
from scipy.special import comb
from skimage.draw import line
from skimage.filters import rank
from skimage.morphology import disk, medial_axis

Region = npt.NDArray[np.bool_]  # H W
Points = npt.NDArray[np.float64]  # n x 2, row and column

# Constants of util/scribbles.py.
_WIDTH, _WIDEST = 0.15, 16  # opening's disk: diameter relative to the root of the mask's area; largest radius in pixels
_SHRINK = 0.9  # factor of the radius after an opening that left nothing
_LEAST = 4  # smallest number of pixels of a path
_SAMPLES = 1000  # points of a smoothed path
_NEIGHBOURS = ((0, 1), (1, -1), (1, 0), (1, 1))  # half of the eight neighbours, so that each edge is found once


def scribbles(region: Region, seed: int = 0) -> list[Region]:
    """One scribble for each part of a region's medial axis, as lines one pixel wide.

    Args:
        region: pixels of a class, or of the background.
        seed: seed of the order in which the medial axis is thinned.
    """
    if not region.any():
        return []
    axis = skeleton(region, seed)
    paths = [smoothed(path) for path in longest_paths(axis)]
    return [draw(path, region.shape) for path in paths] or [axis]


def skeleton(region: Region, seed: int = 0) -> Region:
    """Medial axis of the opened region; the opening removes thin parts, which would add branches."""
    padded = np.pad(opened(region), 1)
    axis: Region = medial_axis(padded, rng=seed)[1:-1, 1:-1]
    return axis


def opened(region: Region) -> Region:
    """A region without parts narrower than 15 % of the root of its area; the region itself if nothing would remain."""
    radius = min(_WIDTH * np.sqrt(region.sum()) / 2, _WIDEST)
    while radius > 1:
        # Rank filters use pixels inside the image only, so that a region does not shrink at the image's border.
        shape = disk(radius)
        large: Region = rank.maximum(rank.minimum(region.astype(np.uint8), shape), shape) > 0
        if large.any():
            return large
        radius *= _SHRINK
    return region


def longest_paths(axis: Region) -> list[Points]:
    """The longest path, in steps, through each connected part of an axis with at least four pixels."""
    nodes = np.argwhere(axis)
    number = np.full(axis.shape, -1)
    number[axis] = np.arange(len(nodes))
    padded = np.pad(number, 1, constant_values=-1)
    rows, columns, weights = [], [], []
    for down, right in _NEIGHBOURS:
        other = padded[1 + down : 1 + down + axis.shape[0], 1 + right : 1 + right + axis.shape[1]]
        both = (number >= 0) & (other >= 0)
        rows.append(number[both])
        columns.append(other[both])
        weights.append(np.full(both.sum(), np.hypot(down, right)))
    edges = (np.concatenate(weights), (np.concatenate(rows), np.concatenate(columns)))
    tree = minimum_spanning_tree(coo_matrix(edges, shape=(len(nodes), len(nodes))).tocsr())
    parts, label = connected_components(tree, directed=False)
    sizes = np.bincount(label, minlength=parts)
    starts = [int(np.flatnonzero(label == part)[0]) for part in np.flatnonzero(sizes >= _LEAST)]
    return [nodes[_longest(tree, start)].astype(np.float64) for start in starts]


def _longest(tree: coo_matrix, start: int) -> list[int]:
    """Nodes of the longest path, in steps, of the tree that contains a node, found by two breadth-first searches."""
    order, _ = breadth_first_order(tree, start, directed=False)
    order, before = breadth_first_order(tree, order[-1], directed=False)
    path = [int(order[-1])]
    while before[path[-1]] >= 0:
        path.append(int(before[path[-1]]))
    return path


def smoothed(path: Points, samples: int = _SAMPLES) -> Points:
    """Bezier curve with all points of a path as control points; a path with more points than samples is returned."""
    if len(path) > samples:
        return path
    degree = len(path) - 1
    t = np.linspace(0, 1, samples)[:, None]
    powers = np.arange(degree + 1)
    weights = comb(degree, powers) * t**powers * (1 - t) ** (degree - powers)
    curve: Points = weights @ path
    return curve


def draw(path: Points, shape: tuple[int, ...]) -> Region:
    """Draw straight lines between the points of a path, truncated to pixels as in PANet's code."""
    scale = (np.array(shape) - 1) / np.array(shape)
    pixels = (path * scale).astype(int)
    drawn: Region = np.zeros(shape, dtype=bool)
    for (top, left), (bottom, right) in pairwise(pixels):
        drawn[line(top, left, bottom, right)] = True
    return drawn
