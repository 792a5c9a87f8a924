"""Reads every image and mask of a data set, and lists all problems."""

from typing import NamedTuple

from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

from fsseg.datasets import Dataset
from fsseg.errors import FssegError
from fsseg.progress import Progress


class Problem(NamedTuple):
    """An image, and the problem of the image or its mask."""

    image: str
    problem: str


class _Checks(TorchDataset[tuple[str, str]]):
    """Name and problem of each image; the problem is empty if there is none."""

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
        except Exception as error:  # a broken file may raise anything in a library; the other files must be read too
            return name, f"{type(error).__name__}: {' '.join(str(error).split())}"
        return name, ""


def verify(dataset: Dataset, workers: int) -> list[Problem]:
    """Check every image, in parallel.

    Args:
        dataset: data set, located (see `Dataset.locate`) or opened.
        workers: worker processes; 0 reads in this process.
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
