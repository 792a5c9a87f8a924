"""Cache of the feature maps of images."""

import threading
from collections import OrderedDict
from hashlib import sha256

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from fsseg.episode import Image, Mask
from fsseg.methods.base import Maps, Method
from fsseg.segmenter.inputs import to_tensor
from fsseg.segmenter.support_state import Support
from fsseg.segmenter.tiling import Canvas, fill, fill_mask, show

_CACHED = 64  # images, whose maps have a few MB each


class ImageFeatures:
    """Feature maps of images; the most recently used ones are cached. Thread-safe.

    Args:
        method: method in eval mode.
        canvas: how images are resized.
        device: device of the method.
    """

    def __init__(self, method: Method, canvas: Canvas, device: torch.device) -> None:
        self.method, self.canvas, self.device = method, canvas, device
        self._colour = np.rint(255 * method.encoder.mean.flatten().cpu().numpy()).astype(np.uint8)
        self._features: OrderedDict[bytes, Maps] = OrderedDict()
        self._lock = threading.Lock()

    def query(self, image: Image, canvas: Canvas | None = None) -> tuple[Float[Tensor, "_ _ _"], ...]:
        """Feature maps of a query or of a part of one, by default on the segmenter's canvas."""
        return tuple(one[0] for one in self._maps(show(image, canvas or self.canvas)))

    def support(self, image: Image) -> Support:
        """A support with an empty mask: feature maps of its parts, and the parts if masks enter the encoder."""
        windows = self.canvas.windows(image.shape[0], image.shape[1])
        parts = [fill(image[window.rows, window.columns], self.canvas, self._colour) for window in windows]
        maps = tuple(map(torch.cat, zip(*map(self._maps, parts), strict=True)))
        images = torch.stack([to_tensor(part) for part in parts]) if self.method.masks_enter_encoder else None
        mask = torch.zeros(len(parts), *parts[0].shape[:2], dtype=torch.uint8)
        return Support(maps, mask, (image.shape[0], image.shape[1]), None if images is None else images.to(self.device))

    def mask(self, labels: Mask) -> UInt8[Tensor, "m S S"]:
        """Labels of the parts of a support."""
        windows = self.canvas.windows(labels.shape[0], labels.shape[1])
        parts = [fill_mask(labels[window.rows, window.columns], self.canvas) for window in windows]
        return torch.from_numpy(np.stack(parts)).to(self.device)

    def _maps(self, image: Image) -> Maps:
        """Feature maps ``1 C h w`` of a resized image, from the cache if possible."""
        key = sha256(np.ascontiguousarray(image).tobytes()).digest() + str(image.shape).encode()
        with self._lock:
            if key in self._features:
                self._features.move_to_end(key)
                return self._features[key]
        with torch.inference_mode():
            maps = self.method.encode(to_tensor(image)[None].to(self.device))
        with self._lock:
            self._features[key] = maps
            while len(self._features) > _CACHED:
                self._features.popitem(last=False)
        return maps
