"""A test whose features are kept, beside the same test that encodes every image of every episode.

python benchmarks/reuse.py VOCDEVKIT [--method panet|rpmms] [--images 350] [--memory GB] [--kept 5000] [--runs 3]

Five runs of 1,000 episodes, 1-way 5-shot, photos of one fold; where the folder has fewer than asked for, photos repeat
under other numbers. The plain test is extrapolated from --plain episodes, the encoding from --encoded images, the
episodes on kept features from --kept of them (all 5,000 for PANet). Everything is loaded from files in the same
process; seconds are of the wall clock; the three are timed in turn in every run.
"""

import argparse
import time
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from statistics import median

import numpy as np
import torch
from panet_step import spread

from fsseg.datasets import Pascal
from fsseg.datasets.base import Index, Numbers
from fsseg.encoders import VGG16, ResNet
from fsseg.episode import Batch
from fsseg.episodes import EpisodeData, EpisodeOptions, ImageOptions, LoadingOptions
from fsseg.episodes.loading import collate
from fsseg.episodes.sampler import Key
from fsseg.feature_cache import FeatureStore, TestFeatures
from fsseg.feature_cache.store import in_units
from fsseg.methods import Method, PANet, RPMMs
from fsseg.metrics import count
from fsseg.protocols.protocol import Protocol, Split

EPISODES = 5_000
_SIZES = {"panet": 417, "rpmms": 481}


class Repeated(Pascal):
    """Photos of a fold's classes, again and again until there are enough."""

    def __init__(self, images: int, fold: int) -> None:
        self.images, self.fold = images, fold

    def open(self, root: Path | None) -> None:
        """Open the fold's photos under as many numbers."""
        super().open(root)
        shown = self.index.pixels[:, list(self.novel(self.fold))].any(axis=1)
        found = np.flatnonzero(shown)
        repeated = [int(found[i % len(found)]) for i in range(self.images)]
        self._names = [self._names[i] for i in repeated]
        self.index = Index(self.index.pixels[repeated])

    def numbers(self, split: Split) -> range:
        """All of them are val images."""
        return range(self.images if split == "val" else 0)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("root", type=Path)
    parser.add_argument("--method", choices=list(_SIZES), default="panet")
    parser.add_argument("--images", type=int, default=350)
    parser.add_argument("--fold", type=int, default=2)
    parser.add_argument("--memory", type=float, default=8.0, help="GB of features in memory; the rest is a file")
    parser.add_argument("--plain", type=int, default=20)
    parser.add_argument("--encoded", type=int, default=20)
    parser.add_argument("--kept", type=int, default=EPISODES)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--folder", type=Path, default=Path("runs"), help="of the file")
    given = parser.parse_args()
    torch.set_num_threads(1)
    size = _SIZES[given.method]
    data = EpisodeData(
        Repeated(given.images, given.fold),
        str(given.root),
        given.fold,
        shot=5,
        images=ImageOptions(size=size),
        episodes=EpisodeOptions(val=0),
        loading=LoadingOptions(workers=0),
        protocol=Protocol(runs=5, episodes=1000),
    )
    data.setup("test")
    method: Method = PANet(VGG16(weights="none")) if given.method == "panet" else RPMMs(ResNet(weights="none"))
    method.eval()
    numbers, draws = data.shown_images("test")
    with torch.inference_mode():
        like = [one[0] for one in method.encode(torch.zeros(1, 3, size, size, dtype=torch.uint8))]
        features = FeatureStore(numbers, like, int(1e9 * given.memory), given.folder)
        print(f"{method.name}, {method.encoder.name}, {size}x{size}, 1 thread, torch {torch.__version__}")
        print(f"{len(numbers):,} images, shown {draws:,} times; {in_units(features.size)} in {features.place}")
        results = [measured(method, data, features, numbers, given) for _ in range(given.runs)]
    plain, encoding, kept = zip(*results, strict=True)
    print(f"plain, from {given.plain} episodes: {median(plain):,.0f} s")
    print(f"encoding, from {given.encoded} images: {median(encoding):,.0f} s")
    print(f"episodes, from {given.kept}: {median(kept):,.0f} s")
    print(f"times faster: {spread([a / (b + c) for a, b, c in results])}")


def measured(
    method: Method, data: EpisodeData, features: FeatureStore, numbers: list[int], given: argparse.Namespace
) -> tuple[float, float, float]:
    """Seconds of the plain test, of encoding, and of the episodes on kept features."""
    source, order = data._test_source()
    keys = list(order)
    plain = seconds(lambda: tested(method, load(source.__getitem__, keys[: given.plain])))
    loader = iter(data.image_dataloader("test", numbers, 1))
    encoding = seconds(lambda: encode(method, features, numbers[: given.encoded], loader))
    for first in range(given.encoded, len(numbers), given.encoded):  # what time would fill otherwise
        features.put(some := numbers[first : first + given.encoded], features[torch.tensor(numbers[: len(some)])])
    reuse = TestFeatures(method, features, same_masks=True)
    source.pixels = False
    kept = seconds(lambda: tested(reuse.logits, load(source.__getitem__, keys[: given.kept])))
    return plain * EPISODES / given.plain, encoding * len(numbers) / given.encoded, kept * EPISODES / given.kept


def load(episode: Callable[[Key], Batch], keys: list[Key]) -> Iterator[Batch]:
    return (collate([episode(key)]) for key in keys)


def tested(logits: Callable[[Batch], torch.Tensor], batches: Iterator[Batch]) -> None:
    for batch in batches:
        count(logits(batch).max(2).indices, batch.query_mask, 1)


def encode(method: Method, features: FeatureStore, numbers: Numbers, loader: Iterator[torch.Tensor]) -> None:
    for number, image in zip(numbers, islice(loader, len(numbers)), strict=True):
        features.put([number], method.encode(image))


def seconds(run: Callable[[], None]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
