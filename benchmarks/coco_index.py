"""First and second start on made-up annotations of COCO 2017's size: 123,287 images, 896,782 objects.

python benchmarks/coco_index.py [--share 1.0]

Objects are polygons of 24 corners with sizes about those of COCO; image files are empty, as only their names are read.
Each start is in a process of its own.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from fsseg.data import Coco

SPLITS = {"train": (118_287, 860_001), "val": (5_000, 36_781)}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--share", type=float, default=1.0, help="of COCO's size")
    parser.add_argument("--make", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--open", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.make:
        make(arguments.make, arguments.share)
        return
    if arguments.open:
        start(arguments.open)
        return
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        # A process each: the greatest memory of a process is handed down to those that it starts.
        for step in (["--make", folder, "--share", str(arguments.share)], ["--open", folder], ["--open", folder]):
            environment = {**os.environ, "XDG_CACHE_HOME": str(root / "cache")}
            subprocess.run([sys.executable, __file__, *step], env=environment, check=True)
        size = sum(path.stat().st_size for path in (root / "cache").rglob("*.npy"))
        print(f"cache: {size / 2**20:.0f} MiB")


def start(root: Path) -> None:
    """Open the data set, and say how long that took."""
    dataset = Coco()
    before = time.perf_counter()
    dataset.open(root)
    seconds = time.perf_counter() - before
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"{'first' if dataset.index.fresh else 'second'} start: {seconds:.3f} s, peak memory {memory:.1f} GiB")


def make(root: Path, share: float) -> None:
    """Annotation files and empty images."""
    generator = np.random.default_rng(0)
    categories = [{"id": i, "name": name} for i, name in enumerate(Coco.class_names, 1)]
    (root / "annotations").mkdir()
    for split, (images, objects) in SPLITS.items():
        first, count = (0 if split == "train" else 10**6), int(images * share)
        listed = [
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
            "segmentation": [points.round(2).ravel().tolist()],
        }


if __name__ == "__main__":
    main()
