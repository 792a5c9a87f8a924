"""A method whose logits a linear head corrects, which is fitted to the supports."""

from math import isfinite
from typing import ClassVar

import torch
from jaxtyping import Float, UInt8
from torch import Tensor
from torch.nn import functional as F

from fsseg.episode import IGNORE
from fsseg.errors import FssegError
from fsseg.methods.base import Maps, Method, State
from fsseg.methods.binary import BinaryMethod, WayMaps
from fsseg.ops.feature_maps import concatenated
from fsseg.ops.logistic import fit_logistic
from fsseg.ops.pooling import adjoint_weights
from fsseg.ops.precision import full_precision

_LENGTH = 10.0  # of a cell's features; scales the weight decay
_AROUND = 3  # cells of a side of the neighbourhood whose mean features are features too


class Tuned(BinaryMethod):
    """A method plus a linear head on its features, for `fsseg tune`.

    The head is a logistic regression on the cells of the supports, in which object and background have the same weight.
    It sees the features of a cell and the mean of its 3 x 3 neighbourhood, both of one length. Its logits are added to
    those of the method. The head belongs to the state of a class, so that it is fitted anew when supports change, and
    a file holds supports, not the head. Pixels of other classes and rejected images are its background.

    Args:
        method: method with trained weights, or without training.
        decay: weight decay of the head; chosen on cats, dogs, horses, sheep and cars (docs/10-your-own-pictures.md).
        share: factor of the method's own logits; 0 for the head alone.

    Raises:
        FssegError: a number is out of range, or the method cannot be tuned.
    """

    exportable: ClassVar[bool] = False
    pools_background: ClassVar[bool] = True

    def __init__(self, method: Method, decay: float = 0.1, share: float = 1.0) -> None:
        if isinstance(method, Tuned) or method.masks_enter_encoder:
            why = "is tuned already" if isinstance(method, Tuned) else "encodes supports with their masks"
            raise FssegError(f"{method.name} {why}, so that no head can be fitted to its features: use another method.")
        if not (isfinite(decay) and decay > 0 and 0 <= share <= 1):
            raise FssegError(f"Tuned: decay {decay}, share {share}; a decay above 0 and a share of 0..1 are needed.")
        super().__init__(method.encoder)
        self.method, self.decay, self.share = method, decay, share
        self.name = f"{method.name}, {'tuned' if share else 'linear head'}"

    def neck(self, maps: Maps) -> Maps:
        """Feature maps of the method."""
        return self.method.neck(maps)

    def adapt_way(
        self, support: WayMaps, foreground: Float[Tensor, "M K H W"], background: Float[Tensor, "M K H W"]
    ) -> State:
        """The method's state, coefficients ``M C`` and intercept ``M`` of the head."""
        labels = torch.full_like(foreground, IGNORE, dtype=torch.uint8)
        labels[background > 0], labels[foreground > 0] = 0, 1
        with full_precision(support[0]):
            cells = [_cells(tuple(one[way] for one in support)) for way in range(len(labels))]
            size = (cells[0].shape[-2], cells[0].shape[-1])
            sides = [adjoint_weights(side, size) for side in (foreground, background)]
            weight = torch.stack(sides, -1).flatten(1, 3)  # M Khw 2
            heads = [
                fit_logistic(own.movedim(1, -1).flatten(0, 2), weight[way], self.decay) for way, own in enumerate(cells)
            ]
        own = self._own_state(support, labels)
        return *own, *(torch.stack(parts) for parts in zip(*heads, strict=True))

    def _own_state(self, support: WayMaps, labels: UInt8[Tensor, "M K H W"]) -> State:
        """The method's state; its supports, if the state cannot be computed for each way alone."""
        shown = (labels == 1).flatten(2).any(2).any(0)
        if not self.method.pools_background and shown.any():  # rejected images are for the head
            support, labels = tuple(one[:, shown] for one in support), labels[:, shown]
        if self.method.state_per == "episode":
            return *support, labels
        state = self.method.state(tuple(one[:, None] for one in support), labels[:, None])
        return tuple(part[:, 0] for part in state)

    def stages(self, state: State, query: Maps) -> list[Float[Tensor, "M 2 h w"]]:
        """Logits of the method, plus those of the head on the foreground's side."""
        *own, coefficients, intercept = state
        parts = tuple(part[:, None] for part in own)
        if self.method.state_per == "episode":
            parts = self.method.state(parts[:-1], parts[-1])
        logits = self.method.predict(parts, tuple(one[:, None] for one in query))[:, 0].float()
        with full_precision(query[0]):
            margin = torch.einsum("mchw,mc->mhw", _cells(query), coefficients) + intercept[:, None, None]
            margin = F.interpolate(margin[:, None], logits.shape[-2:], mode="bilinear")[:, 0]
        return [self.share * logits + torch.stack([torch.zeros_like(margin), margin], 1)]

    def to_pixels(self, logits: Float[Tensor, "*b L h w"], size: tuple[int, int]) -> Float[Tensor, "*b L H W"]:
        """Logits at pixel resolution, as the method's."""
        return self.method.to_pixels(logits, size)


def _cells(maps: Maps) -> Float[Tensor, "M C h w"]:
    """Features of each cell and the mean of its neighbourhood."""
    one = concatenated(maps).float()
    around = F.avg_pool2d(one, _AROUND, 1, _AROUND // 2, count_include_pad=False)
    return _LENGTH * torch.cat([F.normalize(part, dim=1) for part in (one, around)], 1)
