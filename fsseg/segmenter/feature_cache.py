"""Pictures as a method's features, each encoded once."""

import threading
from collections import OrderedDict
from hashlib import sha256

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from fsseg.datasets.base import Image, Mask
from fsseg.methods.base import Method
from fsseg.segmenter.inputs import to_tensor
from fsseg.segmenter.tiling import Canvas, fill, fill_mask, show

_KEPT = 64  # feature maps, of some MB each


class Encoded:
    """Features of pictures, the latest of which are kept; for several threads.

    Args:
        method: encodes.
        canvas: how pictures are shown to it.
        device: the method's.
    """

    def __init__(self, method: Method, canvas: Canvas, device: torch.device) -> None:
        self.method, self.canvas, self.device = method, canvas, device
        self._colour = np.rint(255 * method.encoder.mean.flatten().cpu().numpy()).astype(np.uint8)
        self._features: OrderedDict[bytes, Tensor] = OrderedDict()
        self._keeping = threading.Lock()

    def query(self, image: Image) -> Float[Tensor, "C h w"]:
        """Features of a query, or of a part of one."""
        return self._feature(show(image, self.canvas))

    def support(self, image: Image) -> Float[Tensor, "m C h w"]:
        """Features of a support's parts."""
        windows = self.canvas.windows(image.shape[0], image.shape[1])
        parts = [fill(image[window.rows, window.columns], self.canvas, self._colour) for window in windows]
        return torch.stack([self._feature(part) for part in parts])

    def mask(self, labels: Mask) -> UInt8[Tensor, "m S S"]:
        """A support's labels, part by part."""
        windows = self.canvas.windows(labels.shape[0], labels.shape[1])
        parts = [fill_mask(labels[window.rows, window.columns], self.canvas) for window in windows]
        return torch.from_numpy(np.stack(parts)).to(self.device)

    def _feature(self, image: Image) -> Float[Tensor, "C h w"]:
        key = sha256(np.ascontiguousarray(image).tobytes()).digest() + str(image.shape).encode()
        with self._keeping:
            if key in self._features:
                self._features.move_to_end(key)
                return self._features[key]
        with torch.inference_mode():
            feature: Tensor = self.method.encode(to_tensor(image)[None].to(self.device))[0]
        with self._keeping:
            self._features[key] = feature
            while len(self._features) > _KEPT:
                self._features.popitem(last=False)
        return feature
