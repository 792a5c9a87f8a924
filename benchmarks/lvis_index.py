"""LVIS' size in time and memory, on made-up annotations: 100,170 + 19,809 images, 1,514,848 objects of 1,203 classes.

python benchmarks/lvis_index.py [--share 1.0]

Timed are our first start, which reads both files and makes the masks and counts of all objects, our second, and the
2,300 episodes of protocol `lvis92i`. Objects are polygons of 58 corners, so that the train file has LVIS' 1.1 GB; the
classes of an image are drawn by a power law, so that about a third of them are rare. Image files are empty, as only
their names are read. Every step is in a process of its own.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from coco_index import nothing, report

from fsseg.datasets import Lvis
from fsseg.episodes.draw import drawn
from fsseg.episodes.eligible_images import Need, class_images
from fsseg.episodes.sampler import Key
from fsseg.protocols.presets import protocol

SPLITS = {"train": (100_170, 1_270_141), "val": (19_809, 244_707)}
CLASSES, CORNERS, OF_IMAGE = 1_203, 58, 5  # the last: classes of an image


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--share", type=float, default=1.0, help="of LVIS' size")
    parser.add_argument("--step", choices=STEPS, help=argparse.SUPPRESS)
    parser.add_argument("--root", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.step:
        STEPS[arguments.step](arguments.root, arguments.share)
        return
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        print("| what | seconds | peak memory, GiB |\n| --- | ---: | ---: |", flush=True)
        for step in ("made up", "nothing", "start", "start", "episodes"):
            environment = {**os.environ, "XDG_CACHE_HOME": str(root / "cache")}
            command = [sys.executable, __file__, "--step", step, "--root", folder, "--share", str(arguments.share)]
            subprocess.run(command, env=environment, check=True)
        sizes = {path.stem: path.stat().st_size / 2**20 for path in (root / "cache").rglob("*.npy")}
        largest = ", ".join(f"{name} {size:.0f}" for name, size in sorted(sizes.items(), key=lambda s: -s[1])[:4])
        files = [path.stat().st_size / 1e9 for path in sorted((root / "annotations").iterdir())]
        print(f"\nThe annotation files have {files[0]:.2f} and {files[1]:.2f} GB.")
        print(f"The cache has {sum(sizes.values()):.0f} MiB, of which {largest}.")


def start(root: Path, share: float) -> None:
    """Open the data set."""
    dataset = Lvis()
    before = time.perf_counter()
    dataset.open(root)
    report(f"{'first' if dataset.index.fresh else 'second'} start", time.perf_counter() - before)


def episodes(root: Path, share: float) -> None:
    """Draw the episodes of a whole fold as Matcher's code does."""
    dataset, rule = Lvis(), protocol({"name": "lvis92i"}, Lvis.family)
    dataset.open(root)
    before = time.perf_counter()
    need, numbers = Need(1, 1, 1, "val", "shot"), dataset.numbers("val")
    images = class_images(dataset, dataset.novel(0), numbers, "any", 1, need, "skip").images
    draw = drawn(rule, dataset, images, (1, 1, 1))
    found = [draw(Key(0, number)) for number in range(rule.episodes)]
    report(f"{len(found):,} test episodes of {len(images)} classes", time.perf_counter() - before)
    before = time.perf_counter()
    for episode in found[:500]:
        dataset.episode_mask(episode.query[0], episode.classes)
    report("500 masks of queries", time.perf_counter() - before)


def make(root: Path, share: float) -> None:
    """Annotation files and empty images."""
    generator = np.random.default_rng(0)
    categories = [{"id": i, "name": f"thing_{i}"} for i in range(1, CLASSES + 1)]
    (root / "annotations").mkdir()
    for part in ("train2017", "val2017"):
        (root / part).mkdir()
    for split, (images, objects) in SPLITS.items():
        first, count = (0 if split == "train" else 10**6), int(images * share)
        listed: list[dict[str, Any]] = []
        for i in range(first, first + count):
            name = f"{'val2017' if split == 'val' and i % 4 == 0 else 'train2017'}/{i:012d}.jpg"
            (root / name).touch()
            url = f"http://images.cocodataset.org/{name}"
            listed.append({"id": i, "coco_url": url, "height": 480, "width": 640, "not_exhaustive_category_ids": []})
        write(root / f"annotations/lvis_v1_{split}.json", listed, categories,
              draw(generator, int(objects * share), first, count))  # fmt: skip


def write(path: Path, images: list[Any], categories: list[Any], objects: Iterator[dict[str, Any]]) -> None:
    """Write an annotation file, object by object."""
    with path.open("w") as file:
        file.write(f'{{"images": {json.dumps(images)}, "categories": {json.dumps(categories)}, "annotations": [')
        for number, item in enumerate(objects):
            file.write((", " if number else "") + json.dumps(item))
        file.write("]}")


def draw(generator: np.random.Generator, objects: int, first: int, images: int) -> Iterator[dict[str, Any]]:
    """Annotations of objects at random places of random images."""
    angle = np.linspace(0, 2 * np.pi, CORNERS, endpoint=False)
    weights = 1 / np.arange(1, CLASSES + 1) ** 1.3
    weights /= weights.sum()
    shown = generator.choice(np.arange(1, CLASSES + 1), (images, OF_IMAGE), p=weights)
    for number in range(objects):
        image = int(generator.integers(images))
        radius = (generator.exponential(30) + 5) * (0.6 + 0.4 * generator.random(CORNERS))
        x, y = generator.random(2) * (640, 480)
        points = [(x + radius * np.cos(angle)).clip(0, 640), (y + radius * np.sin(angle)).clip(0, 480)]
        yield {
            "id": 10 * first + number,
            "image_id": first + image,
            "category_id": int(shown[image, generator.integers(OF_IMAGE)]),
            "area": float(np.pi * radius.mean() ** 2),
            "bbox": [1.0, 1.0, 2.0, 2.0],
            "segmentation": [np.stack(points, axis=1).round(2).ravel().tolist()],
        }


STEPS: dict[str, Callable[[Path, float], None]] = {
    "made up": make,
    "nothing": nothing,
    "start": start,
    "episodes": episodes,
}

if __name__ == "__main__":
    main()
