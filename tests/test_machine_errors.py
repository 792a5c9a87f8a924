"""Faults of the machine become one-line errors; other errors do not."""

import errno
import multiprocessing
import resource
import socket
import sys
import tempfile

import numpy as np
import pytest
import torch

from fsseg.datasets import Shapes
from fsseg.episodes import EpisodeData, ImageOptions, LoadingOptions
from fsseg.episodes.loading import start_worker
from fsseg.errors import MachineError
from fsseg.machine_errors import check_temporary_folder, machine_error
from tests.cli.conftest import small_files


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (OSError(errno.EMFILE, "Too many open files"), ("too many open files", "ulimit -n", "`data.loading.workers`")),
        (RuntimeError("Too many open files. Communication with the workers is no longer possible."), ("ulimit -n",)),
        (RuntimeError("unable to allocate shared memory(shm) for file </torch_1>: No space left"), ("/dev/shm", "0")),
        (RuntimeError("DataLoader worker (pid 7) is killed by signal: Bus error."), ("/dev/shm", "--shm-size")),
        (MemoryError(), ("out of memory", "`data.images.size`", "`data.batch_size`")),
        (RuntimeError("[enforce fail at CPUAllocator] DefaultCPUAllocator: can't allocate memory"), ("out of memory",)),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"), ("out of memory",)),
        (RuntimeError("can't start new thread"), ("ulimit -u", "`data.loading.workers`")),
    ],
)
def test_a_fault_of_the_machine_is_one_line(error, words):
    found = machine_error(error)
    assert found is not None
    assert all(word in str(found) for word in words)
    assert (found.code, "\n" in str(found)) == (1, False)


@pytest.mark.parametrize("error", [ValueError("x"), OSError(errno.ENOENT, "No such file"), RuntimeError("mat1, mat2")])
def test_other_errors_are_none(error):
    assert machine_error(error) is None


def test_an_array_that_is_too_large_is_one_line():
    with pytest.raises(MemoryError) as found:
        np.zeros(2**60, dtype=np.uint8)
    assert "out of memory" in str(machine_error(found.value))


def test_open_files_are_counted():
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    files = []
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, hard))
    try:
        with pytest.raises(OSError, match="Too many open files") as found:
            files.extend(open("/dev/null") for _ in range(64))  # noqa: SIM115
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        for file in files:
            file.close()
    assert "too many open files" in str(machine_error(found.value))


@pytest.mark.skipif(multiprocessing.get_start_method() != "fork", reason="workers inherit the limit")
@pytest.mark.slow
def test_shared_memory_that_is_full_is_an_error_and_no_wait_without_end():
    """A limit on the size of files holds in /dev/shm too; the worker's error comes through to this process."""
    data = EpisodeData(
        Shapes(size=32, train=40, val=40), images=ImageOptions(size=256, augment=[]), loading=LoadingOptions(workers=1)
    )
    data.setup("fit")
    with small_files(10_000), pytest.raises(RuntimeError) as found:
        next(iter(data.train_dataloader()))
    assert "shared memory (/dev/shm)" in str(machine_error(found.value))


def test_a_batch_that_cannot_be_handed_over_ends_its_worker():
    """Python's queue would print a traceback and drop it."""
    context = multiprocessing.get_context("fork")
    process = context.Process(target=_hand_over, args=(context.Queue(),))
    process.start()
    process.join(30)
    assert process.exitcode == 1


def _hand_over(queue):
    start_worker(0)
    queue.put(lambda: None)  # cannot be pickled
    queue.close()
    queue.join_thread()


def test_a_temporary_folder_leaves_room_for_the_sockets_of_workers(monkeypatch):
    for length in (75, 76) if sys.platform == "linux" else ():
        folder = "/t/" + "x" * (length - 3)
        monkeypatch.setattr(tempfile, "tempdir", folder)
        path = f"{folder}/pymp-{'x' * 8}/listener-{'x' * 8}"
        with socket.socket(socket.AF_UNIX) as end:  # as the system says it
            fits = "too long" not in _refusal(end, path)
        if fits:
            check_temporary_folder()
        else:
            with pytest.raises(MachineError, match="set TMPDIR to a path of at most 75 bytes"):
                check_temporary_folder()
        assert fits == (length == 75)


def _refusal(end: socket.socket, path: str) -> str:
    with pytest.raises(OSError) as caught:  # noqa: PT011 - no such folder, or no such length
        end.bind(path)
    return str(caught.value)
