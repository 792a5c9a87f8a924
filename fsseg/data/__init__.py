"""Data sets, episodes, and the data module that makes batches of them."""

from fsseg.data.base import Dataset
from fsseg.data.coco import Coco
from fsseg.data.module import EpisodeData
from fsseg.data.pascal import Pascal
from fsseg.data.shapes import Shapes

__all__ = ["Coco", "Dataset", "EpisodeData", "Pascal", "Shapes"]
