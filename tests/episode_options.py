"""Options of `EpisodeData` as one list of arguments."""

from dataclasses import fields
from typing import Any

from fsseg.episodes.options import GROUPS

_GROUP = {field.name: group for group, kind in GROUPS.items() for field in fields(kind)}


def grouped(**options: Any) -> dict[str, Any]:
    """Arguments of `EpisodeData`, where those of its groups are given by their names without the group's."""
    of_groups: dict[str, dict[str, Any]] = {group: {} for group in GROUPS}
    plain = {name: value for name, value in options.items() if name not in _GROUP}
    for name in options.keys() - plain.keys():
        of_groups[_GROUP[name]][name] = options[name]
    return plain | {group: GROUPS[group](**given) for group, given in of_groups.items()}
