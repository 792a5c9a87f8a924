"""The method contract: what a few-shot segmentation method is to the rest of fsseg."""

from abc import ABC, abstractmethod
from typing import Any, ClassVar, Literal, NamedTuple

import torch
from jaxtyping import Float, Int, Integer
from torch import Tensor, nn

from fsseg.encoders.base import Encoder, M, keep_arguments
from fsseg.episode import BACKGROUND, IGNORE, Batch
from fsseg.losses import LossMean, cross_entropy, upsample
from fsseg.ops.em import PrototypeMixture, Prototypes
from fsseg.ops.ways import merge_ways


class Features(NamedTuple):
    """Feature maps of a batch, in the roles of its images; sizes differ where the images' do."""

    support: Float[Tensor, "B N K C hs ws"]
    query: Float[Tensor, "B Q C h w"]


# How supports teach: each for itself, all of a way together, or nothing less than their features does.
Teaching = Literal["alone", "together", "features"]


class Look(NamedTuple):
    """What a method's prototypes see, way by way, for pictures. ``D`` prototypes: those of the way, then of background.

    Attributes:
        probability: of each prototype on the queries; over all of a softmax they are 1.
        region: the prototype that each cell of a support belongs to, among those of its side; -1 where the cell is on
            neither side, e.g. ignored.
        foreground: how many of the ``D`` are the way's.
    """

    probability: Float[Tensor, "B N Q D h w"]
    region: Int[Tensor, "B N K hs ws"]
    foreground: int


class Method(nn.Module, ABC):
    """A plain module: no Lightning, no device, no data set inside; the same return type in train and eval.

    Attributes:
        name: the name that tables and `published.csv` use; by default the class's, also where it extends another one.
        inference_options: arguments that may differ between training and testing, because they leave the meaning of
            the trained weights alone.
        separate_passes: supports and queries pass the encoder one after the other, which matters where BatchNorm uses
            statistics of the batch.
        support_gradient: whether the supports' features are trained.
        align_corners: how logits become pixels, see `fsseg.losses.upsample`.
        teaching: what may be kept of supports, see `learn_supports`.
    """

    name: str
    inference_options: ClassVar[frozenset[str]] = frozenset()
    separate_passes: ClassVar[bool] = False
    support_gradient: bool = True
    align_corners: bool = False
    teaching: ClassVar[Teaching] = "features"

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        cls.name = cls.__dict__.get("name", cls.__name__)

    def __new__(cls: type[M], *args: Any, **options: Any) -> M:  # beartype knows no Self here
        """Keep the arguments, see `fsseg.encoders.given_arguments`."""
        made: M = nn.Module.__new__(cls)
        return keep_arguments(made, args, options)

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        self.encoder = encoder

    def encode(self, images: Integer[Tensor, "M 3 H W"]) -> Float[Tensor, "M C h w"]:
        """Features of images, free of any episode."""
        features: Tensor = self.encoder(images)
        return features

    def features(self, batch: Batch) -> Features:
        """Features of all images of a batch, supports first; in one pass where that is the same."""
        support, query = batch.support_image, batch.query_image
        images, queries = support.flatten(0, 2), query.flatten(0, 1)
        if self.separate_passes or not self.support_gradient or images.shape[-2:] != queries.shape[-2:]:
            with torch.set_grad_enabled(self.support_gradient and torch.is_grad_enabled()):
                encoded_support = self.encode(images)
            encoded_query = self.encode(queries)
        else:
            encoded_support, encoded_query = self.encode(torch.cat([images, queries])).split(
                [len(images), len(queries)]
            )
        return Features(encoded_support.unflatten(0, support.shape[:3]), encoded_query.unflatten(0, query.shape[:2]))

    @abstractmethod
    def segment(
        self,
        support_feature: Float[Tensor, "B N K C hs ws"],
        support_mask: Integer[Tensor, "B N K H W"],
        query_feature: Float[Tensor, "B Q C h w"],
    ) -> Float[Tensor, "B Q L _ _"]:
        """Logits of the queries at about feature resolution, ``L = 1 + N``: background, then the ways."""

    def learn_supports(
        self, support_feature: Float[Tensor, "B N K C hs ws"], support_mask: Integer[Tensor, "B N K H W"]
    ) -> tuple[Tensor, ...]:
        """What `segment_by` needs of the supports: `segment` is these two in a row.

        Returns:
            By `teaching`. ``alone``: tensors ``B N K ...``, each support's part its own affair. ``together``: tensors
            ``B N 1 ...``. Both are small, so that a test keeps them and does not learn the same twice. ``features``:
            what was given.
        """
        return support_feature, support_mask

    def segment_by(
        self, learnt: tuple[Tensor, ...], query_feature: Float[Tensor, "B Q C h w"], shot: int
    ) -> Float[Tensor, "B Q L _ _"]:
        """Logits of the queries as `segment` gives them, from what `learn_supports` gave for ``shot`` shots."""
        return self.segment(learnt[0], learnt[1], query_feature)

    @abstractmethod
    def loss(self, batch: Batch) -> dict[str, Float[Tensor, ""]]:
        """Losses of a batch: ``loss`` is what training minimises, the other entries are its parts."""

    def forward(self, batch: Batch) -> Float[Tensor, "B Q L H W"]:
        """Logits of the queries at the resolution of their masks."""
        support, query = self.features(batch)
        return self.decode(self.learn_supports(support, batch.support_mask), query, batch)

    def decode(
        self, learnt: tuple[Tensor, ...], query_feature: Float[Tensor, "B Q C h w"], batch: Batch
    ) -> Float[Tensor, "B Q L H W"]:
        """Logits of the queries at the resolution of their masks, from features; images are not looked at."""
        return self.at_masks(self.segment_by(learnt, query_feature, batch.support_id.shape[2]), batch)

    def at_masks(self, logits: Float[Tensor, "B Q L h w"], batch: Batch) -> Float[Tensor, "B Q L H W"]:
        """Logits, in float32, at the resolution of each query's mask.

        Where masks differ in size and were filled up, a query's logits stand in its upper left corner, zeros elsewhere.
        """
        height, width = batch.query_mask.shape[-2:]
        sizes: list[list[list[int]]] = batch.query_size.tolist()
        if all(size == [height, width] for queries in sizes for size in queries):
            return self.at_pixels(logits, batch)
        canvas = logits.new_zeros((*logits.shape[:3], height, width), dtype=torch.float32)
        for b, queries in enumerate(sizes):
            for q, (h, w) in enumerate(queries):
                canvas[b, q, :, :h, :w] = upsample(logits[b, q].float(), (h, w), self.align_corners)
        return canvas

    def look(self, batch: Batch) -> Look | None:
        """What the prototypes see, for pictures; None for a method that has no prototypes to show."""
        return None

    def at_pixels(self, logits: Float[Tensor, "*b L h w"], batch: Batch) -> Float[Tensor, "*b L H W"]:
        """Logits, in float32, at the resolution of the query masks."""
        height, width = batch.query_mask.shape[-2:]
        return upsample(logits.float(), (height, width), self.align_corners)

    def learns_fast(self, parameter: str) -> bool:
        """Whether a parameter, by its name, is of the layers that start at random and take a larger learning rate."""
        return not parameter.startswith("encoder.")


