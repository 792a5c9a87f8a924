"""Outcomes of one checkpoint under several protocols, or on several data sets."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from fsseg.results.table_file import table_content
from fsseg.results.tables import Table


class Outcome(NamedTuple):
    """Outcome of one protocol or data set: a table, or the reason why there is none."""

    name: str
    table: Table | None
    refused: str = ""


def contents(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """Content of each table, or the reason why there is none, by the outcome's name."""
    return {o.name: table_content(o.table) if o.table else {"refused": o.refused} for o in outcomes}
