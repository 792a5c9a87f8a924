"""Data sets on disk: files, class names, folds, images and masks. A data set does not know episodes."""

from fsseg.datasets.base import Dataset
from fsseg.datasets.chest_xray import ChestXRay
from fsseg.datasets.coco import Coco
from fsseg.datasets.coco_json import CocoJson
from fsseg.datasets.deepglobe import DeepGlobe
from fsseg.datasets.folder import Folder
from fsseg.datasets.fss1000 import FSS1000
from fsseg.datasets.isaid import ISAID
from fsseg.datasets.isic2018 import ISIC2018
from fsseg.datasets.labelling_export import LabellingExport
from fsseg.datasets.lvis import Lvis
from fsseg.datasets.pascal import Pascal
from fsseg.datasets.shapes import Shapes
from fsseg.datasets.suim import SUIM

__all__ = [
    "FSS1000",
    "ISAID",
    "ISIC2018",
    "SUIM",
    "ChestXRay",
    "Coco",
    "CocoJson",
    "Dataset",
    "DeepGlobe",
    "Folder",
    "LabellingExport",
    "Lvis",
    "Pascal",
    "Shapes",
]
