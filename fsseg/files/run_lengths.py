"""COCO's run-length encodings."""

from typing import Any

import numpy as np
import numpy.typing as npt
from pycocotools import mask as rle

Code = dict[str, Any]  # pycocotools' run-length encoding: {"size": [height, width], "counts": bytes}
Region = npt.NDArray[np.bool_]  # H W


def encode(region: npt.NDArray[np.bool_] | npt.NDArray[np.integer[Any]]) -> Code:
    """Encode a region ``H W``, whose pixels are not 0."""
    code: Code = rle.encode(np.asfortranarray(region, dtype=np.uint8))
    return code


def decode(code: Code) -> Region:
    """Decode a run-length encoding to a region ``H W``.

    pycocotools' `decode` warns on numpy 2, and reads beyond the end of an encoding that is too short.

    Raises:
        ValueError: the encoding does not cover the image exactly.
    """
    runs = read_runs(code["counts"])
    if runs.min() < 0 or runs.max() > (1 << 32) or runs.sum() != code["size"][0] * code["size"][1]:
        raise ValueError("a run-length encoding of another size")
    return np.repeat(np.arange(len(runs)) % 2 == 1, runs).reshape(code["size"], order="F")


def read_runs(counts: bytes | npt.NDArray[np.uint8]) -> npt.NDArray[np.int64]:
    """Lengths of runs, background first, from COCO's compressed text (rleFrString of pycocotools' maskApi.c).

    A character is 48 plus 5 bits of a number, lowest bits first, plus a continuation bit. From the fourth number on,
    the text stores the difference to the number two places before.

    Raises:
        ValueError: the text is truncated.
    """
    bits = np.frombuffer(counts, dtype=np.uint8).astype(np.int64) - 48
    last = (bits & 0x20) == 0
    if not len(bits) or not last[-1]:
        raise ValueError("a run-length encoding that is truncated")
    begins = np.flatnonzero(np.concatenate([[True], last[:-1]]))
    lengths = np.diff(begins, append=len(bits))
    shifts = 5 * (np.arange(len(bits)) - np.repeat(begins, lengths))
    runs = np.add.reduceat((bits & 0x1F) << shifts, begins)
    runs -= ((bits[last] & 0x10) > 0) * (1 << 5 * lengths)  # the highest bit is the sign
    runs[1::2] = np.cumsum(runs[1::2])
    runs[2::2] = np.cumsum(runs[2::2])
    return runs
