"""The LightningDataModule: a data set, cut into episodes."""

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from lightning import LightningDataModule
from torch import Tensor
from torch.utils.data import DataLoader

from fsseg.datasets.base import Dataset
from fsseg.datasets.images import cache_folder
from fsseg.episode import Batch
from fsseg.episodes.distinct_images import Images, image_loader, shown, with_pixels
from fsseg.episodes.draw import Draw, drawn, listed, seeded
from fsseg.episodes.eligible_images import Need, class_images, whole
from fsseg.episodes.episode_file import Runs, load
from fsseg.episodes.loading import Episodes, loader
from fsseg.episodes.option_checks import check_base, check_fold, check_pairs, check_ranges, check_sizes
from fsseg.episodes.pair_lists import PairLists, use_pair_lists
from fsseg.episodes.resizing import View
from fsseg.episodes.sampler import PLAIN, EpisodeOrder, Numbers, Rules
from fsseg.episodes.transforms import Augmentation
from fsseg.episodes.weak_annotations import Annotation, Annotator, BoxInstance
from fsseg.errors import FssegError
from fsseg.protocols.protocol import Pairs, Protocol, Split, Void

_FLIP = {"class_path": "albumentations.HorizontalFlip", "init_args": {"p": 0.5}}
Missing = Literal["error", "skip"]


