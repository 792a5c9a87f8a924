"""Count the images that pass through an encoder."""

import threading
from typing import Any

from torch import nn


class Passes:
    """Counts images that pass through an encoder, separately for each thread.

    Args:
        encoder: gets a forward hook.
    """

    def __init__(self, encoder: nn.Module) -> None:
        self._mine = threading.local()
        encoder.register_forward_pre_hook(self._count)

    def _count(self, _: nn.Module, inputs: tuple[Any, ...]) -> None:
        self._mine.count = self.so_far + len(inputs[0])

    @property
    def so_far(self) -> int:
        """Number of images that the current thread has encoded."""
        count: int = getattr(self._mine, "count", 0)
        return count
