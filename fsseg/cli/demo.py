"""`fsseg demo`: serves a local page where supports are painted and queries are segmented."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from fsseg.cli.options import Options, add_segmenter, split
from fsseg.errors import FssegError
from fsseg.experiment.arguments import flags

if TYPE_CHECKING:
    from fsseg.demo.pictures import Limits

_HOST, _PORT = "127.0.0.1", 7860
_MEGABYTES, _PIXELS = 20, 40_000_000
_UNTRAINED = "No training on your classes: masks can be wrong, so look at each one."
_OPEN = "the page has no password: anybody who can reach this machine can use it."


def options() -> Options:
    """The command's options."""
    made = Options("demo")
    add_segmenter(made)
    reach = "address of the page (%(default)s, reachable from this machine only)"
    made.option("--host", str, reach, default=_HOST, metavar="ADDRESS")
    made.option("--port", int, "port of the page (%(default)s); 0 takes a free port", default=_PORT)
    made.option("--max_mb", float, "largest image file in megabytes (%(default)s)", default=_MEGABYTES)
    made.option("--max_pixels", int, "most pixels of an image (%(default)s)", default=_PIXELS)
    return made


def run(arguments: Sequence[str]) -> int:
    """Run ``demo``; return the exit code.

    Raises:
        FssegError: An option is wrong, the method cannot be built, the address is in use, or Starlette is missing.
    """
    if "--tile" in flags(arguments):
        raise FssegError("--tile is for `fsseg predict`: the page shows whole images. Give --size or --long_side.")
    of_method, own = split(arguments, ("--model",))
    given = options().read(own)
    from fsseg.demo.server import listening, require_server, serve  # imports torch
    from fsseg.demo.sessions import Sessions
    from fsseg.experiment import segmenter_options

    chosen = segmenter_options.read_method(given, of_method)
    limits = _limits(given.max_mb, given.max_pixels)
    if given.ckpt_path and not Path(given.ckpt_path).is_file():
        raise FssegError(f"--ckpt_path {given.ckpt_path}: no such file.")
    require_server()
    with listening(given.host, given.port) as bound:
        segmenter = segmenter_options.engine(given, chosen).segmenter
        method = segmenter.method
        about = f"{method.name} on {method.encoder.name}, {segmenter.canvas.size} pixels"
        note = "" if given.ckpt_path else _UNTRAINED
        print(f"  method   {about}{f', {given.ckpt_path}' if given.ckpt_path else ''}")
        if note:
            print(f"  note     {note}")
        if not bound.getsockname()[0].startswith("127.") and bound.getsockname()[0] != "::1":
            print(f"  note     {_OPEN}")
        about += f", {Path(given.ckpt_path).name}" if given.ckpt_path else ""
        serve(bound, Sessions(segmenter), limits, about, note)
    return 0


def _limits(megabytes: float, pixels: int) -> Limits:
    from fsseg.demo.pictures import Limits

    if not 0 < megabytes <= 1000:
        raise FssegError(f"--max_mb {megabytes:g}: more than 0 and at most 1000 is needed.")
    if not 64 <= pixels <= 150_000_000:  # Pillow warns of decompression bombs above this size
        raise FssegError(f"--max_pixels {pixels}: 64 to 150000000 is needed.")
    return Limits(megabytes, pixels)
