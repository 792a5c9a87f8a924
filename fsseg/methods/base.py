"""The method contract: the interface of a few-shot segmentation method."""

import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Literal, NamedTuple

import torch
from jaxtyping import Float, Int, Integer, UInt8
from torch import Tensor, nn

from fsseg.encoders.base import Encoder, M, constructor_signature, keep_arguments
from fsseg.episode import IGNORE, Batch
from fsseg.errors import FssegError
from fsseg.losses import upsample
from fsseg.ops.fcn import upscore
from fsseg.ops.feature_maps import concatenated, resized

# Feature maps, fine to coarse: of any images, of supports, of queries.
Maps = tuple[Float[Tensor, "M _ _ _"], ...]
SupportMaps = tuple[Float[Tensor, "B N K _ _ _"], ...]
QueryMaps = tuple[Float[Tensor, "B Q _ _ _"], ...]
# What `adapt` returns.
State = tuple[Tensor, ...]
# The supports that one part of a state depends on.
StatePer = Literal["shot", "class", "episode"]


class Features(NamedTuple):
    """Feature maps of the supports and of the queries of a batch."""

    support: SupportMaps
    query: QueryMaps


class Explanation(NamedTuple):
    """Responses of prototypes to an episode. A way has ``D`` prototypes: its own, then those of the background.

    Attributes:
        probability: response of each prototype to the query cells. It sums to 1 over ``D`` if the method takes one
            softmax over all prototypes.
        region: index of the prototype that each support cell is assigned to; -1 for an ignored cell.
        foreground: how many of the ``D`` prototypes belong to the way.
    """

    probability: Float[Tensor, "B N Q D h w"]
    region: Int[Tensor, "B N K hs ws"]
    foreground: int


