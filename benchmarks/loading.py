"""Loading of episodes beside decoding and resizing the same photos alone, on one core.

python benchmarks/loading.py VOCDEVKIT [--size 417] [--episodes 40] [--rounds 5]

An episode's photos are decoded, augmented (training) and resized, its masks decoded, relabelled and resized, and all is
made a batch. The baseline decodes the same photos and resizes them by PIL, nothing else. Timed in turn in every round;
quoted is the median of the rounds' ratios, with their range.
"""

import argparse
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median

import numpy as np
import PIL.Image
from panet_step import interleaved, spread
from torch.utils.data import DataLoader

from fsseg.datasets import Pascal
from fsseg.episode import Batch
from fsseg.episodes import EpisodeData, EpisodeOptions, ImageOptions, LoadingOptions
from fsseg.episodes.sampler import Key
from fsseg.protocols.protocol import Protocol


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("root", type=Path)
    parser.add_argument("--fold", type=int, default=2)
    parser.add_argument("--size", type=int, default=417)
    parser.add_argument("--episodes", type=int, default=40)
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    print(f"photos of {given.root.name}, {given.size}x{given.size}, {given.episodes} episodes a round")
    print("| episodes | shots | photos, ms each | episodes, ms a photo | ratio, median (range) |")
    print("| --- | ---: | ---: | ---: | --- |")
    for shot in (1, 5):
        data = EpisodeData(
            Pascal(),
            str(given.root),
            given.fold,
            shot=shot,
            images=ImageOptions(size=given.size),
            episodes=EpisodeOptions(missing_classes="skip", val=0),
            loading=LoadingOptions(workers=0),
            protocol=Protocol(pairs="any"),
        )
        for stage in ("fit", "test"):
            data.setup(stage)
            loader = data.train_dataloader() if stage == "fit" else data.test_dataloader()
            measure("training" if stage == "fit" else "test", shot, loader, data, given)


def measure(what: str, shot: int, loader: DataLoader[Batch], data: EpisodeData, given: argparse.Namespace) -> None:
    """One line of the table."""
    source = loader.dataset.source  # type: ignore[attr-defined]
    keys = [Key(0, number) for number in range(given.episodes)]
    dataset: Pascal = data.dataset  # type: ignore[assignment]
    photos = [dataset._image_path(i) for key in keys for i in source.episode(key).images]  # type: ignore[attr-defined]
    runs: list[Callable[[], object]] = [
        partial(decode_and_resize, photos, given.size),
        lambda: [loader.collate_fn([source[key]]) for key in keys],  # type: ignore[index, misc]
    ]
    alone, whole = interleaved(runs, given.rounds)
    times = [f"{1000 * median(taken) / len(photos):.2f}" for taken in (alone, whole)]
    ratio = spread([w / a for a, w in zip(alone, whole, strict=True)])
    print(f"| {what} | {shot} | {' | '.join(times)} | {ratio} |", flush=True)


def decode_and_resize(photos: list[Path], size: int) -> None:
    for photo in photos:
        with PIL.Image.open(photo) as picture:
            np.asarray(picture.convert("RGB").resize((size, size), PIL.Image.Resampling.BILINEAR))


if __name__ == "__main__":
    main()
