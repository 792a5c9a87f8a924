"""Cached maps of an encoder that training does not change, for training and validation.

A training uses each image hundreds of times. If the encoder is fixed and images have finitely many variants (mirror
images, or crops that are drawn once), the encoder's maps of each variant are computed once. A step then costs the
method's own layers and the loading of masks.
"""

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor

from fsseg.episode import Batch
from fsseg.errors import FssegError
from fsseg.feature_cache.map_files import MapFiles, encoded, probe
from fsseg.feature_cache.store import (
    Context,
    FeatureStore,
    NoRoomError,
    Tracked,
    images_together,
    memory_budget,
    size_of,
)
from fsseg.methods.base import Features, Maps, Method
from fsseg.processes import rank_and_count

Stage = Literal["train", "val"]


class Plan(NamedTuple):
    """Images of a stage whose features are to be cached.

    Attributes:
        keys: names of the variants of the images: ``number * variants + variant``, ascending.
        draws: images that all steps of the stage use; a cache saves nothing if there are not more draws than keys.
        side: height and width of the images.
        variants: variants per image.
    """

    keys: Sequence[int]
    draws: float
    side: int
    variants: int = 1


def cacheable(method: Method) -> bool:
    """Whether a training can use cached maps of a method's encoder.

    The encoder must be fixed. A method that overrides how images become features, or features a loss, may need images.
    """
    needs_images = method.overrides("forward", "logits", "features", "encoder_maps", "encode", "encode_support", "loss")
    return method.encoder.fixed and not needs_images


def losses_of(method: Method, batch: Batch, maps: Features | None) -> dict[str, Tensor]:
    """The losses of `Method.loss`, from maps of the encoder if there are some."""
    return method.loss(batch) if maps is None else method.losses(method.from_encoder(*maps), batch)


def logits_of(method: Method, batch: Batch, maps: Features | None) -> Tensor:
    """The logits of `Method.forward`, likewise."""
    logits: Tensor = method(batch) if maps is None else method.logits(method.from_encoder(*maps), batch)
    return logits