class Method(nn.Module, ABC):
    """A plain module without Lightning, device or data set. It returns the same type in train and eval mode.

    A method adapts to supports and predicts queries: ``predict(adapt(support maps, masks), query maps)``.

    Attributes:
        name: name in tables and in `published.csv`; by default that of the class, not of its parent.
        paper: name of the method in the paper's tables; set by `named`.
        departures: departures from the paper's setting, words by option; set by `named`.
        reconstructed: why a method is a reconstruction of ours, in words for tables; empty for others.
        caution: why its numbers are not those of an honest test, likewise.
        fine_tuned: name in the papers' tables of this method, tuned on the supports (`fsseg.fine_tuning`).
        inference_options: arguments that a test may change, because trained weights keep their meaning.
        separate_passes: encode supports and queries apart; with batch statistics in BatchNorm, features differ then.
        support_gradient: whether supports are encoded with gradients in training.
        align_corners: option of the bilinear upsampling in `to_pixels`.
        state_per: which supports a part of the state depends on; a part can be cached and reused. ``shot``: tensors
            ``B N K ...``, each entry from one support. ``class``: tensors ``B N ...``, each entry from the supports
            of one way. ``episode``: tensors of any shape.
        adapt_gradient: `adapt` optimises by gradients, in a test too.
        exportable: whether the method can be traced into graphs (`fsseg export`).
        training_free: made for use without training; tables name other untrained methods ``PANet-init``.
        pools_background: a support without the class adds to the background alone, e.g. a person's rejected image.
    """

    __signature__: ClassVar[inspect.Signature]
    name: str
    paper: str = ""
    departures: Mapping[str, str] = {}
    reconstructed: ClassVar[str] = ""
    caution: str = ""
    fine_tuned: ClassVar[str] = ""
    inference_options: ClassVar[frozenset[str]] = frozenset()
    separate_passes: ClassVar[bool] = False
    support_gradient: bool = True
    align_corners: bool = False
    state_per: ClassVar[StatePer] = "episode"
    adapt_gradient: bool = False
    exportable: ClassVar[bool] = True
    training_free: ClassVar[bool] = False
    pools_background: ClassVar[bool] = False

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        cls.name = cls.__dict__.get("name", cls.__name__)
        cls.__signature__ = constructor_signature(cls)

    def __new__(cls: type[M], *args: Any, **options: Any) -> M:  # beartype knows no Self here
        """Record the constructor's arguments for `fsseg.encoders.base.given_arguments`."""
        made: M = nn.Module.__new__(cls)
        return keep_arguments(made, args, options)

    def __init__(self, encoder: Encoder) -> None:
        if not isinstance(encoder, nn.Module):  # jsonargparse builds no class for an argument without annotation
            raise FssegError(
                f"{type(self).__name__}: encoder {encoder!r} is not built. Annotate encoder: Encoder in the "
                "constructor (from fsseg.encoders import Encoder)."
            )
        super().__init__()
        self.encoder = encoder

    def neck(self, maps: Maps) -> Maps:
        """Feature maps of the method, from those of the encoder; by default one map, the encoder's concatenated."""
        return (concatenated(maps),)

    def encode(self, images: Integer[Tensor, "M 3 H W"]) -> Maps:
        """Feature maps of images, independent of any episode: encoder, then `neck`."""
        return self.neck(self.encoder(images))

    def encode_support(self, images: Integer[Tensor, "M 3 H W"], masks: UInt8[Tensor, "M H W"]) -> Maps:
        """Feature maps of supports, for methods with a separate support branch; by default `encode`.

        Args:
            images: supports.
            masks: 1 on the support's way, 0 elsewhere, 255 ignored.
        """
        return self.encode(images)

    @property
    def masks_enter_encoder(self) -> bool:
        """Whether features of a support depend on its mask; such features cannot be cached per image."""
        return self.overrides("encode_support")

    def overrides(self, *names: str) -> bool:
        """Whether the class of this method has its own version of any of these functions."""
        return any(getattr(type(self), name) is not getattr(Method, name) for name in names)

    @abstractmethod
    def adapt(self, support: SupportMaps, mask: Integer[Tensor, "B N K H W"]) -> State:
        """The state of the supports, e.g. prototypes; its shapes follow `state_per`.

        Args:
            support: feature maps from `encode_support`.
            mask: episode labels; 255 is ignored.
        """

    @abstractmethod
    def predict(self, state: State, query: QueryMaps) -> Float[Tensor, "B Q L _ _"]:
        """Logits of the queries near feature resolution. ``L = 1 + N``: background, then the ways."""

    def loss(self, batch: Batch) -> dict[str, Float[Tensor, ""]]:
        """Losses of a batch with images. Training minimises ``loss``; the other entries are its parts, for logs."""
        return self.losses(self.features(batch), batch)

    @abstractmethod
    def losses(self, features: Features, batch: Batch) -> dict[str, Float[Tensor, ""]]:
        """The losses of `loss`, from feature maps; ``batch`` gives masks and may have no images."""

    def explain(self, support: SupportMaps, mask: Integer[Tensor, "B N K H W"], query: QueryMaps) -> Explanation | None:
        """Responses of prototypes to the queries, for figures; None for a method without prototypes."""
        return None

    def to_pixels(self, logits: Float[Tensor, "*b L h w"], size: tuple[int, int]) -> Float[Tensor, "*b L H W"]:
        """Logits at pixel resolution, in float32: bilinear.

        Cells of FCN-32s have their own decoder, which needs the size of the encoded images; see `segment_resized`.
        """
        if self.encoder.crop is not None:
            return upscore(logits.float(), size, self.encoder.crop)
        return upsample(logits.float(), size, self.align_corners)

    def features(self, batch: Batch) -> Features:
        """Feature maps of a batch with images."""
        if not self.masks_enter_encoder:
            return self.from_encoder(*self.encoder_maps(batch))
        with torch.set_grad_enabled(self.support_gradient and torch.is_grad_enabled()):
            masks = own_way(batch.support_mask).flatten(0, 2)
            support = self.encode_support(batch.support_image.flatten(0, 2), masks)
        query = self.encode(batch.query_image.flatten(0, 1))
        return _by_episode(support, query, batch.support_image.shape[:3], batch.query_image.shape[:2])

    def encoder_maps(self, batch: Batch) -> Features:
        """Maps of the encoder for a batch with images, before `neck`."""
        lead = batch.support_image.shape[:3], batch.query_image.shape[:2]
        images = (batch.support_image.flatten(0, 2),), (batch.query_image.flatten(0, 1),)
        return _by_episode(*self.passed(self.encoder, *images, lead[0][2]), *lead)

    def from_encoder(self, support: SupportMaps, query: QueryMaps) -> Features:
        """Feature maps of a batch from the encoder's maps, e.g. cached ones."""
        lead = support[0].shape[:3], query[0].shape[:2]
        flat = tuple(one.flatten(0, 2) for one in support), tuple(one.flatten(0, 1) for one in query)
        return _by_episode(*self.passed(lambda *maps: self.neck(maps), *flat, lead[0][2]), *lead)

    def passed(
        self, step: Callable[..., Maps], support: tuple[Tensor, ...], query: tuple[Tensor, ...], shots: int
    ) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
        """Supports (``shots`` of each way in a row) and queries after a step, in one pass if the result is the same."""
        same_size = all(one.shape[1:] == other.shape[1:] for one, other in zip(support, query, strict=True))
        if self.separate_passes or not self.support_gradient or not same_size:
            with torch.set_grad_enabled(self.support_gradient and torch.is_grad_enabled()):
                first = step(*support)
            return first, step(*query)
        both = step(*(torch.cat(pair) for pair in zip(support, query, strict=True)))
        count = len(support[0])
        return tuple(one[:count] for one in both), tuple(one[count:] for one in both)

    def state(self, support: SupportMaps, mask: Integer[Tensor, "B N K H W"]) -> State:
        """The state from `adapt`, in any gradient mode of the caller."""
        if not self.adapt_gradient or torch.is_grad_enabled():
            return self.adapt(support, mask)
        with torch.inference_mode(False), torch.enable_grad():  # autograd refuses inference tensors, not their clones
            state = self.adapt(tuple(one.clone() for one in support), mask.clone())
        return tuple(part.detach() for part in state)

    def segment(
        self, state: State, query: QueryMaps, size: tuple[int, int] | Integer[Tensor, "B Q 2"]
    ) -> Float[Tensor, "B Q L H W"]:
        """Logits of the queries at pixel resolution, in float32.

        Args:
            state: from `adapt`.
            query: feature maps.
            size: height and width, common or one pair per query. Logits of smaller queries lie in the upper left
                corner; the rest is zero.
        """
        return self.sized(self.predict(state, query), size)

    def sized(
        self, logits: Float[Tensor, "B Q L h w"], size: tuple[int, int] | Integer[Tensor, "B Q 2"]
    ) -> Float[Tensor, "B Q L H W"]:
        """`to_pixels` with one size per query; see `segment`."""
        return resized(logits, size, self.to_pixels)

    def segment_resized(
        self, state: State, query: QueryMaps, encoded: tuple[int, int], size: tuple[int, int] | Integer[Tensor, "B Q 2"]
    ) -> Float[Tensor, "B Q L H W"]:
        """`segment` for queries of another size than their images had in the encoder.

        FCN-32s cuts its logits out at the size of the encoded images; these logits are then resized.

        Args:
            state: from `adapt`.
            query: feature maps.
            encoded: height and width of the encoded images.
            size: see `segment`.
        """
        if self.encoder.crop is None:
            return self.segment(state, query, size)
        return resized(self.segment(state, query, encoded), size, upsample)

    def forward(self, batch: Batch) -> Float[Tensor, "B Q L H W"]:
        """Logits of the queries at the resolution of their masks."""
        return self.logits(self.features(batch), batch)

    def logits(self, features: Features, batch: Batch) -> Float[Tensor, "B Q L H W"]:
        """The logits of `forward`, from feature maps; ``batch`` gives masks and may have no images."""
        return self.segment_batch(self.state(features.support, batch.support_mask), features.query, batch)

    def segment_batch(self, state: State, query: QueryMaps, batch: Batch) -> Float[Tensor, "B Q L H W"]:
        """The logits of `forward`, from the state of `adapt`."""
        return self.segment_resized(state, query, batch.encoded_size, batch.query_size)

    def learns_fast(self, parameter: str) -> bool:
        """Whether a parameter, given by name, starts at random and takes the larger learning rate of new layers."""
        return not parameter.startswith("encoder.")


