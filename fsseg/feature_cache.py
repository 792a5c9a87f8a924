"""Cache of features and support states, so that a test encodes each image once and adapts to each support once.

Features of an image do not depend on the episode (`fsseg.encoders.Encoder`). Five runs of 1,000 episodes with five
shots use 30,000 images, but only a few hundred different ones on a fold of PASCAL-5i.
"""

import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from itertools import product
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from fsseg.episode import Batch
from fsseg.methods.base import Maps, Method, State

_MEMINFO, _CGROUP = Path("/proc/meminfo"), Path("/sys/fs/cgroup")
_SPARE = 2**30  # bytes of a disk that stay free for other programs
_STATES = 20_000  # largest number of cached support states, of a few kB each
_PIXELS, _PIXELS_CPU = 2**22, 2**16  # pixels of a batch of images; on a CPU larger batches are not faster

Context = Callable[[], AbstractContextManager[Any]]
Tracked = Callable[[range, str], Iterable[int]]  # shows progress over starts of batches, with a label


def cacheable(method: Method) -> bool:
    """Whether a method predicts from features only. A method that overrides `forward` may need images."""
    kind = type(method)
    return kind.forward is Method.forward and kind.features is Method.features and not method.masks_enter_encoder


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
    """Feature maps by image number, in memory or, above a budget, in a temporary file.

    Args:
        numbers: image numbers.
        like: feature maps ``C h w`` of one image, for shapes and types.
        budget: bytes of memory.
        folder: folder of the file; created if missing.

    Attributes:
        numbers: image numbers.
        size: bytes of all maps.
        place: where the maps are, as text.

    Raises:
        NoRoomError: the maps fit neither into memory nor on the disk.
    """

    def __init__(
        self, numbers: Sequence[int], like: Sequence[Float[Tensor, "_ _ _"]], budget: int, folder: Path
    ) -> None:
        self.numbers = numbers
        self._row = {number: row for row, number in enumerate(numbers)}
        sizes = [len(numbers) * one.numel() * one.element_size() for one in like]
        self.size = sum(sizes)
        if self.size <= budget:
            self.place = "memory"
            self._maps = [torch.empty((len(numbers), *one.shape), dtype=one.dtype) for one in like]
        else:
            self.place = f"a file in {folder}, beyond the {in_units(budget)} of --data.loading.cache_memory"
            self._maps = [
                _in_file(size, one.dtype, budget, folder).view(len(numbers), *one.shape)
                for size, one in zip(sizes, like, strict=True)
            ]

    def __len__(self) -> int:
        return len(self.numbers)

    def move(self, device: torch.device) -> str:
        """Move the maps to a GPU if they need at most half of its free memory.

        Returns:
            A line on what is cached and where.
        """
        if device.type == "cuda" and self.size <= torch.cuda.mem_get_info(device)[0] // 2:
            self.place = "the GPU's memory"
            self._maps = [torch.empty_like(one, device=device) for one in self._maps]
        return f"{len(self):,} images, each encoded once; features: {in_units(self.size)} in {self.place}"

    def put(self, numbers: Sequence[int], features: Maps) -> None:
        """Store feature maps of images."""
        rows = torch.tensor([self._row[number] for number in numbers], device=self._maps[0].device)
        for stored, given in zip(self._maps, features, strict=True):
            stored[rows] = given.to(stored)

    def __getitem__(self, numbers: Int[Tensor, "*b"]) -> tuple[Float[Tensor, "*b _ _ _"], ...]:
        """Feature maps of images, on the device of the numbers."""
        rows = torch.tensor([self._row[number] for number in numbers.flatten().tolist()])
        found = [one[rows.to(one.device)] for one in self._maps]
        return tuple(one.view(*numbers.shape, *one.shape[1:]).to(numbers.device, non_blocking=True) for one in found)


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