class TrainingFeatures:
    """Maps of a fixed encoder for the images of training and validation.

    Args:
        method: method whose encoder is fixed.
        folder: folder of the file that holds what exceeds the memory.
        budget: bytes of memory.
        say: shows a line to the user.
        map_folder: folder of `MapFiles`; None: maps are neither read from files nor written.
    """

    def __init__(
        self, method: Method, folder: Any, budget: int, say: Callable[[str], None], map_folder: str | None = None
    ) -> None:
        self.method, self.say = method, say
        self._folder, self._budget = folder, budget
        self._map_folder = map_folder
        self._files: dict[Stage, MapFiles] = {}
        self._stores: dict[Stage, tuple[FeatureStore, Plan]] = {}
        self._types: list[torch.dtype] = []  # types of the encoder's maps
        self._filled = False

    def add(self, stage: Stage, plan: Plan, context: Context) -> bool:
        """Reserve room for the images of a stage.

        Features have the precision of the steps. Features that exceed the memory have 16 bits.

        Returns:
            Whether the stage uses cached features.
        """
        if not plan.keys or plan.draws <= len(plan.keys):
            return False
        like = self._like(plan.side, context)
        self._types = [one.dtype for one in like]
        if self._map_folder:
            self._files[stage] = MapFiles(Path(self._map_folder), self.method.encoder, tuple(like), plan.side)
        if size_of(like, len(plan.keys)) > self._budget:
            like = [one.half() if one.dtype == torch.float32 else one for one in like]
        try:
            store = FeatureStore(plan.keys, like, self._budget, self._folder)
        except NoRoomError as reason:
            self.say(f"note: no room for the features of {_named(plan)}, {reason}. Each step encodes its own.")
            return False
        self._budget = max(0, self._budget - store.size)
        self._stores[stage] = store, plan
        return True

    def _like(self, side: int, context: Context) -> list[Tensor]:
        """Maps of `probe`."""
        encoder = self.method.encoder
        mode = encoder.training
        with torch.no_grad(), context():
            like = [one[0] for one in encoder.eval()(probe(side).to(encoder.mean.device))]
        encoder.train(mode)
        return like

    def fill(self, data: Any, device: torch.device, context: Context, tracked: Tracked) -> None:
        """Encode all images, once; several processes share the work.

        Args:
            data: `EpisodeData`, which loads the images.
            device: device of the method.
            context: context of the steps' precision.
            tracked: shows progress.

        Raises:
            FssegError: the features of an image are not finite.
        """
        if self._filled:
            return
        self._filled = True
        rank, processes = rank_and_count()
        for stage, (store, plan) in self._stores.items():
            what = "training" if stage == "train" else "validation"
            self.say(f"{what}: {_named(plan)}, each encoded once; {store.move(device)}")
            together = images_together(device, plan.side)
            shares = _shares(plan.keys, processes)
            files = self._files.get(stage)
            batches = iter(data.image_dataloader(stage, shares[rank], together))
            for start in tracked(range(0, len(shares[0]), together), f"encoding {what} images"):
                with torch.no_grad(), context():
                    maps = encoded(self.method.encoder, next(batches), device, files)
                for share, each in zip(shares, _gathered(maps, processes), strict=True):
                    self._put(store, share[start : start + together], each, data, plan)

            if files:
                self.say(files.report(len(shares[rank])))

    def _put(self, store: FeatureStore, keys: Sequence[int], maps: Maps, data: Any, plan: Plan) -> None:
        finite = [one.to(kind).isfinite().flatten(1).all(1) for one, kind in zip(maps, store.types, strict=True)]
        bad = torch.stack(finite).all(0).logical_not().nonzero().flatten().tolist()
        if bad:
            name = data.dataset.image_name(keys[bad[0]] // plan.variants)
            raise FssegError(
                f"features of image {name} are not finite in {str(store.types[0]).removeprefix('torch.')}: give "
                "`trainer.precision` 32, or `data.loading.cache_features` false to see where."
            )
        store.put(keys, maps)

    @property
    def stages(self) -> list[Stage]:
        """Stages that use cached features."""
        return list(self._stores)

    def of(self, stage: Stage, batch: Batch) -> Features | None:
        """The encoder's maps of a batch's images; None if the stage has no cached features."""
        if stage not in self._stores:
            return None
        store, plan = self._stores[stage]
        support, query = (
            tuple(one.to(kind) for one, kind in zip(store[keys], self._types, strict=True))
            for keys in (
                batch.support_id * plan.variants + batch.support_variant,
                batch.query_id * plan.variants + batch.query_variant,
            )
        )
        return Features(support, query)


def plan(
    method: Method, data: Any, draws: float, processes: int, contexts: dict[Stage, Context], say: Callable[[str], None]
) -> TrainingFeatures | None:
    """Features that a training can cache; None if it can cache none.

    Args:
        method: method on any device.
        data: `EpisodeData` after setup for the training.
        draws: images that the training uses.
        processes: processes on this machine, which share its memory.
        contexts: contexts of the precision of the steps of training and validation.
        say: shows a line to the user.
    """
    if not (data.caches_features and cacheable(method)):
        return None
    loading = data.loading
    budget = memory_budget(loading.cache_memory, processes)
    features = TrainingFeatures(method, data.cache_folder, budget, say, loading.cache_folder)
    used = []
    if data.images.size is not None and data.variants is None:
        say(
            "note: the encoder is fixed, but `data.images.augment` makes infinitely many variants of an image, so that "
            "each step encodes its own. `data.images.variants` 8 would draw 8 of each image and encode them once."
        )
    elif data.images.size is not None:
        keys = data.training_keys()
        used.append(features.add("train", Plan(keys, draws, data.images.size, data.variants), contexts["train"]))
    if isinstance(data.protocol.size, int) and data.episodes.val:
        keys, _ = data.shown_images("val")  # every validation shows the same images
        used.append(features.add("val", Plan(keys, math.inf, data.protocol.size), contexts["val"]))
    return features if any(used) else None


def _named(plan: Plan) -> str:
    images = f"{len(plan.keys) // plan.variants:,} images"
    return f"{images} in {plan.variants} variants" if plan.variants > 1 else images


def _shares(keys: Sequence[int], processes: int) -> list[Sequence[int]]:
    """The keys that each process encodes, as many for each; the last ones repeat where they do not divide."""
    each = -(-len(keys) // processes)
    return [[keys[min(i * processes + rank, len(keys) - 1)] for i in range(each)] for rank in range(processes)]


def _gathered(maps: Maps, processes: int) -> list[Maps]:
    """The maps of each process."""
    if processes == 1:
        return [maps]
    parts = []
    for one in maps:
        each = [torch.empty_like(one) for _ in range(processes)]
        dist.all_gather(each, one.contiguous())
        parts.append(each)
    return [tuple(each) for each in zip(*parts, strict=True)]
