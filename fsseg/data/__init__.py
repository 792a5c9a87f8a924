"""Data sets, episodes, and the data module that makes batches of them."""

from fsseg.data.base import Dataset
from fsseg.data.coco import Coco
from fsseg.data.coco_json import CocoJson
from fsseg.data.folder import Folder
from fsseg.data.module import EpisodeData
from fsseg.data.pascal import Pascal
from fsseg.data.shapes import Shapes

__all__ = ["Coco", "CocoJson", "Dataset", "EpisodeData", "Folder", "Pascal", "Shapes"]
