"""Reads all of a data set once and says everything that is wrong with it."""

from typing import NamedTuple

from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

from fsseg.datasets import Dataset
from fsseg.errors import FssegError
from fsseg.progress import Progress


class Problem(NamedTuple):
    """An image, and what is wrong with it or its mask."""

    image: str
    problem: str


class _Checks(TorchDataset[tuple[str, str]]):
    """Name and problem of each image; an empty problem where there is none."""

    def __init__(self, dataset: Dataset) -> None:
        self.dataset = dataset

    def __len__(self) -> int:
        return len(self.dataset.numbers("train")) + len(self.dataset.numbers("val"))

    def __getitem__(self, number: int) -> tuple[str, str]:
        name = self.dataset.image_name(number)
        try:
            self.dataset.check(number)
        except FssegError as error:
            return name, str(error)
        except Exception as error:  # whatever a broken file does to a library, the others are read too
            return name, f"{type(error).__name__}: {' '.join(str(error).split())}"
        return name, ""


def verify(dataset: Dataset, workers: int) -> list[Problem]:
    """Check every image, in parallel.

    Args:
        dataset: located (see `Dataset.locate`), or opened.
        workers: processes; 0 reads in this one.
    """
    checks = _Checks(dataset)
    loader = DataLoader(checks, batch_size=None, num_workers=workers)
    problems = []
    with Progress(f"verifying {dataset.name}:", len(checks), "images") as step:
        for name, problem in loader:
            if problem:
                problems.append(Problem(name, problem))
            step.add(1)
    return problems
