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
    """Import matplotlib without MPLBACKEND, which it refuses to be imported with where it does not know the backend.

    Jupyter and Colab export their own, which another Python need not have, and torchmetrics imports matplotlib. A
    backend that matplotlib knows is set, as it would have been. fsseg itself draws to files and needs none.
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
    """What the package offers, imported at its first use: it imports torch, which `fsseg --help` does without."""
    if name not in __all__:
        raise AttributeError(f"module 'fsseg' has no attribute {name!r}")
    module = "fsseg.segmenter" if name[0].isupper() else "fsseg.experiment.commands"
    return getattr(import_module(module), name)
