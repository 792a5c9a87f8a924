"""Where data comes from, and where runs and results go: fresh folders, written atomically."""

import importlib
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

_RANDOM = 8  # characters that tempfile adds to a name
# Processes that Lightning starts for DDP run the same command line; they must not choose a folder of their own.
_CHOSEN = "FSSEG_RUN_FOLDER"


def check_root(root: str | None, dataset: Any) -> None:
    """Refuse a data folder that isn't there before anything is downloaded or built.

    Args:
        root: ``--data.root``; the environment variable FSSEG_DATA_ROOT where it is None.
        dataset: class of the data set.

    Raises:
        FssegError: no folder, where the data set needs one.
    """
    root = root or os.environ.get("FSSEG_DATA_ROOT")
    if not dataset.needs_root:
        return
    if not root:
        raise FssegError(f"{dataset.name} needs --data.root DIR (or FSSEG_DATA_ROOT), the folder that holds it.")
    if not Path(root).is_dir():
        raise FssegError(f"--data.root {root}: no such folder.")


def named_class(path: str) -> Any:
    """The class of a dotted path."""
    module, _, name = path.rpartition(".")
    return getattr(importlib.import_module(module), name)


def run_folder(out: str | None, name: str, fold: int, resumed: str | None, whichever: bool = False) -> Path:
    """The folder of a training run; `make` makes it once nothing else can be refused.

    Args:
        out: asked for by the user; refused where it holds another run.
        name: of the experiment.
        fold: its fold.
        resumed: checkpoint to resume; a run's last one is resumed in its own folder.
        whichever: any other one is, too, since the last was lost.

    Raises:
        FssegError: the folder holds another run.
    """
    if "LOCAL_RANK" in os.environ and (chosen := os.environ.get(_CHOSEN)):
        return Path(chosen)
    beside = Path(resumed).parent if resumed and (whichever or Path(resumed).name == "last.ckpt") else None
    if out is not None:
        folder = Path(out)
        if leads():  # to the other processes the folder may be one that the first has just begun
            refuse_run(folder, resumed if beside else None)
    elif beside and (beside / "config.yaml").is_file():
        folder = beside
        refuse_links(folder)
    else:  # also for a checkpoint that is not a run's last: resuming it must not overwrite what came later
        folder = fresh(Path("runs") / name / f"fold{fold}")
    os.environ[_CHOSEN] = str(folder.resolve())
    return folder


def refuse_run(folder: Path, resumed: str | None) -> None:
    """Refuse a folder that holds a run other than the resumed one.

    Args:
        folder: that is going to be written.
        resumed: checkpoint to resume.

    Raises:
        FssegError: it does.
    """
    goes_on = resumed is not None and Path(resumed).resolve().parent == folder.resolve()
    if (folder / "config.yaml").exists() and not goes_on:
        raise FssegError(f"--out {folder} already holds a run. Choose another folder, or resume its last.ckpt.")


def refuse_links(folder: Path) -> None:
    """Refuse to write into a folder with links that lead out of it; whoever made the folder may have planted them.

    Raises:
        FssegError: there is one.
    """
    for path in folder.iterdir() if folder.is_dir() else ():
        if path.is_symlink() and not path.resolve().is_relative_to(folder.resolve()):
            raise FssegError(f"{path} is a link out of its folder, through which nothing is written. Take it away.")


def is_own(path: Path) -> bool:
    """Whether a file exists and is no link out of its folder, which could show another file of this machine."""
    return path.is_file() and path.resolve().parent == path.parent.resolve()


def forget() -> None:
    """Let the next command of this process choose its own folder."""
    if "LOCAL_RANK" not in os.environ:
        os.environ.pop(_CHOSEN, None)


def empty(folder: Path) -> Path:
    """A folder that was asked for, absent or empty.

    Raises:
        FssegError: it holds files.
    """
    folder = folder if folder.name else folder.resolve()
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise FssegError(f"--out {folder} already holds files. Choose another folder.")
    return folder


@contextmanager
def kept_if(folder: Path, worth: Callable[[], bool]) -> Iterator[None]:
    """Take a new folder away again if what is done inside fails and leaves nothing worth keeping."""
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
    """A folder to write results into that appears under its name only once they are complete.

    Args:
        folder: its name.
        keep: whether what is there so far stays, under a hidden name, when the work fails.

    Raises:
        FssegError: the place cannot be written; known before the work starts.
    """
    make(folder.parent)
    # Below the folder as it is named: since Python 3.12 what mkdtemp returns is absolute.
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
    """Hidden folders of results that were never completed.

    Args:
        folder: name that they were to get.
        but: the one that is being written.
    """
    prefix = f".{folder.name}-"
    found = [left for left in folder.parent.glob(f"{prefix}*") if len(left.name) == len(prefix) + _RANDOM]
    return [left for left in found if left != but]


def make(folder: Path, results: Path | None = None) -> None:
    """Make a folder.

    Args:
        folder: to make.
        results: what the error names; the folder by default.

    Raises:
        FssegError: it cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=folder):
            pass
    except OSError as error:
        if error.errno in atomic.FULL:
            raise atomic.failure(error, folder) from error
        raise FssegError(
            f"results cannot be written to {results or folder}: {error.strerror}. Choose another --out."
        ) from error


@contextmanager
def named(option: str, path: Path) -> Iterator[None]:
    """Name the option whose file cannot be written, or has an ending that names no format.

    Raises:
        FssegError: the same, behind the option's name.
    """
    try:
        yield
    except FssegError as error:
        raise type(error)(f"{option} {error}") from error
    except ValueError as error:
        raise FssegError(f"{option} {path} cannot be written: {' '.join(str(error).split())}.") from error
