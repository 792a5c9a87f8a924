"""Cache of features and support states, so that a test encodes each image once and adapts to each support once.

Features of an image do not depend on the episode (`fsseg.encoders.Encoder`). Five runs of 1,000 episodes with five
shots use 30,000 images, but only a few hundred different ones on a fold of PASCAL-5i.
"""

from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from fsseg.episode import Batch
from fsseg.feature_cache.map_files import MapFiles, encoded, probe
from fsseg.feature_cache.store import Context, FeatureStore, NoRoomError, Tracked, images_together, memory_budget
from fsseg.methods.base import Method, State

_STATE_BYTES = 2**30  # of cached support states: vectors of a few kB each in most methods, maps of 30 MB in PFENet


def cacheable(method: Method) -> bool:
    """Whether a method predicts from features only. A method that overrides `forward` may need images."""
    return not method.overrides("forward", "logits", "features", "encoder_maps", "from_encoder", "encode_support")


def plan(
    method: Method, data: Any, devices: int, context: Context, say: Callable[[str], None]
) -> "TestFeatures | None":
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
    numbers, draws = data.shown_images("test")
    if len(numbers) == draws:
        return None
    mode = method.training
    with torch.no_grad(), context():
        image = probe(size).to(method.encoder.mean.device)
        like = [one[0] for one in method.eval().encode(image)]
        files = None
        if data.loading.cache_folder and method.encoder.fixed and not method.overrides("encode"):
            maps = tuple(one[0] for one in method.encoder(image))
            files = MapFiles(Path(data.loading.cache_folder), method.encoder, maps, size)
    method.train(mode)
    try:
        features = FeatureStore(numbers, like, memory_budget(data.loading.cache_memory, devices), data.cache_folder)
    except NoRoomError as reason:
        say(f"note: no room for the features of {len(numbers):,} images, {reason}. Each episode encodes its own.")
        return None
    return TestFeatures(method, features, data.images.test_support_annotation == "mask", files)


class TestFeatures:
    """Logits of episodes from cached features.

    Args:
        method: method in eval mode.
        features: features of all images of the episodes.
        same_masks: whether a support's mask depends only on its image, the episode's classes and its way. Its state is
            cached then. Random annotations differ between episodes.
        files: files of the encoder's maps.
    """

    def __init__(self, method: Method, features: FeatureStore, same_masks: bool, files: MapFiles | None = None) -> None:
        self.files = files
        self.method, self.features, self.same_masks = method, features, same_masks
        self._states: dict[tuple[int, ...], State] = {}
        self._bytes = 0  # of all states

    def encode(self, data: Any, device: torch.device, context: Context, tracked: Tracked) -> None:
        """Encode all images.

        Args:
            data: `EpisodeData`, which loads the images.
            device: device of the method.
            context: context of the test's precision.
            tracked: shows progress.
        """
        numbers = self.features.keys
        together = images_together(device, data.protocol.size)
        batches = iter(data.image_dataloader("test", numbers, together))
        for start in tracked(range(0, len(numbers), together), "encoding"):
            with torch.no_grad(), context():
                images = next(batches)
                if self.files:
                    maps = self.method.neck(encoded(self.method.encoder, images, device, self.files))
                else:
                    maps = self.method.encode(images.to(device, non_blocking=True))
            self.features.put(numbers[start : start + together], maps)

    def logits(self, batch: Batch) -> Float[Tensor, "B Q L H W"]:
        """Logits of the queries at the resolution of their masks, without the batch's images."""
        return self.method.segment_batch(self._state(batch), self.features[batch.query_id], batch)

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
            place = (0, n, 0) if self.method.state_per == "shot" else (0, n)
            self._put(key, tuple(part[place].clone() for part in state))
        return self._states[key]

    def _put(self, key: tuple[int, ...], state: State) -> None:
        """Keep a state, and drop the oldest ones beyond the memory for states."""
        self._bytes += sum(part.nbytes for part in state)
        while self._states and self._bytes > _STATE_BYTES:
            self._bytes -= sum(part.nbytes for part in self._states.pop(next(iter(self._states))))
        self._states[key] = state
