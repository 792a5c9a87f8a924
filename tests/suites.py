"""Miniatures of FSS-1000 and the cross-domain sets in their official layouts."""

from pathlib import Path

import numpy as np
import PIL.Image

PARTS = {"trn": ("acorn", "bus_stop", "cello"), "val": ("drum", "eel"), "test": ("fig", "gnu", "abe's_fish")}
EACH = 10


def save(path: Path, pixels: np.ndarray, **options: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    PIL.Image.fromarray(pixels).save(path, **options)


def region(seed: int, shape: tuple[int, int] = (40, 48)) -> np.ndarray:
    """A rectangle of True, of another place and size for each seed."""
    random = np.random.default_rng(seed)
    top, left = (int(random.integers(2, side // 2)) for side in shape)
    found = np.zeros(shape, dtype=bool)
    found[top : top + int(random.integers(6, 16)), left : left + int(random.integers(6, 16))] = True
    return found


def photo(seed: int, shown: np.ndarray, colour: int) -> np.ndarray:
    noise = np.random.default_rng(seed).integers(0, 90, (*shown.shape, 3), dtype=np.uint8)
    noise[shown] = np.uint8(40 + colour * 53 % 200)
    return noise


def grey(shown: np.ndarray, seed: int) -> np.ndarray:
    """Four channels with the noise of a compression, as FSS-1000's masks have: 0 to 60, and 190 to 255."""
    noise = np.random.default_rng(seed).integers(0, 61, shown.shape)
    channel = np.where(shown, 255 - noise, noise).astype(np.uint8)
    return np.stack([channel, channel, channel, np.full_like(channel, 255)], axis=-1)


def write_fss1000(root: Path, lists: bool = True) -> None:
    """Eight classes of ten images, and the lists of three, two and three classes."""
    names = [name for part in PARTS.values() for name in part]
    for c, name in enumerate(names):
        for i in range(1, EACH + 1):
            shown = region(100 * c + i)
            save(root / name / f"{i}.jpg", photo(100 * c + i, shown, c), quality=95)
            save(root / name / f"{i}.png", grey(shown, 100 * c + i))
    for part, of in PARTS.items() if lists else ():
        path = root / "splits" / f"{part}.txt"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes("\r\n".join([*of, ""]).encode())  # as HSNet's test.txt ends its lines
