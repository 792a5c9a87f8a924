"""Largest differences of exported graphs from the method, by method and format: the table of docs/export.md.

python benchmarks/export.py [METHOD ...]
"""

import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import torch

from fsseg import Segmenter
from fsseg.encoders import ConvNet
from fsseg.export import dynamic, export
from fsseg.methods import (
    FGBG,
    FWB,
    OSLSM,
    CANet,
    CoFCN,
    GuidedNetworks,
    Method,
    MixtureClassifier,
    PANet,
    PFENet,
    PMMs,
    RPMMs,
    SGOne,
)

_SIZE = 64
METHODS: dict[str, Callable[[], Method]] = {
    "PANet": lambda: PANet(ConvNet()),
    "PMMs": lambda: PMMs(ConvNet(), channels=32),
    "RPMMs": lambda: RPMMs(ConvNet(), channels=32),
    "CANet": lambda: CANet(ConvNet(), channels=32),
    "PFENet": lambda: PFENet(ConvNet(), channels=32),
    "SG-One": lambda: SGOne(ConvNet(), guidance=32, channels=32),
    "FWB (no boosting)": lambda: FWB(ConvNet(), experts=0, channels=32),
    "FG-BG": lambda: started(FGBG(ConvNet())),
    "co-FCN": lambda: started(CoFCN(ConvNet())),
    "OSLSM": lambda: OSLSM(ConvNet()),
    "mixture classifier": lambda: MixtureClassifier(ConvNet()),
    "guided networks": lambda: started(GuidedNetworks(ConvNet())),
}


def started(method: Method) -> Method:
    """A method whose classifier is random; it starts at zero."""
    torch.nn.init.normal_(method.get_parameter("classify.weight"), std=0.1)
    return method


def main() -> None:
    """Print a line for each method: what of its matcher is dynamic, what is fixed, and differences."""
    for name in sys.argv[1:] or METHODS:
        torch.manual_seed(0)
        segmenter, cells = Segmenter(METHODS[name](), _SIZE, device="cpu"), []
        for kind in ("onnx", "torch"):
            with tempfile.TemporaryDirectory() as folder:
                written = export(segmenter, Path(folder), kind)
            cells.append(f"{max(one.difference.relative for one in written):.1e}")
        matcher = written[-1].graph
        axes = " ".join(axis for axis in dynamic(matcher) if axis not in ("rows", "columns"))
        print(f"| {name} | {axes} | {' '.join(matcher.fixed) or '-'} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
