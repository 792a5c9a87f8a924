"""Weights of the golden cases: numbers from a seed, so that whole networks need not be stored. Needs numpy only."""

from collections.abc import Sequence

import numpy as np


def fill(shape: Sequence[int], kind: str, seed: int) -> np.ndarray:
    """A float32 tensor of numpy's legacy generator, whose numbers are the same in every version.

    Args:
        shape: of the tensor; of a convolution or linear layer, all but the first entry are its fan-in.
        kind: conv_w (He), bias, bn_w, bn_b, bn_m and bn_v (weight, bias, running mean and variance of a BatchNorm, or
            a GroupNorm's weight and bias), feat (features after a ReLU), corr (correlations).
        seed: of this tensor alone.
    """
    random = np.random.RandomState(seed)
    if kind == "conv_w":
        values = random.randn(*shape) * np.sqrt(2.0 / int(np.prod(shape[1:])))
    elif kind == "bias":
        values = random.randn(*shape) * 0.05
    elif kind == "bn_w":
        values = random.uniform(0.5, 1.0, shape)
    elif kind in ("bn_b", "bn_m"):
        values = random.randn(*shape) * 0.1
    elif kind == "bn_v":
        values = random.uniform(0.5, 1.5, shape)
    elif kind == "feat":
        values = np.maximum(random.randn(*shape), 0.0)
    elif kind == "corr":
        values = np.clip(random.randn(*shape) * 0.3, 0.0, 1.0)
    else:
        raise ValueError(kind)
    return values.astype(np.float32)
