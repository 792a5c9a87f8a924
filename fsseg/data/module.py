"""The LightningDataModule: a data set, cut into episodes."""

import os
import signal
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from lightning import LightningDataModule
from torch.utils.data import DataLoader

from fsseg.data.base import Dataset, Split
from fsseg.data.episodes import Episodes
from fsseg.data.official import panet_episodes, pmms_episodes
from fsseg.data.sampler import EpisodeOrder, Key, draw_episode
from fsseg.data.transforms import Augmentation
from fsseg.episode import Batch, Episode
from fsseg.errors import FssegError

_FLIP = {"class_path": "albumentations.HorizontalFlip", "init_args": {"p": 0.5}}
_NAMED = 5  # classes that an error lists
ClassImages = dict[int, npt.NDArray[np.int64]]


class EpisodeData(LightningDataModule):
    """Episodes of base classes for training and validation, of novel classes for the test.

    Training draws from the base classes' train images, validation from the base classes' val images (novel classes
    never choose a checkpoint), the test from the novel classes' val images.

    Args:
        dataset: the data set, e.g. `Pascal`.
        root: folder of the data set; the environment variable FSSEG_DATA_ROOT where it is not given.
        fold: which classes are novel.
        way: N, classes per episode.
        shot: K, supports per class.
        test_shot: supports per class of validation and test episodes; ``shot`` where it is not given (PMMs trains on
            one shot and tests on five).
        query: Q, queries per episode.
        size: images and masks are resized to size x size (PANet section 4.1: 417); null keeps photos as they are, one
            episode a batch (SG-One).
        test_size: size of validation and test episodes; ``size`` where it is not given (PMMs: 321, then 481).
        evaluate_at: validation and test queries are compared with their masks at the ``input`` size (PANet), or with
            the ``original`` ones, at the photo's size (as PMMs' code, which resizes its masks there and back first).
        batch_size: training episodes per step.
        episodes: training episodes per epoch; every epoch has new ones.
        augment: albumentations for training, each as ``{class_path: ..., init_args: {...}}``.
        drop_novel: leave out training images that show a novel class. PANet keeps them, the object as background.
        min_pixels: an image counts for a class from this many pixels on.
        missing_classes: what a class with too few images for an episode is: an ``error``, or a class to ``skip``.
        val_episodes: validation episodes.
        test_runs: R, runs of the test, each with its own episodes (PANet: 5).
        test_episodes: E, episodes per run (PANet: 1,000).
        test_batch_size: validation and test episodes per step.
        test_seed: seed of the first run; run r has test_seed + r (PANet: 1234, PMMs: 1385).
        draw: how test episodes are drawn: ``seeded`` by their number; as ``panet``'s code does, the query's way fixed
            for a run; as ``pmms``' code does, a walk through all (image, class) pairs, here in the order of image
            number, then class id. To equal the authors' episodes image by image it would need their lists.
        seed: of training and validation episodes; --seed_everything where it is not given.
        workers: processes that load episodes; 0 loads in the main one.

    Raises:
        FssegError: an argument is out of range; see `setup` for what the data may raise.
    """

    def __init__(
        self,
        dataset: Dataset,
        root: str | None = None,
        fold: int = 0,
        way: int = 1,
        shot: int = 1,
        test_shot: int | None = None,
        query: int = 1,
        size: int | None = 417,
        test_size: int | None = None,
        evaluate_at: Literal["input", "original"] = "input",
        batch_size: int = 1,
        episodes: int = 1000,
        augment: list[dict[str, Any]] = [_FLIP],  # noqa: B006 - never changed; jsonargparse prints it as the default
        drop_novel: bool = False,
        min_pixels: int = 1,
        missing_classes: Literal["error", "skip"] = "error",
        val_episodes: int = 200,
        test_runs: int = 5,
        test_episodes: int = 1000,
        test_batch_size: int = 1,
        test_seed: int = 1234,
        draw: Literal["seeded", "panet", "pmms"] = "seeded",
        seed: int | None = None,
        workers: int = 2,
    ) -> None:
        super().__init__()
        self.dataset, self.root, self.fold = dataset, root or os.environ.get("FSSEG_DATA_ROOT"), fold
        self.way, self.shot, self.query, self.size = way, shot, query, size
        self.test_shot = shot if test_shot is None else test_shot
        self.test_size = size if test_size is None else test_size
        self._shot_option = {"train": "shot", "val": "shot" if test_shot is None else "test_shot"}
        self.evaluate_at, self.draw = evaluate_at, draw
        self.batch_size, self.episodes, self.augment = batch_size, episodes, augment
        self.drop_novel, self.min_pixels, self.missing_classes = drop_novel, min_pixels, missing_classes
        self.val_episodes, self.test_runs, self.test_episodes = val_episodes, test_runs, test_episodes
        self.test_batch_size, self.test_seed = test_batch_size, test_seed
        self.seed, self.workers = seed or 0, workers
        self.skipped: tuple[int, ...] = ()
        self._opened = False
        self._check_ranges()
        self._check_one_query()

    def _check_ranges(self) -> None:
        if not 0 <= self.fold < self.dataset.folds:
            raise FssegError(f"--data.fold {self.fold}: {self.dataset.name} has folds 0 to {self.dataset.folds - 1}.")
        novel = len(self.dataset.novel(self.fold))
        if not 1 <= self.way <= novel:
            raise FssegError(
                f"--data.way {self.way}: a fold of {self.dataset.name} tests on {novel} classes, 1 to {novel}."
            )
        least = {"size": 8, "test_size": 8, "seed": 0, "test_seed": 0, "workers": 0, "val_episodes": 0}
        for name in ("shot", "test_shot", "query", "size", "test_size", "batch_size", "episodes", "min_pixels",
                     "val_episodes", "test_runs", "test_episodes", "test_batch_size", "seed", "test_seed",
                     "workers"):  # fmt: skip
            value = getattr(self, name)
            if value is not None and value < least.get(name, 1):
                raise FssegError(f"--data.{name} {value}: at least {least.get(name, 1)} is needed.")

    def _check_one_query(self) -> None:
        """Images of different sizes do not fit into one tensor, nor several ways or queries into PMMs' walk."""
        alone = [
            (self.draw == "pmms", "--data.draw pmms draws one class and one query an episode", "way"),
            (self.size is None, "--data.size null trains on photos of different sizes", "batch_size"),
            (self.test_size is None, "--data.size null tests on photos of different sizes", "test_batch_size"),
            (self.evaluate_at == "original", "--data.evaluate_at original compares masks of different sizes",
             "test_batch_size"),
        ]  # fmt: skip
        for asked, why, name in alone:
            value = getattr(self, name)
            if asked and (value, self.query) != (1, 1):
                raise FssegError(f"{why}: --data.{name} 1 and --data.query 1 are needed, not {value} and {self.query}.")

    def setup(self, stage: str) -> None:
        """Open the data set and choose the images of each class.

        Raises:
            FssegError: files missing or broken, or classes with too few images.
        """
        if not self._opened:
            self.dataset.open(Path(self.root) if self.root else None)
            self._opened = True
        if stage == "fit":
            self._train = self._class_images("train", self.base, self.missing_classes)
            self._augmentation = Augmentation(self.augment)
        if stage in ("fit", "validate"):
            self._val = self._class_images("val", self.base, "skip") if self.val_episodes else {}
        if stage == "test":
            self._test = self._class_images("val", self.novel, self.missing_classes)
            self.skipped = tuple(c for c in self.novel if c not in self._test)

    @property
    def base(self) -> tuple[int, ...]:
        """Class ids that the fold trains on."""
        return self.dataset.base(self.fold)

    @property
    def novel(self) -> tuple[int, ...]:
        """Class ids that the fold tests on."""
        return self.dataset.novel(self.fold)

    def _class_images(self, split: Split, classes: tuple[int, ...], missing: str) -> ClassImages:
        numbers: Any = self.dataset.numbers(split)
        if split == "train" and self.drop_novel:
            numbers = self.dataset.index.without(self.novel, numbers)
        images = {c: self.dataset.index.images(c, numbers, self.min_pixels) for c in classes}
        need = self._shot(split) + self.query
        few = {c: len(found) for c, found in images.items() if len(found) < need}
        enough = {c: found for c, found in images.items() if c not in few}
        if (few and missing == "error") or len(enough) < self.way:
            raise FssegError(self._too_few(split, few, can_skip=len(enough) >= self.way))
        return enough

    def _too_few(self, split: Split, few: dict[int, int], can_skip: bool) -> str:
        shot, query, option = self._shot(split), self.query, self._shot_option[split]
        names = [f"{c} {self.dataset.class_name(c)} ({n})" for c, n in few.items()]
        more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
        skip = ", or leave classes out with --data.missing_classes skip" if can_skip else ""
        return (
            f"{self.way}-way {shot}-shot with {query} query needs {shot + query} {split} images a class; too few show: "
            f"{', '.join(names[:_NAMED])}{more}. Lower --data.{option}, choose another fold{skip}."
        )

    def _shot(self, split: Split) -> int:
        """Supports per class: train images are for training, val images for validation and test."""
        return self.shot if split == "train" else self.test_shot

    def train_dataloader(self) -> DataLoader[Batch]:
        """Training episodes; each epoch, and each resumed training, goes on with the next numbers."""
        draw = self._drawn(self._train, self.shot, self.seed)
        source = Episodes(self.dataset, draw, self.size, self._augmentation, self.seed)
        return self._loader(source, EpisodeOrder(1, self.episodes, self._consumed), self.batch_size)

    def val_dataloader(self) -> DataLoader[Batch] | list[Any]:
        """Validation episodes of base classes on val images, the same in every epoch."""
        if not self._val:
            return []
        source = self._tested(self._drawn(self._val, self.test_shot, self.seed))
        return self._loader(source, EpisodeOrder(1, self.val_episodes), self.test_batch_size)

    def test_dataloader(self) -> DataLoader[Batch]:
        """Test episodes of novel classes on val images, run after run."""
        draw = self._drawn(self._test, self.test_shot, self.test_seed)
        if self.draw != "seeded":
            draw = partial(_listed, runs=[self._official(self.test_seed + run) for run in range(self.test_runs)])
        return self._loader(self._tested(draw), EpisodeOrder(self.test_runs, self.test_episodes), self.test_batch_size)

    def _official(self, seed: int) -> list[Episode]:
        """A run's episodes as an official code draws them."""
        lists = {c: found.tolist() for c, found in self._test.items()}
        if self.draw == "panet":
            return panet_episodes(lists, self.way, self.test_shot, self.query, seed, self.test_episodes)
        pairs = sorted((number, c) for c, numbers in lists.items() for number in numbers)
        return pmms_episodes(pairs, self.test_shot, seed, self.test_episodes)

    def _tested(self, draw: Callable[[Key], Episode]) -> Episodes:
        """Validation and test episodes, never augmented."""
        original = self.evaluate_at == "original"
        return Episodes(self.dataset, draw, self.test_size, Augmentation([]), self.seed, original)

    def _drawn(self, images: ClassImages, shot: int, seed: int) -> Callable[[Key], Episode]:
        return partial(_draw, images=images, sizes=(self.way, shot, self.query), seed=seed)

    def _consumed(self) -> int:
        """Episodes that the training has taken so far, all processes together; a checkpoint brings the count along."""
        if self.trainer is None:
            return 0
        batches: int = self.trainer.fit_loop.epoch_loop.batch_progress.total.processed
        processes: int = self.trainer.world_size
        return batches * self.batch_size * processes

    def _loader(self, source: Episodes, order: EpisodeOrder, batch_size: int) -> DataLoader[Batch]:
        return DataLoader(
            source,
            batch_size=batch_size,
            sampler=order,  # type: ignore[arg-type]
            num_workers=self.workers,
            persistent_workers=self.workers > 0,
            pin_memory=torch.cuda.is_available(),
            worker_init_fn=_start_worker if self.workers else None,
        )


# Functions of the module, since workers that are not forked get them pickled.
def _draw(key: Key, images: ClassImages, sizes: tuple[int, int, int], seed: int) -> Episode:
    return draw_episode(images, *sizes, seed + key.run, key.number)


def _listed(key: Key, runs: list[list[Episode]]) -> Episode:
    return runs[key.run][key.number]


def _start_worker(worker: int) -> None:
    """Leave Ctrl-C to the main process, and keep OpenCV from starting a thread pool in every worker."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the main process's to answer
    try:
        import cv2
    except ImportError:
        return
    cv2.setNumThreads(0)
