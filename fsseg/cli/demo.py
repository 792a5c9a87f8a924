"""`fsseg demo`: a page to paint supports on and see queries segmented, on this machine."""

from collections.abc import Sequence
from pathlib import Path

from fsseg.demo.pictures import Limits
from fsseg.demo.server import listening, require_server, serve
from fsseg.demo.sessions import Sessions
from fsseg.errors import FssegError
from fsseg.experiment import segmenter_options
from fsseg.experiment.parser import Parser

_HOST, _PORT = "127.0.0.1", 7860
_UNTRAINED = "Not trained for this: masks are rough. A checkpoint of fsseg fit gives better ones."
_OPEN = "anybody who reaches this machine can use the page: it has no password."


def run(arguments: Sequence[str]) -> int:
    """Run ``demo``; returns the exit code.

    Raises:
        FssegError: an option is wrong, the method cannot be built, the address is taken, or Starlette is missing.
    """
    parser = Parser(allow_abbrev=False)
    segmenter_options.add_options(parser)
    parser.add_argument("--host", type=str, default=_HOST)
    parser.add_argument("--port", type=int, default=_PORT)
    parser.add_argument("--max_mb", type=float, default=Limits().megabytes)
    parser.add_argument("--max_pixels", type=int, default=Limits().pixels)
    given = parser.parse_args(segmenter_options.with_experiment(arguments))
    limits = _limits(given.max_mb, given.max_pixels)
    if given.ckpt_path and not Path(given.ckpt_path).is_file():
        raise FssegError(f"--ckpt_path {given.ckpt_path}: no such file.")
    if given.tile is not None:
        raise FssegError("--tile is for `fsseg predict`: the page shows whole pictures. Give --size or --long-side.")
    require_server()
    with listening(given.host, given.port) as bound:
        segmenter = segmenter_options.engine(given, parser).segmenter
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
    if not 0 < megabytes <= 1000:
        raise FssegError(f"--max_mb {megabytes:g}: more than 0 and at most 1000 is needed.")
    if not 64 <= pixels <= 150_000_000:  # PIL warns of decompression bombs beyond
        raise FssegError(f"--max_pixels {pixels}: 64 to 150000000 is needed.")
    return Limits(megabytes, pixels)
