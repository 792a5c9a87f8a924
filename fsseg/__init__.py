"""fsseg: few-shot segmentation experiments on PyTorch Lightning."""

import os
import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fsseg.experiment.commands import fit, test, validate
    from fsseg.segmenter import Prediction, Segmenter

__version__ = "0.1.0"
__all__ = ["Prediction", "Segmenter", "__version__", "fit", "test", "validate"]


def _import_matplotlib() -> None:
    """Import matplotlib while MPLBACKEND is unset: an unknown backend in this variable makes the import fail.

    Jupyter and Colab export a backend of their own package, which another Python may lack, and torchmetrics imports
    matplotlib. A backend that matplotlib knows is set after the import. fsseg draws to files and needs no backend.
    """
    backend = os.environ.pop("MPLBACKEND")
    try:
        import matplotlib

        matplotlib.rcParams["backend"] = backend
    except (ImportError, ValueError):
        pass
    finally:
        os.environ["MPLBACKEND"] = backend


if os.environ.get("MPLBACKEND") and "matplotlib" not in sys.modules:
    _import_matplotlib()


def __getattr__(name: str) -> Any:
    """Import a public name at its first use, so that `fsseg --help` does not import torch."""
    if name not in __all__:
        raise AttributeError(f"module 'fsseg' has no attribute {name!r}")
    module = "fsseg.segmenter" if name[0].isupper() else "fsseg.experiment.commands"
    return getattr(import_module(module), name)
