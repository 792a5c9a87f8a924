"""The contract of encoders."""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from fsseg.contracts.checks import require
from fsseg.contracts.networks import check_gradients, check_state_dict
from fsseg.encoders.base import Encoder, listed
from fsseg.untrusted.text import is_line

_CELLS = (5, 7)  # cells of a map, so that an image shows no symmetry
_SMALLEST = 8  # least pixels per cell of the test images: networks with pooling layers need some
_ODD = 3  # pixels that the second size has more, so that no stride divides the size
_NAMED = 3  # most parameters that a problem names


# Builds the encoder, each time with other random weights; arguments such as ``frozen=True`` override the given ones.
Make = Callable[..., Encoder]


def images(encoder: Encoder, count: int = 2, more: int = 0) -> Tensor:
    """Random images.

    Args:
        encoder: encoder, whose stride decides the size.
        count: number of images.
        more: pixels by which height and width are larger.
    """
    cell = max(_SMALLEST, encoder.stride)
    height, width = (cells * cell + more for cells in _CELLS)
    return torch.randint(256, (count, 3, height, width), dtype=torch.uint8)


def maps(encoder: Encoder, given: Tensor) -> tuple[Tensor, ...]:
    """Feature maps in eval mode, without gradients."""
    with torch.no_grad():
        found: tuple[Tensor, ...] = encoder.eval()(given)
    return found


def check_maps(make: Make) -> None:
    """Maps of images of two sizes are as wide as ``widths``, fine to coarse, finite float32."""
    encoder = make()
    for more in (0, _ODD):
        given = images(encoder, more=more)
        found = maps(encoder, given)
        size = f"for images of {given.shape[-1]}x{given.shape[-2]} pixels"
        require(isinstance(found, tuple), f"`features` returns a {type(found).__name__}; a tuple of maps is needed.")
        require(
            all(one.ndim == 4 and len(one) == len(given) for one in found),
            f"`features` returns shapes {_shapes(found)}; M C h w with M = {len(given)} is needed.",
        )
        widths = tuple(one.shape[1] for one in found)
        require(widths == tuple(encoder.widths), f"maps have {widths} channels, `widths` is {encoder.widths}.")
        require(sum(widths) == encoder.channels, f"`channels` is {encoder.channels}, maps have {sum(widths)}.")
        cells = [one.shape[-2] * one.shape[-1] for one in found]
        require(cells == sorted(cells, reverse=True), f"maps {_shapes(found)} {size} are not fine to coarse.")
        require(
            all(one.dtype == torch.float32 and bool(one.isfinite().all()) for one in found),
            f"maps {size} are not finite float32.",
        )


def check_stride(make: Make) -> None:
    """The finest map has a cell per ``stride`` pixels, and each map one per its entry of ``strides``."""
    encoder = make()
    for more, off in ((0, 1), (_ODD, 2)):  # two layers of ceil_mode add up to two cells where a stride does not divide
        given = images(encoder, more=more)
        found = maps(encoder, given)
        _require_cells("the finest map", "stride", given, found[0], encoder.stride, off)
        count = f"`strides` {encoder.strides} has {len(encoder.strides)} entries, but there are {len(found)} maps."
        require(len(encoder.strides) in (0, len(found)), count)
        for number, (one, stride) in enumerate(zip(found, encoder.strides, strict=False)):
            _require_cells(f"map {number}", f"strides[{number}]", given, one, stride, off)


def _require_cells(name: str, attribute: str, given: Tensor, found: Tensor, stride: int, off: int) -> None:
    sides = zip(given.shape[-2:], found.shape[-2:], strict=True)
    require(
        all(abs(cells - pixels / stride) <= off for pixels, cells in sides),
        f"{name} of {given.shape[-1]}x{given.shape[-2]} pixels has {found.shape[-1]}x{found.shape[-2]} cells, but "
        f"`{attribute}` is {stride}.",
    )


