"""Files of an export: graphs that are checked against the method, the state of a segmenter, and a description."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from fsseg import __version__, atomic, limits
from fsseg.errors import FssegError
from fsseg.export.examples import Given, Sizes, leaves
from fsseg.export.files import ENDINGS, Format, Run, check_packages, opened, write
from fsseg.export.graphs import Examples, Graph, Port, traced
from fsseg.segmenter.persistence import description
from fsseg.segmenter.segmenter import Segmenter
from fsseg.segmenter.support_state import joined, logits
from fsseg.segmenter.tiling import Canvas

MOST = 1e-3  # largest relative difference between graph and method; ten rounds of EM give 1.5e-4 (docs/export.md)
_LEAST = 32  # pixels of a side, as in `Canvas`


class Difference(NamedTuple):
    """Largest difference between outputs of a graph and of the method.

    Attributes:
        absolute: absolute difference.
        relative: absolute difference divided by the largest value of the output.
    """

    absolute: float = 0.0
    relative: float = 0.0

    def and_of(self, found: torch.Tensor, wanted: torch.Tensor) -> "Difference":
        """The larger one of this difference and that of another output."""
        if found.shape != wanted.shape or not found.isfinite().all():
            return Difference(torch.inf, torch.inf)
        absolute = float((found - wanted).abs().max())
        relative = absolute / max(float(wanted.abs().max()), torch.finfo(torch.float32).tiny)
        return Difference(max(self.absolute, absolute), max(self.relative, relative))


class Exported(NamedTuple):
    """A graph in a file.

    Attributes:
        graph: the traced graph.
        path: path of the file.
        difference: largest difference between file and method at several sizes.
    """

    graph: Graph
    path: Path
    difference: Difference


def export(
    segmenter: Segmenter, folder: Path, kind: Format, size: int | None = None, way: int = 1, shot: int = 1
) -> list[Exported]:
    """Write encoder, learner, matcher, ``export.json`` and, if the segmenter has classes, ``state.npz``.

    Args:
        segmenter: segmenter on the CPU.
        folder: existing empty folder.
        kind: format of the graphs.
        size: pixels of a side of the encoder's images; None for the segmenter's size.
        way: number of classes for graphs that fix it. The classes of a segmenter have precedence.
        shot: number of supports per class for graphs that fix it. The classes of a segmenter have precedence.

    Raises:
        FssegError: packages are missing, sizes are invalid, the method cannot be traced, or a graph differs from the
            method. Or its encoder is `FCN32`, whose decoder needs more than maps, or it optimises on the supports, or
            has no graphs (`Method.exportable`).
    """
    check_packages(kind)
    if segmenter.method.encoder.crop is not None:
        raise FssegError(
            "the decoder of FCN32 needs the size of the encoded image, which a graph of feature maps has not. Use "
            "fsseg.Segmenter, or another encoder."
        )
    if segmenter.method.adapt_gradient:
        raise FssegError(
            f"{segmenter.method.name} optimises on the supports, which a graph cannot do. Use fsseg.Segmenter; FWB "
            "needs no optimisation with `model.method.experts` 0."
        )
    if not segmenter.method.exportable:
        raise FssegError(
            f"{segmenter.method.name} has no graphs: its steps or its state have sizes that a graph cannot leave open. "
            "Use fsseg.Segmenter."
        )
    limits.check({"way": way, "shot": shot}, {"way": limits.Range(1, 254), "shot": limits.SHOTS})
    canvas = _canvas(segmenter, size)
    state = _state(segmenter)
    if state:
        way = len(segmenter.known[0].classes)
        shot = len(state["state_0"][0]) if segmenter.method.state_per == "shot" else shot
    examples = Examples(segmenter.method, Sizes(canvas.size, canvas.size, way, shot, 1))
    written: list[Exported] = []
    extra: dict[str, int] = {}
    for graph in traced(examples):
        path = folder / f"{graph.name}{ENDINGS[kind]}"
        extra |= write(graph, path, kind)
        run = opened(path, kind)
        found = checked(examples, graph, path.name, run)
        if state and graph.name == "matcher":
            found = _checked_state(segmenter, path.name, run, state, found)
        written.append(Exported(graph, path, found))
    if state:
        atomic.save(folder / "state.npz", lambda file: np.savez(file, allow_pickle=False, **state))
    content = _described(segmenter, canvas, written, kind, bool(state)) | extra
    atomic.write_text(folder / "export.json", json.dumps(content, indent=2) + "\n")
    return written


def checked(examples: Examples, graph: Graph, file: str, run: Run) -> Difference:
    """Largest difference between a file and the method on random inputs, at the requested and at other sizes.

    Raises:
        FssegError: the difference is too large, or the file does not run.
    """
    asked = examples.asked
    other = Sizes(asked.height + 37, max(_LEAST, asked.width - 11), way=3, shot=2, queries=3)
    difference = Difference()
    for sizes in (asked, other):
        example = examples.of(sizes, graph.fixed)
        difference = _compared(file, run, example.given[graph.name], example.wanted[graph.name], difference)
    return difference


def _compared(file: str, run: Run, given: Given, wanted: Sequence[torch.Tensor], known: Difference) -> Difference:
    try:
        found = run(given)
    except Exception as error:  # runtimes raise many types
        reason = " ".join(str(error).split())[:150]
        raise FssegError(
            f"{file} does not run on {[tuple(one.shape) for one in leaves(given)]} ({reason}): the method's code "
            "branches on sizes. Change the method, or use fsseg.Segmenter."
        ) from error
    for one, other in zip(found, wanted, strict=True):
        known = known.and_of(one, other)
    if not known.relative <= MOST:
        raise FssegError(
            f"{file} differs from the method by {known.absolute:.1e}, {known.relative:.1e} of its largest value; "
            f"{MOST:g} is allowed. Nothing is exported. Use fsseg.Segmenter, or the other --to."
        )
    return known


def _state(segmenter: Segmenter) -> dict[str, npt.NDArray[Any]]:
    """The state of a segmenter's classes as inputs of the matcher; empty without classes."""
    known = segmenter.known[0]
    if not known.classes or segmenter.method.state_per == "episode":
        return {}
    return {f"state_{i}": part[0].numpy() for i, part in enumerate(joined(known.states))}


