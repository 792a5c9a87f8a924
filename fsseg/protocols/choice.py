"""A named protocol's value of one field, with its source."""

from typing import Any, NamedTuple


class Choice(NamedTuple):
    """A protocol's value of one field.

    Attributes:
        value: value on any data set.
        source: file of the official code, or the reason.
        pascal: value on PASCAL-5i, if it differs.
        coco: value on COCO-20i, if it differs.
        suim: value on SUIM, if it differs.
    """

    value: Any
    source: str
    pascal: Any = None
    coco: Any = None
    suim: Any = None

    def on(self, family: str) -> Any:
        """The value on a family of data sets."""
        special = {"pascal": self.pascal, "coco": self.coco, "suim": self.suim}.get(family)
        return self.value if special is None else special
