"""Label Studio's brush masks: the alpha channel of an image in the run-length code of the package ``rle-pack``.

The code is described at https://github.com/thi-ng/umbrella/tree/develop/packages/rle-pack: a stream of bits, highest
first, with 32 bits for the number of values, 5 for the bits of a value less 1, and 4 for each of four sizes less 1.
Runs follow: one bit (1: one value that repeats; 0: values one by one), 2 bits that choose a size, that many bits for
the length less 1, and the value or values.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

_CHANNELS = 4  # red, green, blue, alpha
_HALF = 128  # alpha from which a pixel belongs to the object; a brush has a soft edge


class _Bits:
    """A stream of bits.

    Args:
        content: bytes of the stream.
    """

    def __init__(self, content: bytes) -> None:
        self._content, self._place, self._end = content, 0, 8 * len(content)

    def read(self, count: int) -> int:
        """The next bits as a number.

        Raises:
            ValueError: the stream ends before.
        """
        first, self._place = self._place, self._place + count
        if self._place > self._end:
            raise ValueError("a brush mask that is truncated")
        last = (self._place + 7) // 8
        window = int.from_bytes(self._content[first // 8 : last])
        return (window >> (8 * last - self._place)) & ((1 << count) - 1)

    def values(self, count: int, width: int) -> npt.NDArray[np.uint8]:
        """The next ``count`` numbers of ``width`` bits, at most 8."""
        first, self._place = self._place, self._place + count * width
        if self._place > self._end:
            raise ValueError("a brush mask that is truncated")
        part = np.frombuffer(self._content[first // 8 : (self._place + 7) // 8], dtype=np.uint8)
        bits = np.unpackbits(part)[first % 8 : first % 8 + count * width].reshape(count, width)
        found: npt.NDArray[np.uint8] = np.packbits(bits, axis=1)[:, 0] >> np.uint8(8 - width)
        return found


def decode(code: Any, height: int, width: int) -> npt.NDArray[np.bool_]:
    """The region ``H W`` of a brush mask.

    Args:
        code: list of bytes as numbers.
        height: of the image.
        width: of the image.

    Raises:
        ValueError: the code is broken, or of an image of another size.
    """
    try:
        bits = _Bits(bytes(code))
    except (TypeError, ValueError) as error:
        raise ValueError("a brush mask that is no list of bytes") from error
    count, word = bits.read(32), bits.read(5) + 1
    sizes = [bits.read(4) + 1 for _ in range(4)]
    if count != _CHANNELS * height * width:
        raise ValueError(f"a brush mask of {count // _CHANNELS:,} pixels on an image of {width}x{height}")
    if word > 8:
        raise ValueError(f"a brush mask of {word} bits a value")
    values, place = np.zeros(count, dtype=np.uint8), 0
    while place < count:
        repeats = bits.read(1)
        end = place + 1 + bits.read(sizes[bits.read(2)])
        if end > count:
            raise ValueError("a brush mask whose runs are longer than the image")
        values[place:end] = bits.read(word) if repeats else bits.values(end - place, word)
        place = end
    region: npt.NDArray[np.bool_] = values.reshape(height, width, _CHANNELS)[:, :, 3] >= _HALF
    return region
