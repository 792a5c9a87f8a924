"""Memory and start-up of cached features, for a small set and for one of COCO's size.

python benchmarks/feature_store.py [--images 1500 120000] [--encoders efficientnet_lite0 resnet50] [--variants 2]

For each number of images and each encoder, in a process of its own: where the features are (memory, a file in the cache
folder, nowhere), seconds to fill them with maps that are already computed, milliseconds to read the 16 maps of a step
with batches of eight pairs, and the process's peak memory above its memory before. Start-up is estimated from the
seconds that the encoder takes for some images, random weights, this many threads.
"""

import argparse
import multiprocessing
import resource
import time
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from fsseg.disk_cache import cache_folder
from fsseg.encoders import build
from fsseg.feature_cache import FeatureStore, NoRoomError
from fsseg.feature_cache.store import images_together, in_units, memory_budget, size_of

SIZES = {"efficientnet_lite0": 257, "resnet50": 321}
STEP = 16  # images of eight pairs
READS = 50


class Found(NamedTuple):
    """What a process found."""

    size: int
    place: str
    fill: float
    read: float
    memory: int


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--images", type=int, nargs="+", default=[1500, 120_000])
    parser.add_argument("--encoders", nargs="+", choices=SIZES, default=list(SIZES))
    parser.add_argument("--variants", type=int, default=2)
    parser.add_argument("--encoded", type=int, default=20)
    given = parser.parse_args()
    heads = ["encoder, pixels", "images x variants", "features", "place", "encoding, min", "filling, s"]
    print(f"| {' | '.join([*heads, 'maps of a step, ms', 'memory'])} |")
    print("| --- | ---: | ---: | --- | ---: | ---: | ---: | ---: |")
    for name in given.encoders:
        like, seconds = encoded(name, given.encoded)
        for images in given.images:
            maps = images * given.variants
            with multiprocessing.get_context("spawn").Pool(1) as pool:
                found = pool.apply(measured, (maps, like))
            cells = [
                f"{name}, {SIZES[name]}",
                f"{images:,} x {given.variants}",
                in_units(found.size),
                found.place,
                f"{maps * seconds / 60:,.0f}",
                f"{found.fill:.1f}",
                f"{1000 * found.read:.1f}",
                in_units(found.memory),
            ]
            print(f"| {' | '.join(cells)} |", flush=True)


def encoded(name: str, images: int) -> tuple[list[Tensor], float]:
    """Maps of an image, and seconds per image."""
    encoder = build(name, weights="none", frozen=True).eval()
    side = SIZES[name]
    together = images_together(torch.device("cpu"), side)
    batch = torch.randint(256, (together, 3, side, side), dtype=torch.uint8)
    with torch.no_grad():
        like = [one[0].clone() for one in encoder(batch)]
        start = time.perf_counter()
        for _ in range(0, images, together):
            encoder(batch)
    return like, (time.perf_counter() - start) / (-(-images // together) * together)


def measured(maps: int, like: Sequence[Tensor]) -> Found:
    """Fill and read a store as a training does."""
    before, budget = peak(), memory_budget(None, 1)
    if size_of(like, maps) > budget:
        like = [one.half() for one in like]
    try:
        store = FeatureStore(range(maps), like, budget, cache_folder())
    except NoRoomError as reason:
        return Found(size_of(like, maps), f"none: {str(reason).partition(': ')[2]}", 0, 0, 0)
    together, start = 8, time.perf_counter()
    batch = tuple(one.expand(together, *one.shape) for one in like)
    for first in range(0, maps - together + 1, together):
        store.put(range(first, first + together), batch)
    fill = time.perf_counter() - start
    keys = torch.randint(maps // together * together, (READS, STEP))
    start = time.perf_counter()
    for chosen in keys:
        store[chosen]
    return Found(
        store.size,
        store.place.partition(",")[0].split(" in ")[0],
        fill,
        (time.perf_counter() - start) / READS,
        peak() - before,
    )


def peak() -> int:
    """Largest memory of this process so far, in bytes."""
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


if __name__ == "__main__":
    main()
