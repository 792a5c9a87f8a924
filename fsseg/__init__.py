"""fsseg: few-shot segmentation experiments on PyTorch Lightning."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fsseg.segmenter import Prediction, Segmenter

__version__ = "0.1.0"
__all__ = ["Prediction", "Segmenter", "__version__"]


def __getattr__(name: str) -> Any:
    """`Segmenter` and `Prediction`, imported when they are asked for: they bring torch, `fsseg --help` does without."""
    if name not in __all__:
        raise AttributeError(f"module 'fsseg' has no attribute {name!r}")
    import fsseg.segmenter

    return getattr(fsseg.segmenter, name)