def check_images(make: Make) -> None:
    """Each image is encoded on its own."""
    encoder = make()
    both = images(encoder)
    for together, alone in zip(maps(encoder, both), maps(encoder, both[1:]), strict=True):
        require(
            torch.allclose(together[1:], alone, rtol=1e-4, atol=1e-5 * float(alone.abs().max())),
            "features of an image depend on the other images of the batch, so that they cannot be cached. With "
            "BatchNorm set self.running_statistics = True before freeze, or use GroupNorm.",
        )


def check_repeats(make: Make) -> None:
    """Evaluation has no randomness."""
    encoder = make()
    given = images(encoder)
    require(
        all(map(torch.equal, maps(encoder, given), maps(encoder, given))),
        "features change from call to call in eval mode. Use random numbers if self.training only.",
    )


def check_normalised(make: Make) -> None:
    """Images of 0..255 are normalised with ``mean`` and ``std``, which are no weights."""
    encoder = make()
    given = images(encoder, 1)
    expected = (given / 255 - encoder.mean) / encoder.std
    require(torch.allclose(encoder.normalise(given), expected), "`normalise` is not (images / 255 - mean) / std.")
    stored = {"mean", "std"} & set(encoder.state_dict())
    require(not stored, "mean and std are in the state dict; they are arguments of super().__init__, not weights.")


def check_trained(make: Make) -> None:
    """Every trained parameter gets a finite gradient."""
    encoder = make()
    found = encoder.train()(images(encoder))
    check_gradients(encoder, torch.stack([one.square().mean() for one in found]).sum())


def check_stored(make: Make) -> None:
    """The state dict is the whole state."""
    encoder = make()
    given = images(encoder)
    check_state_dict(encoder, make(), lambda made: maps(made, given))


def check_fixed(make: Make) -> None:
    """An encoder that is fixed trains nothing and computes the same in training as in evaluation."""
    encoder = make()
    if encoder.fixed:
        _check_same_in_training(encoder)


def check_frozen(make: Make) -> None:
    """With ``frozen=True`` no parameter has a gradient, and a fixed encoder computes the same in training."""
    encoder = make(frozen=True).train()
    free = [name for name, parameter in encoder.named_parameters() if parameter.requires_grad]
    require(not free, f"frozen=True still trains {listed(free, _NAMED)}. End the constructor with self.freeze(frozen).")
    if encoder.fixed:
        _check_same_in_training(encoder)


def _check_same_in_training(encoder: Encoder) -> None:
    given = images(encoder)
    buffers = [buffer.clone() for buffer in encoder.buffers()]
    found = encoder.train()(given)
    require(not any(one.requires_grad for one in found), "maps of a frozen encoder have gradients.")
    require(
        all(map(torch.equal, buffers, encoder.buffers())),
        "a pass in training changes buffers of a frozen encoder, e.g. running statistics.",
    )
    require(
        all(map(torch.allclose, found, maps(encoder, given))),
        "a frozen encoder computes other features in training than in eval mode. self.freeze(True) keeps the encoder "
        "in eval mode; functions such as F.dropout need training=self.training.",
    )


def check_names(make: Make) -> None:
    """The name fits a table."""
    encoder = make()
    require(bool(encoder.name) and is_line(encoder.name), f"name {encoder.name!r}: a text of one line is needed.")
    known = encoder.weights is None or isinstance(encoder.weights, str)
    require(known, f"weights {encoder.weights!r}: pretrained, none, a file, or None without such weights is needed.")


def _shapes(found: tuple[Tensor, ...]) -> str:
    return ", ".join(" ".join(map(str, one.shape)) for one in found)


CHECKS: Mapping[str, Callable[[Make], None]] = {
    "maps": check_maps,
    "stride": check_stride,
    "same maps in each call": check_repeats,
    "each image on its own": check_images,
    "normalised input": check_normalised,
    "gradients": check_trained,
    "state dict": check_stored,
    "fixed": check_fixed,
    "frozen": check_frozen,
    "names": check_names,
}
BASIC = ("maps", "stride", "same maps in each call")  # checks that the others need