def _checked_state(
    segmenter: Segmenter, file: str, run: Run, state: dict[str, npt.NDArray[Any]], known: Difference
) -> Difference:
    """Largest difference, including that between logits of the matcher and of the segmenter for its classes."""
    size = segmenter.canvas.size
    image = torch.randint(256, (1, 3, size, size), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        maps = segmenter.method.encode(image)
        query, side = tuple(one[0] for one in maps), (size, size)
        wanted = logits(segmenter.method, segmenter.known[0].states, query, encoded=side, size=side)
    parts = tuple(torch.from_numpy(part).contiguous() for part in state.values())
    return _compared(file, run, (parts, maps, torch.tensor([size, size])), [wanted[None]], known)


def _canvas(segmenter: Segmenter, size: int | None) -> Canvas:
    """Size and fit of the encoder's images.

    Raises:
        FssegError: the size is too small, or differs from that of the segmenter's classes.
    """
    canvas = segmenter.canvas
    if size is None or size == canvas.size:
        return canvas
    if segmenter.known[0].classes:
        raise FssegError(f"size {size}: the classes of the segmenter have size {canvas.size}. Omit size.")
    return canvas._replace(size=size).checked()


def _described(
    segmenter: Segmenter, canvas: Canvas, written: Sequence[Exported], kind: Format, has_state: bool
) -> dict[str, Any]:
    """Content of ``export.json``: all that is needed to use the files."""
    method, state = segmenter.method, segmenter.known[0]
    return {
        "fsseg": __version__,
        "torch": torch.__version__,
        "format": kind,
        "method": {"name": method.name, **description(method)},
        "encoder": method.encoder.name,
        "size": canvas.size,
        "fit": canvas.fit,
        "images": "RGB, 0..255, uint8; the encoder normalises them",
        "masks": "0 background, 1..N ways, 255 unlabelled",
        "upsampling": {"mode": "bilinear", "align_corners": method.align_corners, "where": "in the matcher, to size"},
        "classes": list(state.classes) or None,
        "state": "state.npz" if has_state else None,
        "graphs": {
            one.graph.name: {
                "file": one.path.name,
                "inputs": [_plain(port) for port in one.graph.inputs],
                "outputs": [_plain(port) for port in one.graph.outputs],
                "dynamic": dynamic(one.graph),
                "fixed": sorted(one.graph.fixed),
                "largest_difference": {"absolute": one.difference.absolute, "relative": one.difference.relative},
            }
            for one in written
        },
    }


def _plain(port: Port) -> dict[str, Any]:
    return {"name": port.name, "shape": list(port.shape), "dtype": port.dtype}


def dynamic(graph: Graph) -> list[str]:
    """Names of the dynamic axes of a graph's inputs, in order."""
    return list(dict.fromkeys(axis for port in graph.inputs for axis in port.shape if isinstance(axis, str)))
