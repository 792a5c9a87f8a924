"""COCO's size in time and memory, on made-up annotations: 118,287 + 5,000 images, 896,782 objects of 80 classes.

python benchmarks/coco_index.py [--share 1.0]

Timed are pycocotools' own loading of the two annotation files, our first start, which makes exact masks and counts of
all objects besides, our second, and 10,000 training and test episodes drawn from the index. Objects are polygons of 24
corners with sizes about those of COCO; image files are empty, as only their names are read. Every step is in a process
of its own, since the greatest memory of a process is handed down to those that it starts.
"""

import argparse
import contextlib
import io
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from pycocotools.coco import COCO

from fsseg.datasets import Coco
from fsseg.episodes.draw import seeded
from fsseg.episodes.eligible_images import Need, class_images
from fsseg.episodes.sampler import Key
from fsseg.protocols.protocol import Split

SPLITS = {"train": (118_287, 860_001), "val": (5_000, 36_781)}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--share", type=float, default=1.0, help="of COCO's size")
    parser.add_argument("--step", choices=STEPS, help=argparse.SUPPRESS)
    parser.add_argument("--root", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.step:
        STEPS[arguments.step](arguments.root, arguments.share)
        return
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        print("| what | seconds | peak memory, GiB |\n| --- | ---: | ---: |", flush=True)
        for step in (
            "made up",
            "nothing",
            "pycocotools",
            "start",
            "start",
            "10,000 test episodes",
            "10,000 training episodes",
        ):
            environment = {**os.environ, "XDG_CACHE_HOME": str(root / "cache")}
            command = [sys.executable, __file__, "--step", step, "--root", folder, "--share", str(arguments.share)]
            subprocess.run(command, env=environment, check=True)
        size = sum(path.stat().st_size for path in (root / "cache").rglob("*.npy"))
        print(f"\nThe cache has {size / 2**20:.0f} MiB.")


def report(what: str, seconds: float) -> None:
    """One line of the table."""
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"| {what} | {seconds:.3f} | {memory:.2f} |", flush=True)


def nothing(root: Path, share: float) -> None:
    """What Python and torch take."""
    report("imports alone", 0)


def pycocotools(root: Path, share: float) -> None:
    """What every code on pycocotools does at each start."""
    before = time.perf_counter()
    with contextlib.redirect_stdout(io.StringIO()):
        loaded = [COCO(path) for path in sorted((root / "annotations").iterdir())]
    report(f"pycocotools loads the {len(loaded)} files", time.perf_counter() - before)
    before = time.perf_counter()
    for coco in loaded:
        for annotation in coco.anns.values():
            coco.annToRLE(annotation)
    report("- and makes the masks of all objects, kept nowhere", time.perf_counter() - before)


def start(root: Path, share: float) -> None:
    """Open the data set."""
    dataset = Coco()
    before = time.perf_counter()
    dataset.open(root)
    report(f"{'first' if dataset.index.fresh else 'second'} start", time.perf_counter() - before)


def episodes(split: Split, root: Path, share: float) -> None:
    """Draw from the base classes of the train images, or from the novel ones of the val images."""
    dataset = Coco()
    dataset.open(root)
    classes = dataset.base(0) if split == "train" else dataset.novel(0)
    sizes = (1, 5, 1)
    before = time.perf_counter()
    images = class_images(
        dataset, classes, dataset.numbers(split), "any", 1, Need(*sizes, split, "shot"), "skip"
    ).images
    chosen = time.perf_counter() - before
    draw = seeded(images, sizes, seed=0)
    before = time.perf_counter()
    drawn = [draw(Key(0, number)) for number in range(10_000)]
    taken = time.perf_counter() - before
    pairs = sum(len(found) for found in images.values())
    report(f"{len(drawn):,} {split} episodes, 1-way 5-shot, of {pairs:,} pairs", taken)
    report(f"- choosing those pairs, {split}", chosen)


def make(root: Path, share: float) -> None:
    """Annotation files and empty images."""
    generator = np.random.default_rng(0)
    categories = [{"id": i, "name": name} for i, name in enumerate(Coco.class_names, 1)]
    (root / "annotations").mkdir()
    for split, (images, objects) in SPLITS.items():
        first, count = (0 if split == "train" else 10**6), int(images * share)
        listed: list[dict[str, Any]] = [
            {"id": first + i, "file_name": f"{first + i:012d}.jpg", "height": 480, "width": 640} for i in range(count)
        ]
        annotations = list(draw(generator, int(objects * share), first, count))
        content = {"images": listed, "annotations": annotations, "categories": categories}
        (root / "annotations" / f"instances_{split}2017.json").write_text(json.dumps(content))
        (root / f"{split}2017").mkdir()
        for image in listed:
            (root / f"{split}2017" / image["file_name"]).touch()


def draw(generator: np.random.Generator, objects: int, first: int, images: int) -> Iterator[dict[str, Any]]:
    """Annotations of objects at random places of random images."""
    angle = np.linspace(0, 2 * np.pi, 24, endpoint=False)
    for number in range(objects):
        radius = (generator.exponential(30) + 5) * (0.6 + 0.4 * generator.random(24))
        x, y = generator.random(2) * (640, 480)
        points = np.stack(
            [(x + radius * np.cos(angle)).clip(0, 640), (y + radius * np.sin(angle)).clip(0, 480)], axis=1
        )
        yield {
            "id": 10 * first + number,
            "image_id": first + int(generator.integers(images)),
            "category_id": int(generator.integers(80)) + 1,
            "iscrowd": 0,
            "area": float(np.pi * radius.mean() ** 2),
            "bbox": [*points.min(0).tolist(), *np.ptp(points, axis=0).tolist()],
            "segmentation": [points.round(2).ravel().tolist()],
        }


STEPS: dict[str, Callable[[Path, float], None]] = {
    "made up": make,
    "nothing": nothing,
    "pycocotools": pycocotools,
    "start": start,
    "10,000 test episodes": partial(episodes, "val"),
    "10,000 training episodes": partial(episodes, "train"),
}

if __name__ == "__main__":
    main()