class EpisodeData(LightningDataModule):
    """Episodes of base classes for training and validation, of novel classes for the test.

    Training draws from the base classes' train images, validation from the base classes' val images (novel classes
    never choose a checkpoint, unless the protocol says so), the test from the novel classes' images as the protocol
    says.

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
        test_size: size of validation and test episodes where the protocol has none; ``size`` if null (PMMs: 321, 481).
        batch_size: training episodes per step.
        episodes: training episodes per epoch; every epoch has new ones.
        augment: albumentations for training, each as ``{class_path: ..., init_args: {...}}``.
        drop_novel: leave out training images that show a novel class. PANet keeps them, the object as background.
        pairs: which images count for a class in training and validation, see `Protocol`; PMMs: ``official`` on VOC.
        pairs_files: folder of list files in place of the ``official`` pairs, see `fsseg.episodes.pair_lists`.
        min_pixels: an image counts for a class from this many pixels on, in training and validation.
        support_void: what pixels labelled 255 are in supports of training: ``background`` (all seed codes), or
            ``ignore``.
        query_void: what they are in the training loss: ``ignore`` (PANet), or ``background`` (PMMs, CANet).
        support_annotation: what supports of training are annotated with: ``mask``, ``scribble`` or ``box``.
        test_support_annotation: the same of validation and test; ``support_annotation`` where it is not given (PANet
            trains with masks and tests with all three, table 6).
        box_instance: whose box: the ``largest`` instance's (PANet's code), or a ``random`` one's (its paper).
        missing_classes: what a class with too few images for an episode is: an ``error``, or a class to ``skip``.
        unreadable_images: what an image that cannot be read is: an ``error``, or a reason to ``skip`` its episodes.
        val_episodes: validation episodes.
        test_batch_size: validation and test episodes per step.
        episode_list: file of test episodes, see `fsseg.episodes.episode_file`; they take the place of the
            protocol's draw.
        seed: of training and validation episodes; --seed_everything where it is not given.
        workers: processes that load episodes; 0 loads in the main one.
        reuse: a test encodes each image once and keeps its features, where images are of one size and none is skipped.
        reuse_memory: GB of features in memory, beyond which they are in a file; half of what is free by default.
        protocol: how the test is made (--protocol on the command line).

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
        batch_size: int = 1,
        episodes: int = 1000,
        augment: list[dict[str, Any]] = [_FLIP],  # noqa: B006 - never changed; jsonargparse prints it as the default
        drop_novel: bool = False,
        pairs: Pairs = "any",
        pairs_files: str | None = None,
        min_pixels: int = 1,
        support_void: Void = "background",
        query_void: Void = "ignore",
        support_annotation: Annotation = "mask",
        test_support_annotation: Annotation | None = None,
        box_instance: BoxInstance = "largest",
        missing_classes: Missing = "error",
        unreadable_images: Missing = "error",
        val_episodes: int = 200,
        test_batch_size: int = 1,
        episode_list: str | None = None,
        seed: int | None = None,
        workers: int = 2,
        reuse: bool = True,
        reuse_memory: float | None = None,
        protocol: Protocol = Protocol(),  # noqa: B008 - frozen
    ) -> None:
        super().__init__()
        self.dataset, self.root, self.fold = dataset, root or os.environ.get("FSSEG_DATA_ROOT"), fold
        self.way, self.shot, self.query, self.size = way, shot, query, size
        self.test_shot = shot if test_shot is None else test_shot
        self.test_size = size if test_size is None else test_size
        self._test_shot_option = "shot" if test_shot is None else "test_shot"
        self.batch_size, self.episodes, self.augment = batch_size, episodes, augment
        self.drop_novel, self.pairs, self.min_pixels, self.pairs_files = drop_novel, pairs, min_pixels, pairs_files
        self.support_void, self.query_void = support_void, query_void
        self.support_annotation, self.box_instance = support_annotation, box_instance
        self.test_support_annotation = test_support_annotation or support_annotation
        self.missing_classes, self._skip = missing_classes, unreadable_images == "skip"
        self.val_episodes, self.test_batch_size = val_episodes, test_batch_size
        self.episode_list, self.seed, self.workers = episode_list, seed or 0, workers
        self.reuse, self.reuse_memory, self.reuse_folder = reuse and not self._skip, reuse_memory, cache_folder()
        self.pixels = True  # of test episodes; a test that has their features sets it to False
        self._runs: Runs = []  # of the list
        self._lists: PairLists | None = None
        self.skipped: tuple[int, ...] = ()
        self._train, self._val, self._test = (dict[int, Numbers]() for _ in range(3))
        self._opened, self.tested_episodes = False, 0  # episodes of the test that are done before it begins
        check_ranges(vars(self))
        if not self.dataset.class_names:  # they are in its files
            self._open()
        check_fold(self.dataset, fold, way)
        self.protocol = protocol

    @property
    def protocol(self) -> Protocol:
        """How the test is made, the input size resolved."""
        return self._protocol

    @protocol.setter
    def protocol(self, protocol: Protocol) -> None:
        if protocol.size == "trained":
            protocol = replace(protocol, size=self.test_size or "own")
        if self.episode_list:
            protocol = protocol.of_list()
        elif protocol.draw == "list":
            raise FssegError("--protocol.draw list needs --data.episode_list FILE.")
        self._protocol = protocol
        check_sizes(vars(self), protocol)

    def _open(self) -> None:
        if not self._opened:
            self.dataset.open(Path(os.path.expanduser(self.root)) if self.root else None)
            self._opened = True

    def setup(self, stage: str) -> None:
        """Open the data set and choose the images of each class.

        Raises:
            FssegError: files missing or broken, or classes with too few images.
        """
        check_pairs(vars(self), self.protocol)
        self._open()
        if stage == "fit":
            check_base(self.dataset, self.fold)
            numbers: Any = self.dataset.numbers("train")
            if self.drop_novel:
                numbers = self.dataset.index.without(self.novel, numbers)
            self._train = self._images(self.base, numbers, "train", self.missing_classes)
            self._augmentation = Augmentation(self.augment)
        if stage in ("fit", "validate"):
            numbers = self.dataset.numbers("val")
            self._val = self._images(self.validated, numbers, "val", "leave") if self.val_episodes else {}
        if stage == "test" and self.episode_list:
            self._read_list(Path(self.episode_list))
        elif stage == "test":
            numbers = self.dataset.numbers(self.protocol.split)
            self._test = self._images(self.novel, numbers, "test", self.missing_classes)
            self.skipped = tuple(c for c in self.novel if c not in self._test)
            if self._lists is not None:
                self._protocol = self._lists.named(self.protocol, self.fold)

    def _read_list(self, path: Path) -> None:
        """Test the episodes of a file."""
        found = load(path, self.dataset, self.novel, (self.way, self.test_shot, self.query))
        self._runs = found.runs
        self._protocol = self.protocol.of_list(len(found.runs), len(found.runs[0]), found.digest)
        self._test = found.images(self.novel)

    @property
    def base(self) -> tuple[int, ...]:
        """Class ids that the fold trains on."""
        return self.dataset.base(self.fold)

    @property
    def novel(self) -> tuple[int, ...]:
        """Class ids that the fold tests on."""
        return self.dataset.novel(self.fold)

    @property
    def validated(self) -> tuple[int, ...]:
        """Class ids that validation is on: the base ones, unless the protocol chooses checkpoints on the novel ones."""
        return self.novel if self.protocol.selection == "novel_val" else self.base

    @property
    def unvalidated(self) -> tuple[int, ...]:
        """Class ids that validation leaves out, since too few val images show them."""
        return tuple(c for c in self.validated if c not in self._val) if self.val_episodes else ()

    @property
    def pair_count(self) -> int:
        """(Image, class) pairs that test episodes are drawn from."""
        return sum(len(found) for found in self._test.values())

    def _images(
        self, classes: tuple[int, ...], numbers: Any, role: str, missing: Missing | Literal["leave"]
    ) -> dict[int, Numbers]:
        """Image numbers of each class, by the rule for training and validation or by the protocol's."""
        rule = (self.protocol.pairs, self.protocol.min_pixels) if role == "test" else (self.pairs, self.min_pixels)
        split: Split = self.protocol.split if role == "test" else "train" if role == "train" else "val"
        shot, option = (self.shot, "shot") if role == "train" else (self.test_shot, self._test_shot_option)
        need = Need(self.way, shot, self.query, split, option)
        if rule[0] == "official" and self.pairs_files is not None:
            self._lists = self._lists or use_pair_lists(Path(self.pairs_files), self.dataset)
            self._lists.require(self.dataset, classes, split)
        return class_images(self.dataset, classes, numbers, *rule, need, missing)

    def train_dataloader(self) -> DataLoader[Batch]:
        """Training episodes; each epoch, and each resumed training, goes on with the next numbers."""
        view = View(self.size, support_void=self.support_void, query_void=self.query_void)
        draw = self._seeded(self._train, self.shot)
        annotator = Annotator(self.dataset, self.support_annotation, self.box_instance)
        source = Episodes(self.dataset, draw, view, self._augmentation, self.seed, annotator)
        return loader(source, EpisodeOrder(1, self.episodes, self._consumed), self.batch_size, self.workers, self._skip)

    def val_dataloader(self) -> DataLoader[Batch] | list[Any]:
        """Validation episodes on val images, the same in every epoch, shown as in the test."""
        if not self._val:
            return []
        source = self._tested(self._seeded(self._val, self.test_shot))
        return loader(source, EpisodeOrder(1, self.val_episodes), self.test_batch_size, self.workers, self._skip)

    def test_dataloader(self) -> DataLoader[Batch]:
        """Test episodes of novel classes, run after run."""
        return loader(*self._test_source(), self.test_batch_size, self.workers, self._skip)

    def shown_images(self) -> tuple[list[int], int]:
        """Numbers of the images that this process's test episodes show, ascending, and how often they show one."""
        return shown(*self._test_source())

    def image_dataloader(self, numbers: Sequence[int], batch_size: int) -> DataLoader[Tensor]:
        """Images ``M 3 H W`` as test episodes show them, in the order of their numbers."""
        return image_loader(Images(self.dataset, self._view, numbers), batch_size, self.workers)

    def with_pixels(self, batch: Batch) -> Batch:
        """A batch of the test with its images, should it lack them."""
        return with_pixels(batch, self.dataset, self._view)

    def _test_source(self) -> tuple[Episodes, EpisodeOrder]:
        """Test episodes, and the order of this process's."""
        sizes = (self.way, self.test_shot, self.query)
        draw = listed(self._runs) if self._runs else drawn(self.protocol, self.dataset, self._test, sizes)
        source = self._tested(draw)
        source.pixels = self.pixels
        return source, EpisodeOrder(self.protocol.runs, self.protocol.episodes, done=self.tested_episodes)

    @property
    def _view(self) -> View:
        """How validation and test show an episode."""
        protocol = self.protocol
        size = None if isinstance(protocol.size, str) else protocol.size
        return View(size, protocol.resize, protocol.evaluate_at, protocol.support_void, protocol.void)

    def _tested(self, draw: Draw) -> Episodes:
        """Validation and test episodes, never augmented."""
        annotator = Annotator(self.dataset, self.test_support_annotation, self.box_instance)
        # The protocol's seed: it decides the number, so that weak annotations must not hang on the experiment's.
        return Episodes(self.dataset, draw, self._view, Augmentation([]), self.protocol.seed, annotator)

    def _seeded(self, images: dict[int, Numbers], shot: int) -> Draw:
        queries = whole(self.dataset, images)
        rules = PLAIN if queries is images else Rules(queries=queries)
        return seeded(images, (self.way, shot, self.query), self.seed, rules)

    def _consumed(self) -> int:
        """Episodes that the training has taken so far, all processes together; a checkpoint brings the count along."""
        if self.trainer is None:
            return 0
        batches: int = self.trainer.fit_loop.epoch_loop.batch_progress.total.processed
        processes: int = self.trainer.world_size
        return batches * self.batch_size * processes
