"""Graphs of a method, traced by torch.export with as many dynamic axes as the method permits."""

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram
from torch.export.graph_signature import InputKind

from fsseg.errors import FssegError
from fsseg.export.examples import Example, Sizes, example
from fsseg.export.modules import Adapt, Encode, Match
from fsseg.methods.base import Method

Name = Literal["encoder", "learner", "matcher"]
NAMES: tuple[Name, ...] = ("encoder", "learner", "matcher")

# Names of axes that should be dynamic; None for axes with a size of the method's.
Axes = tuple[str | None, ...]
_PIXELS = ("height", "width", "rows", "columns")  # prefixes of axis names; if one such axis is fixed, all are
_MAP = 3  # axes of a map
_FREE = Sizes(
    height=0, width=8, way=2, shot=3, queries=2
)  # sizes of dynamic axes in tracing; torch.export specialises size 1


class Port(NamedTuple):
    """An input or an output of a graph.

    Attributes:
        name: name of the input or output.
        shape: names of dynamic axes, sizes of the others.
        dtype: type, e.g. ``uint8``.
    """

    name: str
    shape: tuple[str | int, ...]
    dtype: str


class Graph(NamedTuple):
    """A traced module.

    Attributes:
        name: name of the graph.
        program: program from torch.export.
        inputs: flat inputs, in order.
        outputs: flat outputs, in order.
        fixed: axes that should be dynamic and are fixed.
    """

    name: Name
    program: ExportedProgram
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    fixed: frozenset[str]


class Examples:
    """Cached examples of a method.

    Args:
        method: method in eval mode on the CPU.
        asked: sizes for axes that cannot be dynamic; ``height`` and ``width`` are those of the encoder's images.
    """

    def __init__(self, method: Method, asked: Sizes) -> None:
        self.method, self.asked = method, asked
        self._made: dict[Sizes, Example] = {}

    def of(self, sizes: Sizes, fixed: frozenset[str]) -> Example:
        """An example of some sizes, with the requested sizes on fixed axes."""
        same = {"height", "width"} if any(axis.startswith(_PIXELS) for axis in fixed) else set()
        asked = {name: getattr(self.asked, name) for name in (fixed | same) & set(Sizes._fields)}
        sizes = sizes._replace(**asked)
        if sizes not in self._made:
            self._made[sizes] = example(self.method, sizes)
        return self._made[sizes]


def traced(examples: Examples) -> list[Graph]:
    """Encoder, learner and matcher of a method.

    Raises:
        FssegError: a graph cannot be traced.
    """
    return [_settled(examples, name) for name in NAMES]


def _settled(examples: Examples, name: Name) -> Graph:
    """A graph with as few fixed axes as possible, at the requested sizes."""
    fixed: frozenset[str] = frozenset()
    free = _FREE._replace(height=examples.asked.height, width=examples.asked.width + _FREE.width)
    while True:
        graph = _trace(examples.method, name, examples.of(free, fixed), fixed)
        if graph.fixed <= fixed:
            return graph
        fixed |= graph.fixed


def _trace(method: Method, name: Name, made: Example, fixed: frozenset[str]) -> Graph:
    given = made.given[name]
    modules: dict[Name, nn.Module] = {"encoder": Encode(method), "learner": Adapt(method), "matcher": Match(method)}
    inputs, outputs = _ports(method, name, made)
    shapes = iter({i: Dim.AUTO for i, axis in enumerate(axes) if axis and axis not in fixed} for _, axes in inputs)
    dynamic = tuple(tuple(next(shapes) for _ in part) if isinstance(part, tuple) else next(shapes) for part in given)
    try:
        with quiet(), torch.no_grad():
            program = torch.export.export(modules[name].eval(), given, dynamic_shapes=dynamic, strict=False)
    except Exception as error:  # torch.export raises many types
        reason = " ".join(str(error).split())[:150]
        raise FssegError(
            f"the {name} of {method.name} cannot be traced ({type(error).__name__}: {reason}): its code branches on "
            "values, or torch.export lacks an operation. Change the method, or use fsseg.Segmenter."
        ) from error
    _drop_unused(program)
    values = {node.name: node.meta["val"] for node in program.graph.nodes if "val" in node.meta}
    signature = program.graph_signature
    taken = [_port(n, axes, values[str(node)]) for (n, axes), node in zip(inputs, signature.user_inputs, strict=True)]
    returned = [_port(n, axes, values[str(o)]) for (n, axes), o in zip(outputs, signature.user_outputs, strict=True)]
    wanted = {axis for _, axes in inputs for axis in axes if axis}
    lost = wanted - {axis for port in taken for axis in port.shape if isinstance(axis, str)}
    return Graph(name, program, tuple(taken), tuple(returned), frozenset(lost))


