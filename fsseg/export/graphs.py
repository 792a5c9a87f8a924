"""Graphs of a method, traced by torch.export with all sizes dynamic that the method leaves dynamic."""

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
from fsseg.export.modules import Encode, Learn, Match
from fsseg.methods.base import Method

Name = Literal["encoder", "learner", "matcher"]
NAMES: tuple[Name, ...] = ("encoder", "learner", "matcher")

# Names of the axes that are to be dynamic; the others are numbers of the method's.
Axes = tuple[str | None, ...]
_PIXELS = ("height", "width", "rows", "columns")  # beginnings of axes of which all are fixed where one is
_FREE = Sizes(height=0, width=8, way=2, shot=3, queries=2)  # where an axis is dynamic; torch.export takes 1 as fixed


class Port(NamedTuple):
    """An input or an output of a graph.

    Attributes:
        name: of it.
        shape: names of dynamic axes, numbers of the others.
        dtype: such as ``uint8``.
    """

    name: str
    shape: tuple[str | int, ...]
    dtype: str


class Graph(NamedTuple):
    """A traced module.

    Attributes:
        name: what it computes.
        program: of torch.export.
        inputs: flat, in order.
        outputs: likewise.
        fixed: axes that were to be dynamic and are not.
    """

    name: Name
    program: ExportedProgram
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    fixed: frozenset[str]


class Examples:
    """Examples of a method, each made once.

    Args:
        method: in eval mode, on the CPU.
        asked: sizes of what cannot be dynamic; ``height`` and ``width`` are what images are shown at.
    """

    def __init__(self, method: Method, asked: Sizes) -> None:
        self.method, self.asked = method, asked
        self._made: dict[Sizes, Example] = {}

    def of(self, sizes: Sizes, fixed: frozenset[str]) -> Example:
        """An example of some sizes, but for axes that are fixed."""
        same = {"height", "width"} if any(axis.startswith(_PIXELS) for axis in fixed) else set()
        kept = {name: getattr(self.asked, name) for name in (fixed | same) & set(Sizes._fields)}
        sizes = sizes._replace(**kept)
        if sizes not in self._made:
            self._made[sizes] = example(self.method, sizes)
        return self._made[sizes]


def traced(examples: Examples) -> list[Graph]:
    """Encoder, learner and matcher of a method.

    Raises:
        FssegError: one of them cannot be traced.
    """
    return [_settled(examples, name) for name in NAMES]


def _settled(examples: Examples, name: Name) -> Graph:
    """A graph with as few fixed axes as can be; the fixed ones have the sizes that were asked for."""
    fixed: frozenset[str] = frozenset()
    free = _FREE._replace(height=examples.asked.height, width=examples.asked.width + _FREE.width)
    while True:
        graph = _trace(examples.method, name, examples.of(free, fixed), fixed)
        if graph.fixed <= fixed:
            return graph
        fixed |= graph.fixed


def _trace(method: Method, name: Name, made: Example, fixed: frozenset[str]) -> Graph:
    given = made.given[name]
    modules: dict[Name, nn.Module] = {"encoder": Encode(method), "learner": Learn(method), "matcher": Match(method)}
    inputs, outputs = _ports(method, name, made)
    shapes = iter({i: Dim.AUTO for i, axis in enumerate(axes) if axis and axis not in fixed} for _, axes in inputs)
    dynamic = tuple(tuple(next(shapes) for _ in part) if isinstance(part, tuple) else next(shapes) for part in given)
    try:
        with quiet(), torch.no_grad():
            program = torch.export.export(modules[name].eval(), given, dynamic_shapes=dynamic, strict=False)
    except Exception as error:  # torch.export raises nearly anything
        said = " ".join(str(error).split())[:150]
        raise FssegError(
            f"the {name} of {method.name} cannot be traced ({type(error).__name__}: {said}): its code decides by "
            "values, or does what torch.export does not know. Change the code of the method, or use fsseg.Segmenter."
        ) from error
    _drop_unused(program)
    values = {node.name: node.meta["val"] for node in program.graph.nodes if "val" in node.meta}
    signature = program.graph_signature
    taken = [_port(n, axes, values[str(node)]) for (n, axes), node in zip(inputs, signature.user_inputs, strict=True)]
    given_back = [_port(n, axes, values[str(o)]) for (n, axes), o in zip(outputs, signature.user_outputs, strict=True)]
    wanted = {axis for _, axes in inputs for axis in axes if axis}
    lost = wanted - {axis for port in taken for axis in port.shape if isinstance(axis, str)}
    return Graph(name, program, tuple(taken), tuple(given_back), frozenset(lost))


def _drop_unused(program: ExportedProgram) -> None:
    """Take away the method's weights that the graph has no use for, such as the encoder's in a matcher."""
    nodes = {node.name: node for node in program.graph.nodes}
    specs = program.graph_signature.input_specs
    for spec in [spec for spec in specs if spec.kind in (InputKind.PARAMETER, InputKind.BUFFER)]:
        node = nodes[spec.arg.name]
        if not node.users:
            program.graph.erase_node(node)
            specs.remove(spec)
            for kept in (program.state_dict, program.constants):
                kept.pop(str(spec.target), None)
    program.graph_module.recompile()


def _port(name: str, axes: Axes, value: Tensor) -> Port:
    """An input or an output, as it was traced: a size that is still a symbol is dynamic."""
    # A symbol that the tracer has fixed prints as its number.
    sizes = zip(axes, map(str, value.shape), strict=True)
    shape = tuple(int(size) if size.isdigit() else axis or size for axis, size in sizes)
    return Port(name, shape, str(value.dtype).removeprefix("torch."))


def _ports(method: Method, name: Name, made: Example) -> tuple[list[tuple[str, Axes]], list[tuple[str, Axes]]]:
    """Names of a graph's inputs and outputs, and of their axes."""
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
    """Feature maps: one has the plain name, several are numbered."""
    if len(maps) == 1:
        return [(name, (*lead, None, "rows", "columns"))]
    return [(f"{name}_{i}", (*lead, None, f"rows_{i}", f"columns_{i}")) for i in range(len(maps))]


def _state_ports(method: Method, state: Sequence[Tensor]) -> list[tuple[str, Axes]]:
    """Parts of the state, see `Method.state_per`; of an episode's, any axis may depend on its sizes."""
    lead: Axes = {"shot": ("way", "shot"), "class": ("way",), "episode": ()}[method.state_per]
    ports: list[tuple[str, Axes]] = []
    for i, part in enumerate(state):
        rest = [f"state_{i}[{d}]" if method.state_per == "episode" else None for d in range(len(lead), part.ndim)]
        ports.append((f"state_{i}", (*lead, *rest)))
    return ports


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """What tracers and exporters print, log and warn of is theirs: a failure is an exception all the same."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    said = io.StringIO()
    try:
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
