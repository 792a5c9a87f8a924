"""The contract of methods that separate one class from the background."""

from abc import abstractmethod
from typing import ClassVar, NamedTuple

import torch
from jaxtyping import Float, Int, Integer
from torch import Tensor, nn

from fsseg.encoders.base import Encoder
from fsseg.episode import BACKGROUND, IGNORE, Batch
from fsseg.losses import LossMean, cross_entropy
from fsseg.methods.base import (
    Explanation,
    Features,
    Maps,
    Method,
    QueryMaps,
    State,
    StatePer,
    SupportMaps,
    way_labels,
)
from fsseg.ops.em import PrototypeMixture, Prototypes
from fsseg.ops.feature_maps import concatenated
from fsseg.ops.ways import merge_ways

# Support maps of single ways, K shots per way.
WayMaps = tuple[Float[Tensor, "M K _ _ _"], ...]


class BinaryMethod(Method):
    """A method for one way. It solves N ways as N binary problems, and `merge_ways` merges their logits.

    Shapes: ``M = B N`` for supports, ``M = B N Q`` for queries. In the binary problem of a way, pixels of the other
    ways are background.

    Attributes:
        reduce: layers between encoder and comparison; identity by default.

    Args:
        encoder: image encoder.
        loss_mean: see `fsseg.losses.cross_entropy`.
    """

    separate_passes: ClassVar[bool] = True
    state_per: ClassVar[StatePer] = "class"

    def __init__(self, encoder: Encoder, loss_mean: LossMean = "episodes") -> None:
        super().__init__(encoder)
        self.loss_mean = loss_mean
        self.reduce: nn.Module = nn.Identity()

    def neck(self, maps: Maps) -> Maps:
        """One feature map after `reduce`."""
        return (self.reduce(concatenated(maps)),)

    @abstractmethod
    def adapt_way(
        self, support: WayMaps, foreground: Float[Tensor, "M K H W"], background: Float[Tensor, "M K H W"]
    ) -> State:
        """The state of each way, e.g. prototypes: tensors ``M ...``; ``M K ...`` where `state_per` is ``shot``.

        Args:
            support: feature maps.
            foreground: 1 on pixels of the way, else 0.
            background: 1 on pixels of the background, else 0. Ignored pixels are 0 in both.
        """

    @abstractmethod
    def stages(self, state: State, query: Maps) -> list[Float[Tensor, "M 2 _ _"]]:
        """Logits of background and foreground, one tensor per stage. Training supervises every stage."""

    def prediction(self, state: State, query: Maps) -> Float[Tensor, "M 2 u v"]:
        """Logits of the prediction; by default `decide` of all stages."""
        return self.decide(self.stages(state, query), state)

    def decide(self, stages: list[Tensor], state: State) -> Float[Tensor, "M 2 u v"]:
        """Logits of the prediction, from the logits of all stages; by default the last stage's."""
        return stages[-1]

    def adapt(self, support: SupportMaps, mask: Integer[Tensor, "B N K H W"]) -> State:
        """The states of `adapt_way`, as tensors ``B N ...``."""
        state = self.adapt_way(tuple(one.flatten(0, 1) for one in support), *sides(mask))
        return tuple(part.unflatten(0, mask.shape[:2]) for part in state)

    def predict(self, state: State, query: QueryMaps) -> Float[Tensor, "B Q L _ _"]:
        """Logits of the queries, merged from the binary logits of all ways."""
        logits = self.prediction(per_query(state, query), per_way(query, state[0].shape[1]))
        return merge_ways(logits.unflatten(0, (len(query[0]), state[0].shape[1], -1)).transpose(1, 2))

    def losses(self, features: Features, batch: Batch) -> dict[str, Float[Tensor, ""]]:
        """Cross-entropy at pixel resolution, `total` over stages, with one binary problem per way."""
        return self.losses_of(self.state(features.support, batch.support_mask), features.query, batch)

    def losses_of(self, state: State, query: QueryMaps, batch: Batch) -> dict[str, Float[Tensor, ""]]:
        """The losses of `losses`, from the state of `adapt`."""
        stages = self.stages(per_query(state, query), per_way(query, batch.classes.shape[1]))
        target = binary_targets(batch)
        size = (target.shape[-2], target.shape[-1])
        losses = [cross_entropy(self.to_pixels(stage, size), target, self.loss_mean) for stage in stages]
        parts = {f"stage{i}": loss for i, loss in enumerate(losses, 1)} if len(losses) > 1 else {}
        return {"loss": self.total(losses), **parts}

    def total(self, losses: list[Float[Tensor, ""]]) -> Float[Tensor, ""]:
        """The loss of training, from the losses of all stages; by default their sum."""
        return torch.stack(losses).sum()


