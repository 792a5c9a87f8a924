"""Export of a method as three graphs, encoder, learner and matcher, for ONNX or torch without fsseg."""

from fsseg.export.export import Exported, dynamic, export
from fsseg.export.files import Format, check_packages

__all__ = ["Exported", "Format", "check_packages", "dynamic", "export"]