def _by_episode(
    support: Sequence[Tensor], query: Sequence[Tensor], supports: Sequence[int], queries: Sequence[int]
) -> Features:
    """Feature maps as `Features`, given the leading sizes ``B N K`` and ``B Q``."""
    return Features(
        tuple(one.unflatten(0, supports) for one in support), tuple(one.unflatten(0, queries) for one in query)
    )


def own_way(mask: Integer[Tensor, "B N K H W"]) -> UInt8[Tensor, "B N K H W"]:
    """Masks with 1 on each support's own way, 0 on background and other ways, 255 ignored."""
    own = (mask == way_labels(mask.shape[1], mask).view(-1, 1, 1, 1)).to(torch.uint8)
    return own.masked_fill(mask == IGNORE, IGNORE)


def way_labels(way: int, like: Tensor) -> Int[Tensor, " N"]:
    """Episode labels of the ways, on a tensor's device."""
    return torch.arange(1, 1 + way, device=like.device)


def named(method: Method, kind: type[Method], paper: str, departures: Mapping[str, str]) -> str:
    """The name of a method with its departures from the paper, so that tables compare equal settings only.

    Args:
        method: method whose ``paper`` and ``departures`` are set.
        kind: class of the paper. A subclass has the name of its class, or the one that it defines.
        paper: name in the paper's tables.
        departures: words by option, e.g. ``{"components": "K=5"}``; empty if the option is as in the paper.
    """
    if type(method) is not kind:
        return method.name
    method.paper, method.departures = paper, {option: words for option, words in departures.items() if words}
    return f"{paper} ({', '.join(method.departures.values())})" if method.departures else paper