def named(method: Method, kind: type[Method], paper: str, departures: dict[str, bool]) -> str:
    """A method's name, with what departs from the paper's setting, so that no other setting's number stands beside it.

    ``paper`` is the name in the paper's tables, ``kind`` its class. A subclass of that is another method: it has the
    name of its class, or the one that it defines.
    """
    if type(method) is not kind:
        return method.name
    added = [what for what, holds in departures.items() if holds]
    return f"{paper} ({', '.join(added)})" if added else paper


class BinaryMethod(Method):
    """A method that tells one class from background; several ways are several runs, merged by `merge_ways`.

    Shapes: a *run* is one way of one episode, so that there are ``M = B N`` of them for supports and ``M = B N Q`` for
    queries. To a run, pixels of the episode's other classes are background.

    Attributes:
        reduce: the method's own layers between encoder and comparison, if it has any.

    Args:
        encoder: image encoder.
        loss_mean: what the loss is a mean over, see `fsseg.losses.cross_entropy`.
    """

    separate_passes: ClassVar[bool] = True
    teaching: ClassVar[Teaching] = "together"

    def __init__(self, encoder: Encoder, loss_mean: LossMean = "episodes") -> None:
        super().__init__(encoder)
        self.loss_mean = loss_mean
        self.reduce: nn.Module = nn.Identity()

    def encode(self, images: Integer[Tensor, "M 3 H W"]) -> Float[Tensor, "M C h w"]:
        """Features of images, free of any episode, reduced to the channels that the method compares."""
        features: Tensor = self.reduce(self.encoder(images))
        return features

    @abstractmethod
    def learn(
        self,
        support_feature: Float[Tensor, "M K C h w"],
        foreground: Float[Tensor, "M K H W"],
        background: Float[Tensor, "M K H W"],
    ) -> tuple[Tensor, ...]:
        """What the supports teach, e.g. prototypes: tensors ``M ...``, or ``M K ...`` where each teaches alone."""

    @abstractmethod
    def stages(self, learnt: tuple[Tensor, ...], query_feature: Float[Tensor, "M C h w"]) -> list[Tensor]:
        """Logits ``M 2 u v`` of background and foreground, of each stage that training supervises, in order."""

    def decide(self, stages: list[Tensor], shot: int) -> Float[Tensor, "M 2 u v"]:
        """The stages' answer: the last one's."""
        return stages[-1]

    def segment(
        self,
        support_feature: Float[Tensor, "B N K C hs ws"],
        support_mask: Integer[Tensor, "B N K H W"],
        query_feature: Float[Tensor, "B Q C h w"],
    ) -> Float[Tensor, "B Q L _ _"]:
        """Logits of the queries: one run per way, merged."""
        learnt = self.learn_supports(support_feature, support_mask)
        return self.segment_by(learnt, query_feature, support_feature.shape[2])

    def learn_supports(
        self, support_feature: Float[Tensor, "B N K C hs ws"], support_mask: Integer[Tensor, "B N K H W"]
    ) -> tuple[Tensor, ...]:
        """What `learn` gives, by episode and way."""
        learnt = self.learn(support_feature.flatten(0, 1), *_sides(support_mask))
        if self.teaching == "together":
            learnt = tuple(part.unsqueeze(1) for part in learnt)
        return tuple(part.unflatten(0, support_feature.shape[:2]) for part in learnt)

    def segment_by(
        self, learnt: tuple[Tensor, ...], query_feature: Float[Tensor, "B Q C h w"], shot: int
    ) -> Float[Tensor, "B Q L _ _"]:
        """Logits of the queries: one run per way, merged."""
        logits = self.decide(self._stages(learnt, query_feature), shot)
        return merge_ways(logits.unflatten(0, (len(query_feature), learnt[0].shape[1], -1)).transpose(1, 2))

    def loss(self, batch: Batch) -> dict[str, Float[Tensor, ""]]:
        """Sum over the stages of the cross-entropy at pixel resolution; one binary problem per way."""
        support, query = self.features(batch)
        stages = self._stages(self.learn_supports(support, batch.support_mask), query)
        ways = _labels(batch.classes.shape[1], batch.query_mask)
        mask = batch.query_mask.unsqueeze(1)
        target = (mask == ways.view(-1, 1, 1, 1)).long().masked_fill(mask == IGNORE, IGNORE)  # B N Q H W
        labels = target.flatten(0, 2)
        losses = [cross_entropy(self.at_pixels(stage, batch), labels, self.loss_mean) for stage in stages]
        parts = {f"stage{i}": loss for i, loss in enumerate(losses, 1)} if len(losses) > 1 else {}
        return {"loss": torch.stack(losses).sum(), **parts}

    def _stages(self, learnt: tuple[Tensor, ...], query_feature: Float[Tensor, "B Q C h w"]) -> list[Tensor]:
        """Logits ``BNQ 2 u v`` of each stage."""
        parts = tuple(part.flatten(0, 1) for part in learnt)
        if self.teaching == "together":
            parts = tuple(part.squeeze(1) for part in parts)
        # What repeat_interleave does; of that, torch.onnx makes a wrong graph where the number of queries is dynamic.
        shape = (-1, query_feature.shape[1])
        each = tuple(part.unsqueeze(1).expand(*shape, *part.shape[1:]).flatten(0, 1) for part in parts)
        return self.stages(each, _per_way(query_feature, learnt[0].shape[1]))

    def _look(self, batch: Batch, mixture: PrototypeMixture) -> Look:
        """`look` of a method where the last that `learn` gives are the prototypes of a mixture."""
        support, query = self.features(batch)
        foreground, background = _sides(batch.support_mask)
        cells = support.flatten(0, 1)
        prototypes = Prototypes(*self.learn(cells, foreground, background)[-2:])
        region = mixture.regions(cells, foreground, background, prototypes)
        (episodes, way), queries = support.shape[:2], query.shape[1]
        each = Prototypes(*(means.repeat_interleave(queries, 0) for means in prototypes))
        probability = mixture.component_probability(_per_way(query, way), each)
        return Look(
            probability.unflatten(0, (episodes, way, queries)),
            region.unflatten(0, (episodes, way)),
            prototypes.foreground.shape[1],
        )


def _sides(support_mask: Integer[Tensor, "B N K H W"]) -> tuple[Float[Tensor, "M K H W"], Float[Tensor, "M K H W"]]:
    """Pixels of each run's foreground, and of its background."""
    foreground = support_mask == _labels(support_mask.shape[1], support_mask).view(-1, 1, 1, 1)
    background = ~foreground & (support_mask != IGNORE)
    return foreground.flatten(0, 1).float(), background.flatten(0, 1).float()


def _per_way(query_feature: Float[Tensor, "B Q C h w"], way: int) -> Float[Tensor, "BNQ C h w"]:
    return query_feature.unsqueeze(1).expand(-1, way, -1, -1, -1, -1).flatten(0, 2)


def _labels(way: int, like: Tensor) -> Integer[Tensor, " N"]:
    return torch.arange(BACKGROUND + 1, BACKGROUND + 1 + way, device=like.device)