def plan(
    method: Method, data: Any, devices: int, context: Context, say: Callable[[str], None]
) -> "FeatureCache | None":
    """A cache for the features of a test's images; None if it saves nothing or is not possible.

    Args:
        method: method on any device.
        data: `EpisodeData` after setup for the test.
        devices: number of processes on this machine, which share its memory.
        context: context of the test's precision.
        say: shows a line to the user.
    """
    size = data.protocol.size
    if not (data.caches_features and isinstance(size, int) and cacheable(method)):
        return None
    numbers, draws = data.shown_images()
    if len(numbers) == draws:
        return None
    memory = available_memory() / 2 if data.loading.cache_memory is None else 1e9 * data.loading.cache_memory
    mode = method.training
    with torch.no_grad(), context():
        image = torch.zeros(1, 3, size, size, dtype=torch.uint8, device=method.encoder.mean.device)
        like = [one[0] for one in method.eval().encode(image)]
    method.train(mode)
    try:
        features = FeatureStore(numbers, like, int(memory / devices), data.cache_folder)
    except NoRoomError as reason:
        say(f"note: no room for the features of {len(numbers):,} images, {reason}. Each episode encodes its own.")
        return None
    return FeatureCache(method, features, data.images.test_support_annotation == "mask")


class FeatureCache:
    """Logits of episodes from cached features.

    Args:
        method: method in eval mode.
        features: features of all images of the episodes.
        same_masks: whether a support's mask depends only on its image, the episode's classes and its way. Its state is
            cached then. Random annotations differ between episodes.
    """

    def __init__(self, method: Method, features: FeatureStore, same_masks: bool) -> None:
        self.method, self.features, self.same_masks = method, features, same_masks
        self._states: dict[tuple[int, ...], State] = {}

    def encode(self, data: Any, device: torch.device, context: Context, tracked: Tracked) -> None:
        """Encode all images.

        Args:
            data: `EpisodeData`, which loads the images.
            device: device of the method.
            context: context of the test's precision.
            tracked: shows progress.
        """
        numbers = self.features.numbers
        together = max(1, (_PIXELS if device.type == "cuda" else _PIXELS_CPU) // data.protocol.size**2)
        batches = iter(data.image_dataloader(numbers, together))
        for start in tracked(range(0, len(numbers), together), "encoding"):
            with torch.no_grad(), context():
                encoded = self.method.encode(next(batches).to(device, non_blocking=True))
            self.features.put(numbers[start : start + together], encoded)

    def logits(self, batch: Batch) -> Float[Tensor, "B Q L H W"]:
        """Logits of the queries at the resolution of their masks, without the batch's images."""
        return self.method.segment(self._state(batch), self.features[batch.query_id], batch.query_size)

    def _state(self, batch: Batch) -> State:
        """The state of `Method.adapt`, from cached parts if the state of a support depends on no other support."""
        per, (episodes, way, shot) = self.method.state_per, batch.support_id.shape
        if not self.same_masks or per == "episode" or (per == "class" and shot > 1):
            return self.method.state(self.features[batch.support_id], batch.support_mask)
        each = [self._support_state(batch, *place) for place in product(range(episodes), range(way), range(shot))]
        lead = (episodes, way, shot) if per == "shot" else (episodes, way)
        return tuple(torch.stack(parts).unflatten(0, lead) for parts in zip(*each, strict=True))

    def _support_state(self, batch: Batch, b: int, n: int, k: int) -> State:
        """The part of the state of support ``k`` of way ``n`` in episode ``b``."""
        key = (n, int(batch.support_id[b, n, k]), *batch.classes[b].tolist())
        if key not in self._states:
            ways = (1, batch.support_id.shape[1], 1)  # repeated, because a method finds the way by its position
            features = tuple(one.expand(*ways, -1, -1, -1) for one in self.features[batch.support_id[b, n, k]])
            state = self.method.state(features, batch.support_mask[b, n, k].expand(*ways, -1, -1))
            if len(self._states) == _STATES:
                del self._states[next(iter(self._states))]
            place = (0, n, 0) if self.method.state_per == "shot" else (0, n)
            self._states[key] = tuple(part[place].clone() for part in state)
        return self._states[key]
