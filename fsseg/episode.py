"""Episodes, batches and episode labels: the types that every other file uses.

Shape legend, used in every signature of the project:

| letter | meaning |
| --- | --- |
| ``B`` | episodes of a batch |
| ``N`` | ways: classes of an episode |
| ``K`` | shots: support images per class |
| ``Q`` | queries of an episode |
| ``M`` | images, whatever their role |
| ``C`` | channels of a feature |
| ``P`` | prototypes per class |
| ``H W`` | pixels |
| ``h w`` | feature cells |

The mask of a data set holds *class ids*; the mask of an episode holds *episode labels*: 0 background, ``n + 1`` for the
class ``episode.classes[n]``, 255 ignore. Class ids have 8 or 16 bits; the largest value of the type (255 or 65535)
means ignore. Episode labels always have 8 bits.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:  # commands that only read tables start without torch
    from jaxtyping import Int, UInt8
    from torch import Tensor

BACKGROUND = 0
IGNORE = 255
MOST_CLASSES = 65_534  # of a data set: 65535 marks ignored pixels
NO_WAY = -1  # way of a query that shows none of the episode's classes

Image = npt.NDArray[np.uint8]  # H W 3, RGB
Mask = npt.NDArray[np.uint8]  # H W, episode labels: 0 background, 255 ignore
ClassMap = npt.NDArray[np.uint8] | npt.NDArray[np.uint16]  # H W, class ids: 0 background, 255 or 65535 ignore


class Episode(NamedTuple):
    """One few-shot task as integers only: an episode can be printed, hashed, saved and compared.

    Attributes:
        classes: class id of each way.
        support: image numbers of the supports, one tuple of ``K`` per way.
        query: image numbers of the ``Q`` queries.
        query_way: the way that each query was drawn for; the query shows at least this class. -1: the query shows none
            of the episode's classes.
    """

    classes: tuple[int, ...]
    support: tuple[tuple[int, ...], ...]
    query: tuple[int, ...]
    query_way: tuple[int, ...]

    @property
    def images(self) -> tuple[int, ...]:
        """All image numbers, supports way by way, then queries."""
        return tuple(i for shots in self.support for i in shots) + self.query


class Batch(NamedTuple):
    """Episodes as tensors. Images are uint8; the encoder normalises them on its device.

    Attributes:
        support_image: RGB, 0..255.
        support_mask: episode labels; pixels of another way keep the label of this other way, unlabelled pixels (e.g.
            between scribbles) are 255.
        query_image: RGB, 0..255.
        query_mask: episode labels, padded with 255 right and bottom where queries differ in size.
        query_size: height and width of each query's mask.
        query_way: the way that each query was drawn for; -1: the query shows none of the episode's classes.
        classes: class id of each way.
        support_id: image number of each support.
        query_id: image number of each query.
        support_variant: augmented variant of each support; 0 if images have infinitely many variants, or one.
        query_variant: augmented variant of each query.
        run: the test run that the episode belongs to (0 in training).
        number: the episode's number within the run; -1: padding, not counted.
    """

    support_image: UInt8[Tensor, "B N K 3 H W"]
    support_mask: UInt8[Tensor, "B N K H W"]
    query_image: UInt8[Tensor, "B Q 3 H W"]
    query_mask: UInt8[Tensor, "B Q H W"]
    query_size: Int[Tensor, "B Q 2"]
    query_way: Int[Tensor, "B Q"]
    classes: Int[Tensor, "B N"]
    support_id: Int[Tensor, "B N K"]
    query_id: Int[Tensor, "B Q"]
    support_variant: Int[Tensor, "B N K"]
    query_variant: Int[Tensor, "B Q"]
    run: Int[Tensor, " B"]
    number: Int[Tensor, " B"]

    @property
    def encoded_size(self) -> tuple[int, int]:
        """Height and width of the queries' images, also of a batch without pixels (images of no channel)."""
        return self.query_image.shape[-2], self.query_image.shape[-1]


def void_of(mask: npt.NDArray[Any]) -> int:
    """Value of ignored pixels in a mask of class ids: 255 for 8 bits, 65535 for 16 bits.

    Raises:
        TypeError: the mask has neither 8 nor 16 bits.
    """
    if mask.dtype not in (np.uint8, np.uint16):
        raise TypeError(
            f"a mask of class ids is {mask.dtype}: uint8 (255 is ignored) or uint16 (65535 is ignored) is needed."
        )
    return int(np.iinfo(mask.dtype).max)


def label_table(changes: Mapping[int, int], void: int = IGNORE) -> npt.NDArray[np.uint8]:
    """Table of new labels, to index with a mask; labels missing in ``changes`` become background, ``void`` becomes 255.

    Args:
        changes: new label of each old label. Old labels from ``void`` on are ignored: the mask cannot hold them.
        void: largest value of the mask's type.
    """
    table = np.zeros(void + 1, dtype=np.uint8)
    table[void] = IGNORE
    for before, after in changes.items():
        if before < void:
            table[before] = after
    return table


def relabel(mask: npt.NDArray[np.uint8] | npt.NDArray[np.uint16], classes: Sequence[int]) -> npt.NDArray[np.uint8]:
    """Convert class ids to episode labels.

    Classes outside the episode become background, as in PANet's code (customized.py: novel objects on a training image
    are background). Ignored pixels become 255.

    Args:
        mask: ``H W`` class ids, 0 background; `void_of` gives the value of ignored pixels.
        classes: class id of each way.

    Returns:
        ``H W`` episode labels.

    Raises:
        TypeError: the mask has neither 8 nor 16 bits.
    """
    void = void_of(mask)
    table = label_table({class_id: label for label, class_id in enumerate(classes, 1)}, void)
    if mask.dtype == np.uint16:
        return table[mask]
    # bytes.translate is a loop in C; indexing with numpy takes three times as long.
    return np.frombuffer(bytearray(mask.tobytes().translate(table.tobytes())), dtype=np.uint8).reshape(mask.shape)
