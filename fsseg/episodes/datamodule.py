"""The LightningDataModule that makes episodes of a data set."""

import os
from collections.abc import Sequence
from copy import copy
from pathlib import Path
from typing import Any, Literal

from lightning import LightningDataModule
from torch import Tensor
from torch.utils.data import DataLoader

from fsseg.datasets.base import Dataset
from fsseg.disk_cache import cache_folder
from fsseg.episode import Batch
from fsseg.episodes import option_checks
from fsseg.episodes.distinct_images import Images, all_keys, image_loader, shown, with_pixels
from fsseg.episodes.draw import Draw, drawn, listed, of_classes
from fsseg.episodes.eligible_images import PREFERRED, Eligible, Need, class_images
from fsseg.episodes.episode_file import Runs, load
from fsseg.episodes.loading import Episodes, loader
from fsseg.episodes.options import EpisodeOptions, ImageOptions, LoadingOptions
from fsseg.episodes.pair_lists import PairLists, use_pair_lists
from fsseg.episodes.resizing import View
from fsseg.episodes.sampler import EpisodeOrder, Key, Numbers
from fsseg.episodes.transforms import Augmentation
from fsseg.episodes.validation import NONE, Validation, validated_kind, validation
from fsseg.protocols.protocol import Pairs, Protocol, Split, pair_rule

Stage = Literal["train", "val", "test"]


