"""A method as three graphs, ONNX or torch's, that segment without fsseg: encoder, learner and matcher."""

from fsseg.export.export import Exported, dynamic, export
from fsseg.export.files import Format, check_packages

__all__ = ["Exported", "Format", "check_packages", "dynamic", "export"]
