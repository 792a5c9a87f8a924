"""The method of a segmenter without one: kernel density ratio on an encoder by name, without training."""

from os import PathLike
from pathlib import Path

from fsseg.encoders.names import NAMES, build
from fsseg.errors import FssegError, NoDownloadError
from fsseg.methods.base import Method
from fsseg.methods.kernel_density import KernelDensityRatio
from fsseg.progress import tell

ENCODER, SMALLER = "dinov2_s", "efficientnet_lite0_levels"  # the second if the first cannot be downloaded
SIZE = 420  # pixels: 417 (PANet, section 4.1), as a multiple of DINOv2's 14
_MEGABYTES = {ENCODER: 88, SMALLER: 19}  # of the downloaded files
_FILES = (".ckpt", ".fsseg")


def default_method(fix: str) -> Method:
    """The best method without training in docs/10-your-own-pictures.md, on the first encoder that can be downloaded.

    Args:
        fix: how to give an encoder with its file, for the error.

    Raises:
        FssegError: no encoder can be downloaded.
    """
    for encoder in (ENCODER, SMALLER):
        tell(f"{encoder}: {_MEGABYTES[encoder]} MB, {NAMES[encoder].licence}; the first use downloads it")
        try:
            return KernelDensityRatio(build(encoder))
        except NoDownloadError as error:
            tell(f"note: {error}")
    raise FssegError(
        f"no encoder can be downloaded here. Give one with its file: {fix}. "
        "docs/encoders.md lists encoders and where their files are."
    )


def method_of(given: Method | str | None, weights: str | PathLike[str] | None) -> Method:
    """The method that arguments of `fsseg.Segmenter` choose.

    Args:
        given: a method, the name of an encoder, or None for the default.
        weights: file of the encoder's weights.

    Raises:
        FssegError: the name is unknown, the weights cannot be read or belong to no name, or see `default_method`.
    """
    if isinstance(given, Method):
        if weights is not None:
            raise FssegError(
                f"`weights` {weights}: they belong to an encoder's name; {given.name} has its own. Omit them."
            )
        return given
    if given is None and weights is None:
        return default_method(f"fsseg.Segmenter({SMALLER!r}, weights=FILE)")
    if not isinstance(given, str | None):
        hint = " Give a method, e.g. PANet(encoder)." if hasattr(given, "widths") else ""
        raise FssegError(
            f"`method` is a {type(given).__name__}: a method of fsseg.methods or an encoder's name is needed.{hint}"
        )
    if given is not None and given not in NAMES and (Path(given).suffix in _FILES or Path(given).exists()):
        raise FssegError(f"`method` {given!r} is a file, no encoder. Use fsseg.Segmenter.load({given!r}).")
    try:
        return KernelDensityRatio(build(given or ENCODER, **({} if weights is None else {"weights": str(weights)})))
    except NoDownloadError as error:
        raise NoDownloadError(str(error).replace("`model.method.encoder.weights` FILE", "`weights` FILE")) from error
    except FssegError as error:
        raise FssegError(f"`{'method' if given and given not in NAMES else 'weights'}`: {error}") from error
