"""Data sets on disk: files, class names, folds, images and masks. A data set does not know episodes."""

from fsseg.datasets.base import Dataset
from fsseg.datasets.coco import Coco
from fsseg.datasets.coco_json import CocoJson
from fsseg.datasets.folder import Folder
from fsseg.datasets.labelling_export import LabellingExport
from fsseg.datasets.pascal import Pascal
from fsseg.datasets.shapes import Shapes

__all__ = ["Coco", "CocoJson", "Dataset", "Folder", "LabellingExport", "Pascal", "Shapes"]
