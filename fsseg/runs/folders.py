"""Folders of data, runs and results: checked, chosen and written atomically."""

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fsseg import atomic
from fsseg.errors import FssegError
from fsseg.runs.ranks import leads

_RANDOM = 8  # random characters that tempfile adds to a name
# Processes that Lightning starts for DDP run the same command line; they take the folder from this variable.
_CHOSEN = "FSSEG_RUN_FOLDER"


def check_root(root: str | None, dataset: Any) -> None:
    """Refuse a missing data folder before anything is downloaded or built.

    Args:
        root: ``data.root``; if None, the environment variable FSSEG_DATA_ROOT.
        dataset: Class of the data set.

    Raises:
        FssegError: The data set needs a folder, and none is given or the folder does not exist.
    """
    root = root or os.environ.get("FSSEG_DATA_ROOT")
    if not dataset.needs_root:
        return
    if not root:
        raise FssegError(f"{dataset.name} needs `data.root` DIR (or FSSEG_DATA_ROOT), the folder that holds it.")
    if not Path(root).is_dir():
        raise FssegError(f"`data.root` {root}: no such folder.")


def run_folder(out: str | None, name: str, fold: int, resumed: str | None, whichever: bool = False) -> Path:
    """Choose the folder of a training run; `make` creates the folder later, after all checks.

    Args:
        out: ``out``; refused if the folder holds another run.
        name: Name of the experiment.
        fold: Fold of the data set.
        resumed: Checkpoint to resume; ``last.ckpt`` is resumed in its own folder.
        whichever: Resume any checkpoint in its own folder, because ``last.ckpt`` may be lost.

    Raises:
        FssegError: The folder holds another run.
    """
    if "LOCAL_RANK" in os.environ and (chosen := os.environ.get(_CHOSEN)):
        return Path(chosen)
    beside = Path(resumed).parent if resumed and (whichever or Path(resumed).name == "last.ckpt") else None
    if out is not None:
        folder = Path(out)
        if leads():  # the first process may have just created the folder
            refuse_run(folder, resumed if beside else None)
    elif beside and (beside / "config.yaml").is_file():
        folder = beside
        refuse_links(folder)
    else:  # an earlier checkpoint is resumed in a new folder, so that later files are not overwritten
        folder = fresh(Path("runs") / name / f"fold{fold}")
    os.environ[_CHOSEN] = str(folder.resolve())
    return folder


def refuse_run(folder: Path, resumed: str | None) -> None:
    """Refuse a folder that holds a run other than the resumed one.

    Args:
        folder: Folder to write.
        resumed: Checkpoint to resume.

    Raises:
        FssegError: The folder holds another run.
    """
    resumes = resumed is not None and Path(resumed).resolve().parent == folder.resolve()
    if (folder / "config.yaml").exists() and not resumes:
        raise FssegError(f"`out` {folder} already holds a run. Choose another folder, or resume its last.ckpt.")


def refuse_links(folder: Path) -> None:
    """Refuse to write into a folder with links that lead out of it: an untrusted folder may contain such links.

    Raises:
        FssegError: The folder contains such a link.
    """
    for path in folder.iterdir() if folder.is_dir() else ():
        if path.is_symlink() and not path.resolve().is_relative_to(folder.resolve()):
            raise FssegError(f"{path} is a link out of its folder; fsseg writes through no such link. Delete it.")


def is_own(path: Path) -> bool:
    """Whether a file exists and is no link out of its folder; such a link could expose another file of this machine."""
    return path.is_file() and path.resolve().parent == path.parent.resolve()


def forget() -> None:
    """Let the next command of this process choose its own folder."""
    if "LOCAL_RANK" not in os.environ:
        os.environ.pop(_CHOSEN, None)


def empty(folder: Path) -> Path:
    """The folder of ``out``, which must be missing or empty.

    Raises:
        FssegError: The folder holds files.
    """
    folder = folder if folder.name else folder.resolve()
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise FssegError(f"`out` {folder} already holds files. Choose another folder.")
    return folder


@contextmanager
def kept_if(folder: Path, worth: Callable[[], bool]) -> Iterator[None]:
    """Delete a new folder again if the body fails and ``worth`` finds nothing to keep in the folder."""
    new = not folder.exists() or not any(folder.iterdir())
    try:
        yield
    except BaseException:
        if new and not worth():
            shutil.rmtree(folder, ignore_errors=True)
        raise


def fresh(folder: Path) -> Path:
    """The folder, or the first of ``folder-2``, ``folder-3`` ... that does not exist."""
    number, candidate = 1, folder
    while candidate.exists():
        number += 1
        candidate = folder.with_name(f"{folder.name}-{number}")
    return candidate


@contextmanager
def result_folder(folder: Path, keep: Callable[[BaseException, Path], bool] = lambda *_: False) -> Iterator[Path]:
    """A temporary folder for results, which is renamed to its final name once the results are complete.

    Args:
        folder: Final name.
        keep: Whether partial results stay, under the hidden temporary name, when the body fails.

    Raises:
        FssegError: The parent folder cannot be written; this is checked before the body runs.
    """
    make(folder.parent)
    # mkdtemp returns an absolute path since Python 3.12; the given path may be relative.
    part = folder.parent / Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent)).name
    try:
        yield part
        if any(part.iterdir()):
            part.chmod(0o755)
            part.replace(folder)
    except BaseException as error:
        if keep(error, part):
            raise
        shutil.rmtree(part, ignore_errors=True)
        raise
    shutil.rmtree(part, ignore_errors=True)


def left_behind(folder: Path, but: Path | None = None) -> list[Path]:
    """Hidden folders of partial results of earlier commands.

    Args:
        folder: Final name of the results.
        but: The temporary folder of the present command, which is left out.
    """
    prefix = f".{folder.name}-"
    found = [left for left in folder.parent.glob(f"{prefix}*") if len(left.name) == len(prefix) + _RANDOM]
    return [left for left in found if left != but]


def make(folder: Path, results: Path | None = None) -> None:
    """Create a folder and check that files can be written there.

    Args:
        folder: Folder to create.
        results: Path that the error names; by default the folder.

    Raises:
        FssegError: The folder cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=folder):
            pass
    except OSError as error:
        if error.errno in atomic.FULL:
            raise atomic.failure(error, folder) from error
        raise FssegError(
            f"results cannot be written to {results or folder}: {error.strerror}. Choose another `out`."
        ) from error


@contextmanager
def named(option: str, path: Path) -> Iterator[None]:
    """Put an option's name in front of the error if its file cannot be written or has an unknown ending.

    Raises:
        FssegError: The original error with the option's name.
    """
    try:
        yield
    except FssegError as error:
        raise type(error)(f"{option} {error}") from error
    except ValueError as error:
        raise FssegError(f"{option} {path} cannot be written: {' '.join(str(error).split())}.") from error
