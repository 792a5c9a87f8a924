"""Finds experiment files, and words that errors of options share, such as the nearest name. Imports no torch."""

from collections.abc import Iterable
from difflib import get_close_matches
from pathlib import Path

import fsseg
from fsseg import class_paths
from fsseg.errors import FssegError

# Types of options, in the words of errors.
IN_WORDS = {int: "a whole number", float: "a number", bool: "true or false", str: "a text", list: "a list"}


def experiments() -> dict[str, Path]:
    """Experiment files by name."""
    folder = experiment_folder()
    return {path.stem: path for path in folder.glob("*.yaml")} if folder else {}


def experiment_folder() -> Path | None:
    """Folder of the experiment files, in the installed package or in the repository; None if there is none."""
    package = Path(fsseg.__file__).parent
    for folder in (package / "experiments", package.parent / "experiments"):
        if folder.is_dir():
            return folder
    return None


def find_experiment(path: str) -> str:
    """Path of a configuration file; ``experiments/NAME.yaml`` and ``NAME`` are found from any working folder.

    Raises:
        FssegError: The file does not exist.
    """
    if Path(path).is_file():
        return path
    folder = experiment_folder()
    if (
        folder
        and Path(path).parts[:1] == ("experiments",)
        and (inside := folder.joinpath(*Path(path).parts[1:])).is_file()
    ):
        return str(inside)
    if path in experiments():
        return str(experiments()[path])
    guess = did_you_mean(Path(path).stem, sorted(experiments()))
    raise FssegError(f"`config` {path}: no such file.{guess} Experiments: {', '.join(sorted(experiments()))}.")


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """A hint at the nearest known word, or ""; an option of the same name in another group comes first."""
    words = list(known)
    same = [one for one in words if class_paths.last_name(one) == class_paths.last_name(word)]
    near = get_close_matches(word, same or words, n=1)
    return f" Did you mean {near[0]}?" if near else ""
