"""Methods: one file per paper."""

from fsseg.methods.base import Method
from fsseg.methods.panet import PANet

__all__ = ["Method", "PANet"]
