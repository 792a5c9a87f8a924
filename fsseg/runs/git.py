"""The git commit of a folder, for the record of a training."""

import subprocess
from pathlib import Path

_SECONDS = 10  # git waits for locks and slow disks
_QUIET = ("-c", "core.fsmonitor=false")  # git status would start the program that a repository names here


def commit(folder: Path) -> str:
    """Commit of the repository that holds a folder, with ``+changes`` if tracked files differ; "" without a commit.

    Args:
        folder: The folder.
    """
    found = _output(folder, "rev-parse", "--verify", "HEAD")
    if not found:
        return ""
    return f"{found}+changes" if _output(folder, "status", "--porcelain", "--untracked-files=no") else found


def commit_of_package(folder: Path) -> str:
    """`commit` of a package that runs from a checkout; "" for an installed one, even within another repository.

    Args:
        folder: The package's folder.
    """
    top = _output(folder, "rev-parse", "--show-toplevel")
    return commit(folder) if top and Path(top).resolve() == folder.resolve().parent else ""


def _output(folder: Path, *words: str) -> str:
    """What git prints; "" without git, a repository, or an answer in time."""
    try:
        ran = subprocess.run(
            ["git", *_QUIET, "-C", str(folder), *words], capture_output=True, text=True, timeout=_SECONDS, check=True
        )
    except (OSError, subprocess.SubprocessError, UnicodeDecodeError):
        return ""
    return ran.stdout.strip()
