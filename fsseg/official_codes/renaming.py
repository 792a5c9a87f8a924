"""Names of tensors: from an authors' code to ours."""

from collections.abc import Callable, Mapping

Rename = Callable[[str], str | None]  # official name to ours; None for tensors that a method does not have


def by_prefix(prefixes: Mapping[str, str]) -> Rename:
    """A renaming that replaces the longest listed prefix of a name; names without one become None."""

    def rename(official: str) -> str | None:
        fitting = [prefix for prefix in prefixes if official.startswith(prefix)]
        if not fitting:
            return None
        longest = max(fitting, key=len)
        return prefixes[longest] + official.removeprefix(longest)

    return rename
