"""A test that encodes each image once, and adapts to each support once.

The features of an image do not depend on the episode (`fsseg.encoders.Encoder`). Five runs of 1,000 episodes with five
shots show 30,000 images, but on a fold of PASCAL-5i only a few hundred different ones.
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
_SPARE = 2**30  # bytes of a disk that are left to others
_STATES = 20_000  # most cached states of supports, of some kB each
_PIXELS, _PIXELS_CPU = 2**22, 2**16  # of one batch; on a CPU a larger one is no faster

Context = Callable[[], AbstractContextManager[Any]]
Tracked = Callable[[range, str], Iterable[int]]  # shows progress over first numbers of batches, under a name


def cacheable(method: Method) -> bool:
    """Whether a method predicts from features of images alone; one that overrides `forward` may look at images."""
    kind = type(method)
    return kind.forward is Method.forward and kind.features is Method.features and not method.masks_enter_encoder


def available_memory() -> int:
    """Bytes of memory that are free or would be given back, within what the process's group may take."""
    free = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2
    if _MEMINFO.is_file():
        told = dict(line.split(":") for line in _MEMINFO.read_text(encoding="utf-8").splitlines())
        free = 1024 * int(told["MemAvailable"].split()[0])
    try:  # version 2; in version 1 a container's limit goes unseen
        limit, used = ((_CGROUP / f"memory.{name}").read_text(encoding="utf-8").strip() for name in ("max", "current"))
        return min(free, int(limit) - int(used)) if limit != "max" else free
    except (OSError, ValueError):
        return free


def in_units(size: int) -> str:
    """Bytes as MB or GB."""
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.0f} MB"


class NoRoomError(Exception):
    """Neither memory nor disk can hold the features; the text says what they need and what there is."""


class FeatureStore:
    """Feature maps by image number: in memory or, beyond a budget, in a file that the process deletes at its end.

    Args:
        numbers: image numbers.
        like: the feature maps ``C h w`` of one image, for their shapes and types.
        budget: bytes of memory.
        folder: where a file may lie; made if missing.

    Attributes:
        numbers: of the images.
        size: bytes of all maps.
        place: where they are, in words.

    Raises:
        NoRoomError: too large for both.
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
        """Move the maps to a GPU, if at most half of its free memory is enough for them.

        Returns:
            A line that says what is cached where.
        """
        if device.type == "cuda" and self.size <= torch.cuda.mem_get_info(device)[0] // 2:
            self.place = "the GPU's memory"
            self._maps = [torch.empty_like(one, device=device) for one in self._maps]
        return f"{len(self):,} images, each encoded once; features: {in_units(self.size)} in {self.place}"

    def put(self, numbers: Sequence[int], features: Maps) -> None:
        """Store the feature maps of some images."""
        rows = torch.tensor([self._row[number] for number in numbers], device=self._maps[0].device)
        for stored, given in zip(self._maps, features, strict=True):
            stored[rows] = given.to(stored)

    def __getitem__(self, numbers: Int[Tensor, "*b"]) -> tuple[Float[Tensor, "*b _ _ _"], ...]:
        """Feature maps of images, on the device of the numbers."""
        rows = torch.tensor([self._row[number] for number in numbers.flatten().tolist()])
        found = [one[rows.to(one.device)] for one in self._maps]
        return tuple(one.view(*numbers.shape, *one.shape[1:]).to(numbers.device, non_blocking=True) for one in found)


def _in_file(size: int, dtype: torch.dtype, budget: int, folder: Path) -> Tensor:
    """A tensor of so many bytes in a file without a name."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(folder).free
        if size > free - _SPARE:
            raise NoRoomError(f"{in_units(size)}: memory {in_units(budget)}, disk of {folder} {in_units(free)} free")
        with tempfile.NamedTemporaryFile(dir=folder, prefix="features-") as file:  # torch's mapping outlives its name
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(file.fileno(), 0, size)  # a disk that fills up later would kill the process
            return torch.from_file(file.name, shared=True, size=size // dtype.itemsize, dtype=dtype)
    except OSError as error:
        raise NoRoomError(f"{in_units(size)}: memory {in_units(budget)}, disk of {folder}: {error.strerror}") from error


def plan(
    method: Method, data: Any, devices: int, context: Context, say: Callable[[str], None]
) -> "FeatureCache | None":
    """A cache for the features of a test's images; None where it does not pay, or cannot be.

    Args:
        method: on any device.
        data: an `EpisodeData`, set up for the test.
        devices: processes of this machine, which share its memory.
        context: of the test's precision.
        say: shows a line.
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
        method: in eval mode.
        features: of all images of the episodes.
        same_masks: a support's mask is a function of its image, the episode's classes and its way, so that its state
            can be cached too. Random annotations are not.
    """

    def __init__(self, method: Method, features: FeatureStore, same_masks: bool) -> None:
        self.method, self.features, self.same_masks = method, features, same_masks
        self._states: dict[tuple[int, ...], State] = {}

    def encode(self, data: Any, device: torch.device, context: Context, tracked: Tracked) -> None:
        """Encode all images.

        Args:
            data: an `EpisodeData`, which loads them.
            device: the method's.
            context: of the test's precision.
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
        """Logits of the queries at the resolution of their masks; the batch's images are not looked at."""
        return self.method.segment(self._state(batch), self.features[batch.query_id], batch.query_size)

    def _state(self, batch: Batch) -> State:
        """The state of `Method.adapt`, of cached parts where supports are independent of each other."""
        per, (episodes, way, shot) = self.method.state_per, batch.support_id.shape
        if not self.same_masks or per == "episode" or (per == "class" and shot > 1):
            return self.method.state(self.features[batch.support_id], batch.support_mask)
        each = [self._support_state(batch, *place) for place in product(range(episodes), range(way), range(shot))]
        lead = (episodes, way, shot) if per == "shot" else (episodes, way)
        return tuple(torch.stack(parts).unflatten(0, lead) for parts in zip(*each, strict=True))

    def _support_state(self, batch: Batch, b: int, n: int, k: int) -> State:
        """The part of the state that depends on one support."""
        key = (n, int(batch.support_id[b, n, k]), *batch.classes[b].tolist())
        if key not in self._states:
            ways = (1, batch.support_id.shape[1], 1)  # a support's way is its place among the ways
            features = tuple(one.expand(*ways, -1, -1, -1) for one in self.features[batch.support_id[b, n, k]])
            state = self.method.state(features, batch.support_mask[b, n, k].expand(*ways, -1, -1))
            if len(self._states) == _STATES:
                del self._states[next(iter(self._states))]
            place = (0, n, 0) if self.method.state_per == "shot" else (0, n)
            self._states[key] = tuple(part[place].clone() for part in state)
        return self._states[key]
