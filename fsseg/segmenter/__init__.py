"""Segmentation of one's own pictures, see `Segmenter`."""

from fsseg.segmenter.segmenter import Prediction, Segmenter

__all__ = ["Prediction", "Segmenter"]
