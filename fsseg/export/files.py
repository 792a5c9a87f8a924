"""Writing and running files of graphs. The files have no paths or stack traces of the machine that wrote them."""

import io
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from fsseg import atomic
from fsseg.errors import FssegError
from fsseg.export.examples import Given, leaves
from fsseg.export.graphs import Graph, quiet

Format = Literal["onnx", "torch"]
ENDINGS: dict[Format, str] = {"onnx": ".onnx", "torch": ".pt2"}
# The function of a graph in a file: from inputs to outputs.
Run = Callable[[Given], Sequence[Tensor]]

# Metadata of a graph that may contain paths of this machine.
_TRACES = ("stack_trace", "nn_module_stack", "source_fn_stack", "from_node", "torch_fn")


def check_packages(kind: Format) -> None:
    """Check that the packages for a format are installed.

    Raises:
        FssegError: a package is missing.
    """
    if kind == "torch":
        return
    missing = [name for name in ("onnx", "onnxscript", "onnxruntime") if find_spec(name) is None]
    if missing:
        raise FssegError(
            f'--to onnx needs {" and ".join(missing)}, not installed: pip install "fsseg[export]", or give --to torch.'
        )


def write(graph: Graph, path: Path, kind: Format) -> dict[str, int]:
    """Write a graph.

    Returns:
        Entries for ``export.json``: ONNX's ``opset``.

    Raises:
        FssegError: the exporter fails, or the file cannot be written.
    """
    try:
        with quiet(), torch.no_grad():
            content, extra = _onnx(graph) if kind == "onnx" else (_torch(graph), {})
    except Exception as error:  # exporters raise many types
        text = " ".join(str(error).split())[:150]
        raise FssegError(f"{path.name} cannot be made ({type(error).__name__}: {text}). Try the other --to.") from error
    atomic.write_bytes(path, content)
    return extra


def _torch(graph: Graph) -> bytes:
    """Content of a file, built in memory, because torch's writer aborts the process on a full disk."""
    for node in graph.program.graph.nodes:
        for trace in _TRACES:
            node.meta.pop(trace, None)
    graph.program._example_inputs = None  # torch.export.save would write them
    made = io.BytesIO()
    torch.export.save(graph.program, made)
    return made.getvalue()


def _onnx(graph: Graph) -> tuple[bytes, dict[str, int]]:
    """Content of a file, and its ONNX ``opset``."""
    import onnx

    made = torch.onnx.export(
        graph.program,
        input_names=[port.name for port in graph.inputs],
        output_names=[port.name for port in graph.outputs],
        dynamo=True,
        verbose=False,
    )
    assert made is not None
    model = made.model_proto
    for ports, values in ((graph.inputs, model.graph.input), (graph.outputs, model.graph.output)):
        for port, value in zip(ports, values, strict=True):
            assert value.name == port.name
            for size, dim in zip(port.shape, value.type.tensor_type.shape.dim, strict=True):
                if isinstance(size, str):
                    dim.dim_param = size
    del model.graph.value_info[:]  # shapes of intermediate values with the tracer's names; readers infer them
    for part in (
        model,
        model.graph,
        *model.graph.node,
        *model.functions,
        *(n for f in model.functions for n in f.node),
    ):
        part.doc_string = ""
        del part.metadata_props[:]
    for value in (*model.graph.input, *model.graph.output, *model.graph.initializer):
        value.doc_string = ""
        del value.metadata_props[:]
    onnx.checker.check_model(model)
    opset = max(int(entry.version) for entry in model.opset_import if entry.domain in ("", "ai.onnx"))
    return model.SerializeToString(), {"opset": opset}


def opened(path: Path, kind: Format) -> Run:
    """The function of a file, by torch or ONNX Runtime without the method."""
    if kind == "torch":
        with quiet():
            module = torch.export.load(path).module()

        def run(given: Given) -> Sequence[Tensor]:
            with torch.no_grad():
                found = module(*given)
            return found if isinstance(found, tuple | list) else (found,)

        return run
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # failures still raise
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    names = [value.name for value in session.get_inputs()]

    def run_onnx(given: Given) -> Sequence[Tensor]:
        arrays = [np.ascontiguousarray(one.numpy()) for one in leaves(given)]
        return [torch.from_numpy(found) for found in session.run(None, dict(zip(names, arrays, strict=True)))]

    return run_onnx