def binary_targets(batch: Batch) -> Int[Tensor, "BNQ H W"]:
    """Labels of the queries in the binary problem of each way: 1 on its pixels, 0 elsewhere, 255 ignored."""
    mask = batch.query_mask.unsqueeze(1)
    ways = way_labels(batch.classes.shape[1], mask).view(-1, 1, 1, 1)
    return (mask == ways).long().masked_fill(mask == IGNORE, IGNORE).flatten(0, 2)


def sides(mask: Integer[Tensor, "B N K H W"]) -> tuple[Float[Tensor, "M K H W"], Float[Tensor, "M K H W"]]:
    """Foreground and background masks of each way, 0 or 1; ignored pixels are 0 in both."""
    foreground = mask == way_labels(mask.shape[1], mask).view(-1, 1, 1, 1)
    background = ~foreground & (mask != IGNORE)
    return foreground.flatten(0, 1).float(), background.flatten(0, 1).float()


class SupportRegions(NamedTuple):
    """Masks of each support, 0 or 1: pixels of its way, and pixels of the background."""

    foreground: Float[Tensor, "B N K H W"]
    background: Float[Tensor, "B N K H W"]


def support_regions(mask: Integer[Tensor, "B N K H W"]) -> SupportRegions:
    """Foreground and background masks; other classes of the episode and ignored pixels are 0 in both."""
    foreground = mask == way_labels(mask.shape[1], mask).view(-1, 1, 1, 1)
    return SupportRegions(foreground.float(), (mask == BACKGROUND).float())


def explain_mixture(
    mixture: PrototypeMixture,
    prototypes: Prototypes,
    support: Float[Tensor, "B N K C hs ws"],
    mask: Integer[Tensor, "B N K H W"],
    query: Float[Tensor, "B Q C h w"],
) -> Explanation:
    """`Method.explain` for prototypes ``M P C`` that are means of a mixture."""
    (episodes, way), queries = support.shape[:2], query.shape[1]
    region = mixture.regions(support.flatten(0, 1), *sides(mask), prototypes)
    each = Prototypes(*(means.repeat_interleave(queries, 0) for means in prototypes))
    (maps,) = per_way((query,), way)
    return Explanation(
        mixture.component_probability(maps, each).unflatten(0, (episodes, way, queries)),
        region.unflatten(0, (episodes, way)),
        prototypes.foreground.shape[1],
    )


def per_query(state: State, query: QueryMaps) -> State:
    """The state ``B N ...``, repeated for each query: ``BNQ ...``."""
    # expand, because torch.onnx exports repeat_interleave wrongly if the number of queries is dynamic.
    shape = (-1, query[0].shape[1])
    flat = [part.flatten(0, 1) for part in state]
    return tuple(part.unsqueeze(1).expand(*shape, *part.shape[1:]).flatten(0, 1) for part in flat)


def per_way(query: QueryMaps, way: int) -> Maps:
    """Feature maps of the queries, repeated for each way: ``BNQ C h w``."""
    return tuple(one.unsqueeze(1).expand(-1, way, -1, -1, -1, -1).flatten(0, 2) for one in query)
