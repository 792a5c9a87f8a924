"""Encoders whose layers stand in a row, so that they can start at the map before the last one."""

from abc import abstractmethod

from jaxtyping import Float, Integer
from torch import Tensor

from fsseg.encoders.base import Encoder


class Layered(Encoder):
    """Base of encoders that are cut at their taps; one with several taps `resumes`."""

    taps: tuple[str, ...]

    def features(self, images: Float[Tensor, "M _ H W"]) -> tuple[Float[Tensor, "M _ _ _"], ...]:
        """Feature maps of normalised images, one per tap."""
        return self.outputs(images, self.taps)

    def before_last(self, images: Integer[Tensor, "M 3 H W"]) -> tuple[Float[Tensor, "M _ _ _"], ...]:
        """All maps but the last, without the layers after them."""
        return self.outputs(self.normalise(images), self.taps[:-1])

    def last_map(self, before: Float[Tensor, "M _ _ _"]) -> Float[Tensor, "M _ _ _"]:
        """The last map, from the map before it."""
        return self.outputs(before, self.taps[-1:], after=self.taps[-2])[0]

    @abstractmethod
    def outputs(self, x: Tensor, taps: tuple[str, ...], after: str | None = None) -> tuple[Tensor, ...]:
        """Outputs of some taps, from the input of the layer after another tap, or of the first layer."""
