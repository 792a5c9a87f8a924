"""Storage of feature maps: in memory, on a GPU, or in a temporary file."""

import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from fsseg.methods.base import Maps

_MEMINFO, _CGROUP = Path("/proc/meminfo"), Path("/sys/fs/cgroup")
_SPARE = 2**30  # bytes of a disk that stay free for other programs
_PIXELS, _PIXELS_CPU = 2**22, 2**16  # pixels of a batch of images; on a CPU larger batches are not faster

Context = Callable[[], AbstractContextManager[Any]]
Tracked = Callable[[range, str], Iterable[int]]  # shows progress over starts of batches, with a label


def available_memory() -> int:
    """Bytes of available memory, at most the rest of the control group's limit."""
    free = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2
    if _MEMINFO.is_file():
        entries = dict(line.split(":") for line in _MEMINFO.read_text(encoding="utf-8").splitlines())
        free = 1024 * int(entries["MemAvailable"].split()[0])
    try:  # cgroup version 2; limits of version 1 are not read
        limit, used = ((_CGROUP / f"memory.{name}").read_text(encoding="utf-8").strip() for name in ("max", "current"))
        return min(free, int(limit) - int(used)) if limit != "max" else free
    except (OSError, ValueError):
        return free


def in_units(size: int) -> str:
    """A number of bytes as text in MB or GB."""
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.0f} MB"


class NoRoomError(Exception):
    """Neither memory nor disk can hold the features; the message has their size and the available space."""


class FeatureStore:
    """Feature maps by image, in memory or, above a budget, in a temporary file.

    Args:
        keys: ascending numbers that name the images.
        like: feature maps ``C h w`` of one image, for shapes and types.
        budget: bytes of memory.
        folder: folder of the file; created if missing.

    Attributes:
        keys: as given.
        size: bytes of all maps.
        place: where the maps are, as text.

    Raises:
        NoRoomError: the maps fit neither into memory nor on the disk.
    """

    def __init__(self, keys: Sequence[int], like: Sequence[Float[Tensor, "_ _ _"]], budget: int, folder: Path) -> None:
        self.keys = keys
        self._keys = torch.tensor(keys)
        self.size = size_of(like, len(keys))
        if self.size <= budget:
            self.place = "memory"
            self._maps = [torch.empty((len(keys), *one.shape), dtype=one.dtype) for one in like]
        else:
            self.place = f"a file in {folder}, beyond the {in_units(budget)} of `data.loading.cache_memory`"
            self._maps = [
                _in_file(size_of([one], len(keys)), one.dtype, budget, folder).view(len(keys), *one.shape)
                for one in like
            ]

    def __len__(self) -> int:
        return len(self.keys)

    @property
    def types(self) -> list[torch.dtype]:
        """Type of each map."""
        return [one.dtype for one in self._maps]

    def move(self, device: torch.device) -> str:
        """Move the maps to a GPU if they need at most half of its free memory.

        Returns:
            Size and place of the features, as text.
        """
        if device.type == "cuda" and self.size <= torch.cuda.mem_get_info(device)[0] // 2:
            self.place = "the GPU's memory"
            self._maps = [torch.empty_like(one, device=device) for one in self._maps]
            self._keys = self._keys.to(device)
        return f"features: {in_units(self.size)} in {self.place}"

    def put(self, keys: Sequence[int], features: Maps) -> None:
        """Store feature maps of images."""
        rows = self._rows(torch.tensor(keys, device=self._keys.device))
        for stored, given in zip(self._maps, features, strict=True):
            stored[rows] = given.to(stored)

    def __getitem__(self, keys: Int[Tensor, "*b"]) -> tuple[Float[Tensor, "*b _ _ _"], ...]:
        """Feature maps of images, on the device of the keys."""
        rows = self._rows(keys.flatten().to(self._keys.device))
        found = [one[rows] for one in self._maps]
        return tuple(one.view(*keys.shape, *one.shape[1:]).to(keys.device, non_blocking=True) for one in found)

    def _rows(self, keys: Int[Tensor, " M"]) -> Int[Tensor, " M"]:
        rows = torch.searchsorted(self._keys, keys)
        if keys.device.type == "cpu" and not torch.equal(self._keys[rows.clamp(max=len(self) - 1)], keys):
            raise KeyError(keys.tolist())  # a GPU would have to wait for the comparison
        return rows


def size_of(like: Sequence[Tensor], images: int) -> int:
    """Bytes of the maps of some images, each like the given ones."""
    return sum(images * one.numel() * one.element_size() for one in like)


def memory_budget(given: float | None, processes: int) -> int:
    """Bytes of memory that each process may use for features.

    Args:
        given: gigabytes of all processes; half of the available memory by default.
        processes: processes on this machine.
    """
    return int((available_memory() / 2 if given is None else 1e9 * given) / processes)


def images_together(device: torch.device, side: int) -> int:
    """Images of ``side x side`` pixels that are encoded in one batch."""
    return max(1, (_PIXELS if device.type == "cuda" else _PIXELS_CPU) // side**2)


def _in_file(size: int, dtype: torch.dtype, budget: int, folder: Path) -> Tensor:
    """A tensor of ``size`` bytes in an unlinked file."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(folder).free
        if size > free - _SPARE:
            raise NoRoomError(f"{in_units(size)}: memory {in_units(budget)}, disk of {folder} {in_units(free)} free")
        with tempfile.NamedTemporaryFile(dir=folder, prefix="features-") as file:  # torch's mapping outlives the name
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(file.fileno(), 0, size)  # a disk that becomes full later would kill the process
            return torch.from_file(file.name, shared=True, size=size // dtype.itemsize, dtype=dtype)
    except OSError as error:
        raise NoRoomError(f"{in_units(size)}: memory {in_units(budget)}, disk of {folder}: {error.strerror}") from error
