"""The method contract: what a few-shot segmentation method is to the rest of fsseg."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, Literal, NamedTuple

import torch
from jaxtyping import Float, Int, Integer, UInt8
from torch import Tensor, nn

from fsseg.encoders.base import Encoder, M, keep_arguments
from fsseg.episode import IGNORE, Batch
from fsseg.losses import upsample
from fsseg.ops.feature_maps import concatenated

# Feature maps, fine to coarse, of images and in the roles that images have in a batch.
Maps = tuple[Float[Tensor, "M _ _ _"], ...]
SupportMaps = tuple[Float[Tensor, "B N K _ _ _"], ...]
QueryMaps = tuple[Float[Tensor, "B Q _ _ _"], ...]
# What `adapt` returns.
State = tuple[Tensor, ...]
# What one part of a state depends on.
StatePer = Literal["shot", "class", "episode"]


class Features(NamedTuple):
    """Feature maps of a batch, by the role of its images."""

    support: SupportMaps
    query: QueryMaps


class Explanation(NamedTuple):
    """How each prototype of a way responds to an episode. ``D`` prototypes: the way's, then the background's.

    Attributes:
        probability: of each prototype on the queries. Methods with one softmax over all prototypes give a sum of 1.
        region: number of the prototype that each support cell is assigned to; -1 for a cell that is ignored.
        foreground: number of the way's prototypes.
    """

    probability: Float[Tensor, "B N Q D h w"]
    region: Int[Tensor, "B N K hs ws"]
    foreground: int


class Method(nn.Module, ABC):
    """A plain module: no Lightning, no device, no data set inside; the same return type in train and eval.

    A method adapts to supports and predicts queries: ``predict(adapt(support maps, masks), query maps)``.

    Attributes:
        name: the name in tables and in `published.csv`; by default the class's, also where it extends another method.
        paper: the method's name in its paper's tables, and
        departures: what departs from the paper's setting, words by option; `named` sets both.
        inference_options: arguments that may differ between training and test, because the trained weights keep
            their meaning.
        separate_passes: supports and queries pass the encoder one after the other. BatchNorm with statistics of the
            batch gives other features then.
        support_gradient: whether supports are encoded with gradients in training.
        align_corners: of the upsampling of logits, see `to_pixels`.
        state_per: what a part of the state depends on, so that it can be computed once and used again. ``shot``:
            tensors ``B N K ...``, whose part of a support depends on that support alone. ``class``: tensors
            ``B N ...``, whose part of a way depends on that way's supports alone. ``episode``: any tensors.
        adapt_gradient: `adapt` optimises something by gradients, in the test too.
    """

    name: str
    paper: str = ""
    departures: Mapping[str, str] = {}
    inference_options: ClassVar[frozenset[str]] = frozenset()
    separate_passes: ClassVar[bool] = False
    support_gradient: bool = True
    align_corners: bool = False
    state_per: ClassVar[StatePer] = "episode"
    adapt_gradient: ClassVar[bool] = False

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        cls.name = cls.__dict__.get("name", cls.__name__)

    def __new__(cls: type[M], *args: Any, **options: Any) -> M:  # beartype knows no Self here
        """Record the arguments, see `fsseg.encoders.base.given_arguments`."""
        made: M = nn.Module.__new__(cls)
        return keep_arguments(made, args, options)

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        self.encoder = encoder

    def encode(self, images: Integer[Tensor, "M 3 H W"]) -> Maps:
        """Feature maps of images, independent of any episode; by default one, of all maps of the encoder."""
        return (concatenated(self.encoder(images)),)

    def encode_support(self, images: Integer[Tensor, "M 3 H W"], masks: UInt8[Tensor, "M H W"]) -> Maps:
        """Feature maps of supports, for methods whose supports have a branch of their own; by default `encode`.

        Args:
            images: of the supports.
            masks: 1 on the support's way, 0 elsewhere, 255 where ignored.
        """
        return self.encode(images)

    @property
    def masks_enter_encoder(self) -> bool:
        """Whether a support's features depend on its mask, so that they cannot be computed once per image."""
        return type(self).encode_support is not Method.encode_support

    @abstractmethod
    def adapt(self, support: SupportMaps, mask: Integer[Tensor, "B N K H W"]) -> State:
        """The state that the supports leave, e.g. prototypes; see `state_per`.

        Args:
            support: feature maps of `encode_support`.
            mask: episode labels; 255 is ignored.
        """

    @abstractmethod
    def predict(self, state: State, query: QueryMaps) -> Float[Tensor, "B Q L _ _"]:
        """Logits of the queries at about feature resolution, ``L = 1 + N``: background, then the ways."""

    @abstractmethod
    def loss(self, batch: Batch) -> dict[str, Float[Tensor, ""]]:
        """Losses of a batch: training minimises ``loss``, the other entries are its parts."""

    def explain(self, support: SupportMaps, mask: Integer[Tensor, "B N K H W"], query: QueryMaps) -> Explanation | None:
        """How each prototype responds to the queries, for pictures; None for a method without prototypes."""
        return None

    def to_pixels(self, logits: Float[Tensor, "*b L h w"], size: tuple[int, int]) -> Float[Tensor, "*b L H W"]:
        """Logits at pixel resolution, in float32; by default bilinear."""
        return upsample(logits.float(), size, self.align_corners)

    def features(self, batch: Batch) -> Features:
        """Feature maps of all images of a batch, supports first; in one pass where that gives the same."""
        images, queries = batch.support_image.flatten(0, 2), batch.query_image.flatten(0, 1)
        if self._encodes_apart(batch):
            masks = own_way(batch.support_mask).flatten(0, 2)
            with torch.set_grad_enabled(self.support_gradient and torch.is_grad_enabled()):
                support = self.encode_support(images, masks)
            query = self.encode(queries)
        else:
            both = self.encode(torch.cat([images, queries]))
            support, query = tuple(one[: len(images)] for one in both), tuple(one[len(images) :] for one in both)
        return Features(
            tuple(one.unflatten(0, batch.support_image.shape[:3]) for one in support),
            tuple(one.unflatten(0, batch.query_image.shape[:2]) for one in query),
        )

    def _encodes_apart(self, batch: Batch) -> bool:
        same_size = batch.support_image.shape[-2:] == batch.query_image.shape[-2:]
        return self.separate_passes or self.masks_enter_encoder or not self.support_gradient or not same_size

    def state(self, support: SupportMaps, mask: Integer[Tensor, "B N K H W"]) -> State:
        """The state of `adapt`, whatever the caller's gradient mode."""
        if not self.adapt_gradient or torch.is_grad_enabled():
            return self.adapt(support, mask)
        with torch.inference_mode(False), torch.enable_grad():  # a copy may take part in a graph, inference tensors not
            state = self.adapt(tuple(one.clone() for one in support), mask.clone())
        return tuple(part.detach() for part in state)

    def segment(
        self, state: State, query: QueryMaps, size: tuple[int, int] | Integer[Tensor, "B Q 2"]
    ) -> Float[Tensor, "B Q L H W"]:
        """Logits of the queries at pixel resolution, in float32.

        Args:
            state: of `adapt`.
            query: feature maps.
            size: height and width of all answers, or of each; smaller ones stand in the upper left corner, zeros
                elsewhere.
        """
        return self.sized(self.predict(state, query), size)

    def sized(
        self, logits: Float[Tensor, "B Q L h w"], size: tuple[int, int] | Integer[Tensor, "B Q 2"]
    ) -> Float[Tensor, "B Q L H W"]:
        """`to_pixels` of each query's logits at its own size, see `segment`."""
        if isinstance(size, tuple):
            return self.to_pixels(logits, size)
        sizes = [[(height, width) for height, width in queries] for queries in size.tolist()]
        each = {one for queries in sizes for one in queries}
        height, width = max(h for h, _ in each), max(w for _, w in each)
        if len(each) == 1:
            return self.to_pixels(logits, (height, width))
        canvas = logits.new_zeros((*logits.shape[:3], height, width), dtype=torch.float32)
        for b, queries in enumerate(sizes):
            for q, one in enumerate(queries):
                canvas[b, q, :, : one[0], : one[1]] = self.to_pixels(logits[b, q], one)
        return canvas

    def forward(self, batch: Batch) -> Float[Tensor, "B Q L H W"]:
        """Logits of the queries at the resolution of their masks."""
        support, query = self.features(batch)
        return self.segment(self.state(support, batch.support_mask), query, batch.query_size)

    def learns_fast(self, parameter: str) -> bool:
        """Whether a parameter, by its name, belongs to layers that start at random and take a larger learning rate."""
        return not parameter.startswith("encoder.")


def own_way(mask: Integer[Tensor, "B N K H W"]) -> UInt8[Tensor, "B N K H W"]:
    """1 on each support's own way, 0 on background and on other ways, 255 where ignored."""
    own = (mask == way_labels(mask.shape[1], mask).view(-1, 1, 1, 1)).to(torch.uint8)
    return own.masked_fill(mask == IGNORE, IGNORE)


def way_labels(way: int, like: Tensor) -> Int[Tensor, " N"]:
    """Episode labels of the ways, on a tensor's device."""
    return torch.arange(1, 1 + way, device=like.device)


def named(method: Method, kind: type[Method], paper: str, departures: Mapping[str, str]) -> str:
    """A method's name, with its departures from the paper's setting, so that no other setting's number is compared.

    Args:
        method: whose ``paper`` and ``departures`` are set.
        kind: the paper's class. A subclass is another method: it has its class's name, or the one that it defines.
        paper: the name in the paper's tables.
        departures: words by option, e.g. ``{"components": "K=5"}``; empty where the option is as in the paper.
    """
    if type(method) is not kind:
        return method.name
    method.paper, method.departures = paper, {option: words for option, words in departures.items() if words}
    return f"{paper} ({', '.join(method.departures.values())})" if method.departures else paper
