"""How many pictures an encoder was shown."""

import threading
from typing import Any

from torch import nn


class Passes:
    """Counts pictures that pass an encoder, for each thread on its own.

    Args:
        encoder: whose.
    """

    def __init__(self, encoder: nn.Module) -> None:
        self._mine = threading.local()
        encoder.register_forward_pre_hook(self._count)

    def _count(self, _: nn.Module, inputs: tuple[Any, ...]) -> None:
        self._mine.count = self.so_far + len(inputs[0])

    @property
    def so_far(self) -> int:
        """Of this thread."""
        count: int = getattr(self._mine, "count", 0)
        return count
