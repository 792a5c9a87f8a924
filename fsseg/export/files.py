"""Graphs in files, without a word of the machine that made them, and what the files compute."""

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
# Of a graph in a file: from what it is given to what it gives.
Run = Callable[[Given], Sequence[Tensor]]

_TOLD = ("stack_trace", "nn_module_stack", "source_fn_stack", "from_node", "torch_fn")  # paths of our files among it


def check_packages(kind: Format) -> None:
    """Refuse what needs packages that are not there, before any work.

    Raises:
        FssegError: one is missing.
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
        What else a reader may want to know: ONNX's ``opset``.

    Raises:
        FssegError: the exporter refuses it, or the file cannot be written.
    """
    try:
        with quiet(), torch.no_grad():
            content, told = _onnx(graph) if kind == "onnx" else (_torch(graph), {})
    except Exception as error:  # the exporters raise nearly anything
        said = " ".join(str(error).split())[:150]
        raise FssegError(f"{path.name} cannot be made ({type(error).__name__}: {said}). Try the other --to.") from error
    atomic.write_bytes(path, content)
    return told


def _torch(graph: Graph) -> bytes:
    """Content of a file; in memory, since torch's writer aborts the process where a disk is full."""
    for node in graph.program.graph.nodes:
        for told in _TOLD:
            node.meta.pop(told, None)
    graph.program._example_inputs = None  # they would be saved too
    made = io.BytesIO()
    torch.export.save(graph.program, made)
    return made.getvalue()


def _onnx(graph: Graph) -> tuple[bytes, dict[str, int]]:
    """Content of a file, and its ``opset``."""
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
    del model.graph.value_info[:]  # sizes between, by the tracer's names; a reader infers them
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
    """What a file computes, by a reader that knows nothing of the method."""
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
    options.log_severity_level = 4  # a failure is an exception all the same
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    names = [value.name for value in session.get_inputs()]

    def run_onnx(given: Given) -> Sequence[Tensor]:
        arrays = [np.ascontiguousarray(one.numpy()) for one in leaves(given)]
        return [torch.from_numpy(found) for found in session.run(None, dict(zip(names, arrays, strict=True)))]

    return run_onnx
