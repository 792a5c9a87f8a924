"""Cached features: each image is encoded once in a test, and in a training with a fixed encoder."""

from fsseg.feature_cache.store import Context, FeatureStore, NoRoomError, Tracked
from fsseg.feature_cache.testing import TestFeatures
from fsseg.feature_cache.training import TrainingFeatures

__all__ = ["Context", "FeatureStore", "NoRoomError", "TestFeatures", "Tracked", "TrainingFeatures"]
