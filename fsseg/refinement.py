"""Refined tests: logits follow the borders of the query image before they are compared."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from fsseg.episode import Batch
from fsseg.methods.base import Method
from fsseg.ops.refine import refined


class Refinement:
    """Logits of test queries after `fsseg.ops.refine.refined`, at the size of the queries' masks.

    Args:
        method: method in eval mode. The finest of its feature maps gives the size of a cell.
        data: `EpisodeData` after setup for the test, which loads the query images.
    """

    def __init__(self, method: Method, data: Any) -> None:
        self.method, self.data = method, data
        self._cells: dict[tuple[int, int], tuple[int, int]] = {}  # by size of the encoded images

    def __call__(self, logits: Float[Tensor, "B Q L H W"], batch: Batch) -> Float[Tensor, "B Q L H W"]:
        """Refined logits; padding around smaller queries stays. The batch needs no images."""
        cells, found = self.cells(batch.encoded_size), logits.clone()
        for b, sizes in enumerate(batch.query_size.tolist()):
            for q, (height, width) in enumerate(sizes):
                image = self.data.view.true_image(self.data.dataset.image(int(batch.query_id[b, q])))
                place = (b, q, slice(None), slice(height), slice(width))
                found[place] = refined(logits[place], image, cells)
        return found

    def cells(self, size: tuple[int, int]) -> tuple[int, int]:
        """Height and width of the finest feature map of images of a size."""
        if size not in self._cells:
            with torch.no_grad():
                blank = torch.zeros((1, 3, *size), dtype=torch.uint8, device=self.method.encoder.mean.device)
                self._cells[size] = max((one.shape[-2], one.shape[-1]) for one in self.method.encode(blank))
        return self._cells[size]
