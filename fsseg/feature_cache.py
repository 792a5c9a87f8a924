"""A test that encodes each image once, and learns from each support once.

What an encoder makes of an image is free of any episode (`fsseg.encoders.Encoder`). Five runs of 1,000 episodes with
five shots show 30,000 images, but on a fold of PASCAL-5i only a few hundred different ones.
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
from fsseg.methods.base import Method

_MEMINFO, _CGROUP = Path("/proc/meminfo"), Path("/sys/fs/cgroup")
_SPARE = 2**30  # bytes of a disk that are left to others
_LESSONS = 20_000  # that are kept, of some kB each
_PIXELS, _PIXELS_CPU = 2**22, 2**16  # that are encoded at once; on a CPU a larger batch is no faster

Context = Callable[[], AbstractContextManager[Any]]
Tracked = Callable[[range, str], Iterable[int]]  # first numbers of batches, and what is done with them


def reusable(method: Method) -> bool:
    """Whether a method makes its logits of features as `Method` does; one that overrides that may look at images."""
    kind = type(method)
    return kind.forward is Method.forward and kind.features is Method.features


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


class Features:
    """Feature maps by image number: in memory or, beyond a budget, in a file that is gone when the process is.

    Args:
        numbers: image numbers.
        like: a feature map ``C h w``, for its shape and type.
        budget: bytes of memory that may be taken.
        folder: of the file; made where it is missing.

    Attributes:
        numbers: of the images.
        size: bytes of all maps.
        place: where they are, in words.

    Raises:
        NoRoomError: too large for both.
    """

    def __init__(self, numbers: Sequence[int], like: Float[Tensor, "C h w"], budget: int, folder: Path) -> None:
        self.numbers = numbers
        self._row = {number: row for row, number in enumerate(numbers)}
        shape = (len(numbers), *like.shape)
        self.size = len(numbers) * like.numel() * like.element_size()
        if self.size <= budget:
            self.place, self._values = "memory", torch.empty(shape, dtype=like.dtype)
        else:
            self.place = f"a file in {folder}, beyond the {in_units(budget)} of --data.reuse_memory"
            self._values = _in_file(self.size, like.dtype, budget, folder).view(shape)

    def __len__(self) -> int:
        return len(self.numbers)

    def move(self, device: torch.device) -> str:
        """Keep the maps on a GPU, if at most half of its free memory is enough for them.

        Returns:
            A line that says what is kept where.
        """
        if device.type == "cuda" and self.size <= torch.cuda.mem_get_info(device)[0] // 2:
            self.place, self._values = "the GPU's memory", torch.empty_like(self._values, device=device)
        return f"{len(self):,} images, each encoded once; features: {in_units(self.size)} in {self.place}"

    def put(self, numbers: Sequence[int], features: Float[Tensor, "M C h w"]) -> None:
        """Keep the feature maps of some images."""
        rows = torch.tensor([self._row[number] for number in numbers], device=self._values.device)
        self._values[rows] = features.to(self._values)

    def __getitem__(self, numbers: Int[Tensor, "*b"]) -> Float[Tensor, "*b C h w"]:
        """Feature maps of images, where the numbers are."""
        rows = torch.tensor([self._row[number] for number in numbers.flatten().tolist()])
        found = self._values[rows.to(self._values.device)]
        return found.view(*numbers.shape, *found.shape[1:]).to(numbers.device, non_blocking=True)


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


def planned(method: Method, data: Any, devices: int, context: Context, say: Callable[[str], None]) -> "Reuse | None":
    """Room for the features of a test's images; None where keeping them does not pay, or cannot be.

    Args:
        method: on any device.
        data: an `EpisodeData`, set up for the test.
        devices: processes of this machine, which share its memory.
        context: of the test's precision.
        say: shows a line.
    """
    size = data.protocol.size
    if not (data.reuse and isinstance(size, int) and reusable(method)):
        return None
    numbers, draws = data.shown_images()
    if len(numbers) == draws:
        return None
    memory = available_memory() / 2 if data.reuse_memory is None else 1e9 * data.reuse_memory
    mode = method.training
    with torch.no_grad(), context():
        image = torch.zeros(1, 3, size, size, dtype=torch.uint8, device=method.encoder.mean.device)
        like = method.eval().encode(image)[0]
    method.train(mode)
    try:
        features = Features(numbers, like, int(memory / devices), data.reuse_folder)
    except NoRoomError as reason:
        say(f"note: no room for the features of {len(numbers):,} images, {reason}. Each episode encodes its own.")
        return None
    return Reuse(method, features, data.test_support_annotation == "mask")


class Reuse:
    """Logits of episodes from kept features.

    Args:
        method: in eval mode.
        features: of all images of the episodes.
        same_masks: a support's mask is a function of its image, the episode's classes and its way, so that what it
            teaches can be kept too. Random annotations are not.
    """

    def __init__(self, method: Method, features: Features, same_masks: bool) -> None:
        self.method, self.features, self.same_masks = method, features, same_masks
        self._lessons: dict[tuple[int, ...], tuple[Tensor, ...]] = {}

    def encode(self, data: Any, device: torch.device, context: Context, tracked: Tracked) -> None:
        """Encode all images.

        Args:
            data: an `EpisodeData`, which loads them.
            device: the method's.
            context: of the test's precision.
            tracked: shows how far a loop is.
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
        return self.method.decode(self._learnt(batch), self.features[batch.query_id], batch)

    def _learnt(self, batch: Batch) -> tuple[Tensor, ...]:
        """What `Method.learn_supports` gives."""
        shot, teaching = batch.support_id.shape[2], self.method.teaching
        if not self.same_masks or teaching == "features" or (teaching == "together" and shot > 1):
            return self.method.learn_supports(self.features[batch.support_id], batch.support_mask)
        places = product(*map(range, batch.support_id.shape))
        each = [self._lesson(batch, *place) for place in places]
        return tuple(torch.stack(parts).unflatten(0, batch.support_id.shape) for parts in zip(*each, strict=True))

    def _lesson(self, batch: Batch, b: int, n: int, k: int) -> tuple[Tensor, ...]:
        """What one support teaches."""
        key = (n, int(batch.support_id[b, n, k]), *batch.classes[b].tolist())
        if key not in self._lessons:
            ways = (1, batch.support_id.shape[1], 1)  # the method tells a support's way by its place among the ways
            feature = self.features[batch.support_id[b, n, k]].expand(*ways, -1, -1, -1)
            learnt = self.method.learn_supports(feature, batch.support_mask[b, n, k].expand(*ways, -1, -1))
            if len(self._lessons) == _LESSONS:
                del self._lessons[next(iter(self._lessons))]
            self._lessons[key] = tuple(part[0, n, 0].clone() for part in learnt)
        return self._lessons[key]