class EpisodeData(LightningDataModule):
    """Episodes of base classes for training and validation, and of novel classes for the test.

    Training draws from the train images of the base classes. Validation draws from the val images of the base
    classes, or of `Dataset.validation`, so that novel classes do not choose a checkpoint, unless the protocol asks for
    it. The protocol gives the images of the test.

    Args:
        dataset: the data set, e.g. `Pascal`.
        root: folder of the data set; the environment variable FSSEG_DATA_ROOT by default.
        fold: number of the fold, which fixes the novel classes.
        way: N, classes per episode.
        shot: K, supports per class.
        test_shot: supports per class of validation and test episodes; ``shot`` by default (PMMs trains on one shot and
            tests on five).
        query: Q, queries per episode.
        batch_size: training episodes per step.
        images: sizes, augmentation and annotation of images and masks.
        episodes: images to draw from, and number of episodes.
        loading: how episodes are loaded.
        protocol: protocol of the test (--protocol on the command line).

    Raises:
        FssegError: an argument is out of range; `setup` names the errors of the data.
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
        batch_size: int = 1,
        images: ImageOptions = ImageOptions(),  # noqa: B008 - frozen, as are the others
        episodes: EpisodeOptions = EpisodeOptions(),  # noqa: B008
        loading: LoadingOptions = LoadingOptions(),  # noqa: B008
        protocol: Protocol = Protocol(),  # noqa: B008
    ) -> None:
        super().__init__()
        self.dataset, self.root, self.fold = dataset, root or os.environ.get("FSSEG_DATA_ROOT"), fold
        self.way, self.shot, self.query, self.batch_size = way, shot, query, batch_size
        self.test_shot = shot if test_shot is None else test_shot
        self._test_shot_option = "shot" if test_shot is None else "test_shot"
        self.images, self.episodes, self.loading = images.with_defaults(), episodes, loading
        self.seed, self.cache_folder = episodes.seed or 0, cache_folder()
        self.without_pixels: set[Stage] = set()  # stages whose episodes have no images, because features are cached
        self.tested_episodes = 0  # test episodes of this process that an earlier, resumed test has done
        self.skipped: tuple[int, ...] = ()
        self._runs: Runs = []  # episodes of the test file
        self._lists: PairLists | None = None
        self.trained = Eligible({}, {}, 0)  # classes of the training, see `setup`
        self.validation = NONE  # classes of the validation, see `setup`
        self.tested: dict[int, Numbers] = {}
        self._opened = False
        option_checks.check_ranges(self)
        if not self.dataset.class_names:  # the files of the data set have the names
            self._open()
        option_checks.check_fold(self.dataset, fold, way)
        self._excluded = option_checks.ids_of(self.dataset, episodes.exclude)
        self.protocol = protocol

    @property
    def protocol(self) -> Protocol:
        """The protocol of the test, with the input size filled in."""
        return self._protocol

    @protocol.setter
    def protocol(self, protocol: Protocol) -> None:
        self._protocol = option_checks.completed(protocol, self)
        option_checks.check_sizes(self, self._protocol)

    def with_fold(self, fold: int, shot: int, test_shot: int) -> "EpisodeData":
        """The same options and the same open data set with another fold and other shots, before `setup`."""
        self._open()
        other = copy(self)
        other.fold, other.shot, other.test_shot = fold, shot, test_shot
        option_checks.check_ranges(other)
        option_checks.check_fold(self.dataset, fold, self.way)
        return other

    def _open(self) -> None:
        if not self._opened:
            self.dataset.open(Path(os.path.expanduser(self.root)) if self.root else None)
            self._opened = True

    def setup(self, stage: str) -> None:
        """Open the data set and select the images of each class.

        Raises:
            FssegError: files are missing or broken, or classes have too few images.
        """
        option_checks.check_pairs(self.episodes, self.protocol)
        self._open()
        if stage == "fit":
            option_checks.check_base(self)
            self.trained = self._train_images()
            self._augmentation = Augmentation(self.images.augment, self.images.variants)
        if stage in ("fit", "validate"):
            self.validation = self._validation(may_shrink=stage == "fit") if self.episodes.val else NONE
        if stage == "test" and self.episodes.test_file:
            self._read_list(Path(self.episodes.test_file))
        elif stage == "test":
            self.tested = self._test_images()
            self.skipped = tuple(c for c in self.novel if c not in self.tested)
            if self._lists is not None:
                self._protocol = self._lists.named(self.protocol, self.fold)

    def _train_images(self) -> Eligible:
        """Train images of each base class with enough images."""
        rule, every = self.episodes, self.dataset.numbers("train")
        unseen = (*self.novel, *self._excluded)
        numbers = self.dataset.index.without(unseen, every) if rule.drop_novel else every
        need = Need(self.way, self.shot, self.query, "train", "shot", rule.min_images, PREFERRED)
        self._read_pairs(rule.pairs, self.base, "train")
        return class_images(self.dataset, self.base, numbers, rule.pairs, rule.min_pixels, need, rule.missing_classes)

    def _validation(self, may_shrink: bool) -> Validation:
        """Val images of each class with enough images."""
        numbers, rule, index = self.dataset.numbers("val"), self.episodes, self.dataset.index
        self._read_pairs(rule.pairs, self.validated, "val")
        images = {c: index.images(c, numbers, rule.min_pixels, rule.pairs) for c in self.validated}
        kind, words = validated_kind(self.dataset, self.fold, self.protocol), pair_rule(rule.pairs, rule.min_pixels)
        return validation(self.dataset, kind, images, self._test_need("val"), words, may_shrink)

    def _test_images(self) -> dict[int, Numbers]:
        """Test images of each novel class."""
        option_checks.check_novel(self)
        rule, missing = self.protocol, self.episodes.missing_classes
        numbers, need = self.dataset.numbers(rule.split), self._test_need(rule.split)
        self._read_pairs(rule.pairs, self.novel, rule.split)
        return class_images(self.dataset, self.novel, numbers, rule.pairs, rule.min_pixels, need, missing).images

    def _test_need(self, split: str) -> Need:
        """Images of a class that validation and test episodes need."""
        return Need(self.way, self.test_shot, self.query, split, self._test_shot_option)

    def _read_pairs(self, pairs: Pairs, classes: tuple[int, ...], split: Split) -> None:
        """Replace the official pairs by those of the list files, if these are given."""
        if pairs == "official" and self.episodes.pairs_files is not None:
            self._lists = self._lists or use_pair_lists(Path(self.episodes.pairs_files), self.dataset)
            self._lists.require(self.dataset, classes, split)

    def _read_list(self, path: Path) -> None:
        """Read the test episodes of a file."""
        found = load(path, self.dataset, self.novel, (self.way, self.test_shot, self.query))
        self._runs = found.runs
        self._protocol = self.protocol.of_list(len(found.runs), len(found.runs[0]), found.digest)
        self.tested = found.images(self.novel)

    @property
    def base(self) -> tuple[int, ...]:
        """Class ids of the fold's base classes, without the excluded ones."""
        return tuple(c for c in self.dataset.base(self.fold) if c not in self._excluded)

    @property
    def novel(self) -> tuple[int, ...]:
        """Class ids of the fold's novel classes."""
        return self.dataset.novel(self.fold)

    @property
    def validated(self) -> tuple[int, ...]:
        """Class ids of validation, without the excluded ones."""
        kind = validated_kind(self.dataset, self.fold, self.protocol)
        return tuple(c for c in getattr(self.dataset, kind)(self.fold) if c not in self._excluded)

    @property
    def pair_count(self) -> int:
        """Number of (image, class) pairs that test episodes are drawn from."""
        return sum(len(found) for found in self.tested.values())

    @property
    def caches_features(self) -> bool:
        """Whether a test may cache features; not if images may be skipped, as the test cannot know which it needs."""
        return self.loading.cache_features and not self._skip

    @property
    def _skip(self) -> bool:
        return self.loading.unreadable_images == "skip"

    def train_dataloader(self) -> DataLoader[Batch]:
        """Training episodes; every epoch, and every resumed training, continues with the next episode number."""
        view = option_checks.training_view(self)
        sizes, absent = (self.way, self.shot, self.query), self.episodes.absent_queries
        draw = of_classes(self.dataset, self.trained.images, sizes, self.seed, absent)
        annotator = self.images.annotator(self.dataset, self.images.support_annotation)
        pixels = "train" not in self.without_pixels
        source = Episodes(self.dataset, draw, view, self._augmentation, self.seed, annotator, pixels)
        return self._loader(source, EpisodeOrder(1, self.episodes.train, self._consumed), self.batch_size)

    def val_dataloader(self) -> DataLoader[Batch] | list[Any]:
        """Validation episodes on val images: the same in every epoch, with image sizes and void as in the test."""
        if not self.validation.images:
            return []
        return self._loader(*self._val_source(), self.loading.test_batch_size)

    def _val_source(self) -> tuple[Episodes, EpisodeOrder]:
        """Validation episodes, and their order."""
        found = self.validation
        sizes = (found.way, found.shot, self.query)
        source = self._tested(of_classes(self.dataset, found.images, sizes, self.seed))
        source.pixels = "val" not in self.without_pixels
        return source, EpisodeOrder(1, self.episodes.val)

    def test_dataloader(self) -> DataLoader[Batch]:
        """Test episodes of novel classes, run by run."""
        return self._loader(*self._test_source(), self.loading.test_batch_size)

    def _loader(self, source: Episodes, order: EpisodeOrder, batch_size: int) -> DataLoader[Batch]:
        return loader(source, order, batch_size, self.loading.workers, self._skip)

    def shown_images(self, stage: Literal["val", "test"]) -> tuple[list[int], int]:
        """Distinct image numbers, ascending, and number of uses: of this process's test, or of all validation."""
        if stage == "val":
            every = [Key(0, number) for number in range(self.episodes.val if self.validation.images else 0)]
            return shown(self._val_source()[0], every)
        return shown(*self._test_source())

    @property
    def variants(self) -> int | None:
        """Augmented variants of each training image; None if infinite."""
        return self._augmentation.variants

    def training_keys(self) -> list[int]:
        """Keys of all variants of all training images, see `Images`, ascending."""
        return all_keys(self.trained.images, self.variants or 1)

    def image_dataloader(self, stage: Stage, keys: Sequence[int], batch_size: int) -> DataLoader[Tensor]:
        """Batches of images ``M 3 H W`` as in the episodes of a stage, in the order of their keys, see `Images`."""
        view = View(self.images.size) if stage == "train" else self.view
        images = Images(self.dataset, view, keys, self._augmentation if stage == "train" else None)
        return image_loader(images, batch_size, self.loading.workers)

    def with_pixels(self, batch: Batch) -> Batch:
        """A test batch with its images, which are loaded if the batch has none."""
        return with_pixels(batch, self.dataset, self.view)

    def _test_source(self) -> tuple[Episodes, EpisodeOrder]:
        """Test episodes, and the order in which this process takes them."""
        sizes = (self.way, self.test_shot, self.query)
        draw = listed(self._runs) if self._runs else drawn(self.protocol, self.dataset, self.tested, sizes)
        source = self._tested(draw)
        source.pixels = "test" not in self.without_pixels
        return source, EpisodeOrder(self.protocol.runs, self.protocol.episodes, done=self.tested_episodes)

    @property
    def view(self) -> View:
        """Image sizes and void of validation and test."""
        protocol = self.protocol
        size = None if isinstance(protocol.size, str) else protocol.size
        voids = protocol.support_void, protocol.void
        return View(size, protocol.resize, protocol.evaluate_at, *voids, nearest=protocol.mask_nearest)

    def _tested(self, draw: Draw) -> Episodes:
        """Validation or test episodes, without augmentation."""
        annotator = self.images.annotator(self.dataset, self.images.test_support_annotation)
        # Weak annotations take the protocol's seed: a test must not depend on the seed of the training.
        return Episodes(self.dataset, draw, self.view, Augmentation([]), self.protocol.seed, annotator)

    def _consumed(self) -> int:
        """Episodes that all processes have trained on so far; Lightning's checkpoints store the count."""
        if self.trainer is None:
            return 0
        batches: int = self.trainer.fit_loop.epoch_loop.batch_progress.total.processed
        processes: int = self.trainer.world_size
        return batches * self.batch_size * processes
