"""The contract of methods that separate one class from background."""

from abc import abstractmethod
from typing import ClassVar

import torch
from jaxtyping import Float, Integer
from torch import Tensor, nn

from fsseg.encoders.base import Encoder
from fsseg.episode import IGNORE, Batch
from fsseg.losses import LossMean, cross_entropy
from fsseg.methods.base import Explanation, Maps, Method, QueryMaps, State, StatePer, SupportMaps, way_labels
from fsseg.ops.em import PrototypeMixture, Prototypes
from fsseg.ops.feature_maps import concatenated
from fsseg.ops.ways import merge_ways

# Support maps of single ways: K shots of each.
WayMaps = tuple[Float[Tensor, "M K _ _ _"], ...]


class BinaryMethod(Method):
    """Several ways are several binary problems, which `merge_ways` merges.

    Shapes: ``M = B N`` ways of all episodes for supports, ``M = B N Q`` ways and queries for queries. Pixels of the
    episode's other classes are background of a way.

    Attributes:
        reduce: layers of the method between encoder and comparison, if it has any.

    Args:
        encoder: image encoder.
        loss_mean: what the loss is a mean over, see `fsseg.losses.cross_entropy`.
    """

    separate_passes: ClassVar[bool] = True
    state_per: ClassVar[StatePer] = "class"

    def __init__(self, encoder: Encoder, loss_mean: LossMean = "episodes") -> None:
        super().__init__(encoder)
        self.loss_mean = loss_mean
        self.reduce: nn.Module = nn.Identity()

    def encode(self, images: Integer[Tensor, "M 3 H W"]) -> Maps:
        """Feature maps of images, reduced to the channels that the method compares."""
        return (self.reduce(concatenated(self.encoder(images))),)

    @abstractmethod
    def adapt_way(
        self, support: WayMaps, foreground: Float[Tensor, "M K H W"], background: Float[Tensor, "M K H W"]
    ) -> State:
        """The state of each way, e.g. prototypes: tensors ``M ...``; ``M K ...`` where `state_per` is ``shot``.

        Args:
            support: feature maps.
            foreground: weight of each pixel for the way, 0 or 1.
            background: weight of each pixel for the background; ignored pixels are in neither.
        """

    @abstractmethod
    def stages(self, state: State, query: Maps) -> list[Float[Tensor, "M 2 _ _"]]:
        """Logits of background and foreground, of each stage that training supervises, in order."""

    def decide(self, stages: list[Tensor], state: State) -> Float[Tensor, "M 2 u v"]:
        """The prediction of the stages: by default the last one's."""
        return stages[-1]

    def adapt(self, support: SupportMaps, mask: Integer[Tensor, "B N K H W"]) -> State:
        """`adapt_way` of each way: tensors ``B N ...``."""
        state = self.adapt_way(tuple(one.flatten(0, 1) for one in support), *sides(mask))
        return tuple(part.unflatten(0, mask.shape[:2]) for part in state)

    def predict(self, state: State, query: QueryMaps) -> Float[Tensor, "B Q L _ _"]:
        """Logits of the queries, from the binary decisions of all ways."""
        each = _per_query(state, query)
        logits = self.decide(self.stages(each, _per_way(query, state[0].shape[1])), each)
        return merge_ways(logits.unflatten(0, (len(query[0]), state[0].shape[1], -1)).transpose(1, 2))

    def loss(self, batch: Batch) -> dict[str, Float[Tensor, ""]]:
        """Sum over the stages of the cross-entropy at pixel resolution; one binary problem per way."""
        support, query = self.features(batch)
        state = self.state(support, batch.support_mask)
        stages = self.stages(_per_query(state, query), _per_way(query, batch.classes.shape[1]))
        mask = batch.query_mask.unsqueeze(1)
        ways = way_labels(batch.classes.shape[1], mask).view(-1, 1, 1, 1)
        target = (mask == ways).long().masked_fill(mask == IGNORE, IGNORE).flatten(0, 2)  # B N Q H W
        size = (mask.shape[-2], mask.shape[-1])
        losses = [cross_entropy(self.to_pixels(stage, size), target, self.loss_mean) for stage in stages]
        parts = {f"stage{i}": loss for i, loss in enumerate(losses, 1)} if len(losses) > 1 else {}
        return {"loss": torch.stack(losses).sum(), **parts}


def sides(mask: Integer[Tensor, "B N K H W"]) -> tuple[Float[Tensor, "M K H W"], Float[Tensor, "M K H W"]]:
    """Foreground and background pixels of each way; ignored ones are in neither."""
    foreground = mask == way_labels(mask.shape[1], mask).view(-1, 1, 1, 1)
    background = ~foreground & (mask != IGNORE)
    return foreground.flatten(0, 1).float(), background.flatten(0, 1).float()


def explain_mixture(
    mixture: PrototypeMixture,
    prototypes: Prototypes,
    support: Float[Tensor, "B N K C hs ws"],
    mask: Integer[Tensor, "B N K H W"],
    query: Float[Tensor, "B Q C h w"],
) -> Explanation:
    """`Method.explain` of a method whose prototypes ``M P C`` are the means of a mixture."""
    (episodes, way), queries = support.shape[:2], query.shape[1]
    region = mixture.regions(support.flatten(0, 1), *sides(mask), prototypes)
    each = Prototypes(*(means.repeat_interleave(queries, 0) for means in prototypes))
    (maps,) = _per_way((query,), way)
    return Explanation(
        mixture.component_probability(maps, each).unflatten(0, (episodes, way, queries)),
        region.unflatten(0, (episodes, way)),
        prototypes.foreground.shape[1],
    )


def _per_query(state: State, query: QueryMaps) -> State:
    """The state of each way, ``B N ...``, for each query: ``BNQ ...``."""
    # torch.onnx exports a wrong graph of repeat_interleave where the number of queries is dynamic.
    shape = (-1, query[0].shape[1])
    flat = [part.flatten(0, 1) for part in state]
    return tuple(part.unsqueeze(1).expand(*shape, *part.shape[1:]).flatten(0, 1) for part in flat)


def _per_way(query: QueryMaps, way: int) -> Maps:
    """Feature maps of each query for each way: ``BNQ C h w``."""
    return tuple(one.unsqueeze(1).expand(-1, way, -1, -1, -1, -1).flatten(0, 2) for one in query)