def _drop_unused(program: ExportedProgram) -> None:
    """Remove weights that the graph does not use, such as the encoder's in a matcher."""
    nodes = {node.name: node for node in program.graph.nodes}
    specs = program.graph_signature.input_specs
    for spec in [spec for spec in specs if spec.kind in (InputKind.PARAMETER, InputKind.BUFFER)]:
        node = nodes[spec.arg.name]
        if not node.users:
            program.graph.erase_node(node)
            specs.remove(spec)
            for weights in (program.state_dict, program.constants):
                weights.pop(str(spec.target), None)
    program.graph_module.recompile()


def _port(name: str, axes: Axes, value: Tensor) -> Port:
    """An input or an output of a traced graph. A symbolic size is dynamic."""
    # A symbol that the tracer has fixed prints as its number.
    sizes = zip(axes, map(str, value.shape), strict=True)
    shape = tuple(int(size) if size.isdigit() else axis or size for axis, size in sizes)
    return Port(name, shape, str(value.dtype).removeprefix("torch."))


def _ports(method: Method, name: Name, made: Example) -> tuple[list[tuple[str, Axes]], list[tuple[str, Axes]]]:
    """Names and axes of a graph's inputs and outputs."""
    state = _state_ports(method, made.wanted["learner"])
    maps = made.wanted["encoder"]
    if name == "encoder":
        return [("images", ("images", None, "height", "width"))], _map_ports("feature", ("images",), maps)
    if name == "learner":
        support = _map_ports("support_feature", ("way", "shot"), maps)
        if method.masks_enter_encoder:
            support = [("support_image", ("way", "shot", None, "height", "width"))]
        return [*support, ("support_mask", ("way", "shot", "height", "width"))], state
    query = _map_ports("query_feature", ("queries",), maps)
    return [*state, *query, ("size", (None,))], [("logits", ("queries", "1 + way", "size[0]", "size[1]"))]


def _map_ports(name: str, lead: Axes, maps: Sequence[Tensor]) -> list[tuple[str, Axes]]:
    """Names and axes of feature maps; several maps are numbered."""
    if len(maps) == 1:
        return [(name, (*lead, None, "rows", "columns"))]
    return [(f"{name}_{i}", (*lead, None, f"rows_{i}", f"columns_{i}")) for i in range(len(maps))]


def _state_ports(method: Method, state: Sequence[Tensor]) -> list[tuple[str, Axes]]:
    """Names and axes of the state, see `Method.state_per`; with ``episode``, every axis may be dynamic.

    Otherwise a part is of vectors, or of maps ``C h w``, whose rows and columns may be dynamic.
    """
    lead: Axes = {"shot": ("way", "shot"), "class": ("way",), "episode": ()}[method.state_per]
    ports: list[tuple[str, Axes]] = []
    for i, part in enumerate(state):
        first = part.ndim - 2 if part.ndim - len(lead) == _MAP else part.ndim
        free = range(0 if method.state_per == "episode" else first, part.ndim)
        rest = (f"state_{i}[{d}]" if d in free else None for d in range(len(lead), part.ndim))
        ports.append((f"state_{i}", (*lead, *rest)))
    return ports


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Suppress prints, logs and warnings of tracers and exporters; failures still raise."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    output = io.StringIO()
    try:
        with contextlib.redirect_stdout(output), contextlib.redirect_stderr(output), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
