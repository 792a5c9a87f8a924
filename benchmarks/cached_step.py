"""Training steps on cached features, beside the head alone, and beside steps that encode their images.

python benchmarks/cached_step.py [--size 321] [--batch 8] [--rounds 3] [--threads 1]

The four steps of a round, loss and gradients without the optimiser:

- head: losses of encoder maps that are in memory, with masks in memory; nothing is loaded.
- cached: `EpisodeData` loads masks in this process, `TrainingFeatures` gives the encoder's maps.
- frozen, trained: `EpisodeData` loads images and masks in this process, and a frozen or a trained ResNet50 encodes.

Quoted are medians of the rounds' ratios to the head, with their range.
"""

import argparse
import tempfile
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import torch
from panet_step import interleaved, parsed, spread
from torch import Tensor

from fsseg.datasets import Shapes
from fsseg.encoders import ResNet
from fsseg.episode import Batch
from fsseg.episodes import EpisodeData
from fsseg.episodes.options import EpisodeOptions, ImageOptions, LoadingOptions
from fsseg.feature_cache import TrainingFeatures
from fsseg.feature_cache.training import Plan
from fsseg.methods import Method, PMMs, RPMMs
from fsseg.methods.base import Features

IMAGES = 60


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--size", type=int, default=321)
    parser.add_argument("--batch", type=int, default=8)
    given, place = parsed(parser, rounds=3)
    print(f"ResNet50, {given.size}x{given.size}, batch {given.batch}, {place}")
    print("| method | head, s | cached / head, median (range) | frozen / head | trained / head |")
    print("| --- | ---: | --- | --- | --- |")
    for kind in (PMMs, RPMMs):
        torch.manual_seed(0)
        frozen = kind(ResNet(frozen=True, batch_norm="running", weights="none")).to(given.device).train()
        trained = kind(ResNet(weights="none")).to(given.device).train()
        cached = features(frozen, given)
        whole, masks = source(given, set()), source(given, {"train"})
        batch = Batch(*(tensor.to(given.device) for tensor in next(masks)))
        maps = cached.of("train", batch)
        assert maps is not None
        steps: list[Callable[[], Tensor]] = [
            partial(head, frozen, maps, batch),
            partial(on_cached, frozen, cached, masks, given.device),
            partial(encoding, frozen, whole, given.device),
            partial(encoding, trained, whole, given.device),
        ]
        before, *after = interleaved(steps, given.rounds)
        ratios = [spread([b / a for a, b in zip(before, taken, strict=True)]) for taken in after]
        print(f"| {frozen.name} | {median(before):.2f} | {' | '.join(ratios)} |", flush=True)


def data(given: Any) -> EpisodeData:
    made = EpisodeData(
        Shapes(given.size, IMAGES, 40),
        batch_size=given.batch,
        images=ImageOptions(size=given.size),
        episodes=EpisodeOptions(train=100_000, val=0, missing_classes="skip"),
        loading=LoadingOptions(workers=0),
    )
    made.setup("fit")
    return made


def source(given: Any, without_pixels: set[Any]) -> Iterator[Batch]:
    made = data(given)
    made.without_pixels = without_pixels
    return iter(made.train_dataloader())


def features(method: Method, given: Any) -> TrainingFeatures:
    made = data(given)
    cached = TrainingFeatures(method, Path(tempfile.gettempdir()), 2**34, lambda line: None)
    cached.add("train", Plan(made.training_keys(), float("inf"), given.size, made.variants or 1), nullcontext)
    cached.fill(made, torch.device(given.device), nullcontext, lambda starts, what: starts)
    return cached


def head(method: Method, maps: Features, batch: Batch) -> Tensor:
    method.zero_grad()
    loss = method.losses(method.from_encoder(*maps), batch)["loss"]
    loss.backward()
    return loss


def on_cached(method: Method, cached: TrainingFeatures, batches: Iterator[Batch], device: str) -> Tensor:
    batch = Batch(*(tensor.to(device) for tensor in next(batches)))
    maps = cached.of("train", batch)
    assert maps is not None
    return head(method, maps, batch)


def encoding(method: Method, batches: Iterator[Batch], device: str) -> Tensor:
    method.zero_grad()
    loss = method.loss(Batch(*(tensor.to(device) for tensor in next(batches))))["loss"]
    loss.backward()
    return loss


if __name__ == "__main__":
    main()
