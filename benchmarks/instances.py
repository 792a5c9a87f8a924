"""Objects found in ground-truth masks of classes: connected parts, and parts cut at necks (`predict --instances`).

python benchmarks/instances.py COCO [--set val] [--necks 0 0.3 0.4 0.5 0.6] [--least 100]

A class's mask in an image is the union of its objects (without crowds). An object is found if a piece has an IoU of at
least 0.5 with it. Objects and pieces below --least pixels are left out. Recall is the share of found objects; precision
the number of found objects per piece. The second numbers are those of masks with two or more objects.
"""

import argparse
import contextlib
import io
from pathlib import Path

import numpy as np
from pycocotools.coco import COCO

from fsseg.segmenter.instances import instances_of


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("coco", type=Path)
    parser.add_argument("--set", default="val")
    parser.add_argument("--necks", type=float, nargs="+", default=[0, 0.3, 0.4, 0.5, 0.6])
    parser.add_argument("--least", type=int, default=100)
    given = parser.parse_args()
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO(given.coco / "annotations" / f"instances_{given.set}2017.json")
    counts = {neck: np.zeros((2, 3), dtype=np.int64) for neck in given.necks}
    for image in coco.getImgIds():
        shown = coco.loadAnns(coco.getAnnIds(image))
        for category in {one["category_id"] for one in shown}:
            own = [one for one in shown if one["category_id"] == category]
            masks = [coco.annToMask(one).astype(bool) for one in own]
            masks = [mask for mask in masks if mask.sum() >= given.least]
            if masks and not any(one["iscrowd"] for one in own):
                for neck in given.necks:
                    row = matched(masks, instances_of(np.any(masks, axis=0).astype(np.uint8), neck), given.least)
                    counts[neck] += [row, row if len(masks) > 1 else (0, 0, 0)]
    print("| neck | recall | precision | F1 | several: recall | precision | F1 |\n| ---: |" + " ---: |" * 6)
    for neck, rows in counts.items():
        cells = [100 * value for a, b, c in rows for value in (a / b, a / c, 2 * a / (b + c))]
        print(f"| {neck:g} | {' | '.join(f'{cell:.1f}' for cell in cells)} |")
    every, several = counts[given.necks[0]][:, 1]
    print(f"{every:,} objects, {several:,} of them beside others of their class")


def matched(masks: list[np.ndarray], pieces: np.ndarray, least: int) -> tuple[int, int, int]:
    """Number of found objects, objects and pieces."""
    areas, found = np.bincount(pieces.ravel()), 0
    for mask in masks:
        shared = np.bincount(pieces[mask], minlength=len(areas))[1:]
        found += bool((shared / (areas[1:] + mask.sum() - shared) >= 0.5).any())
    return found, len(masks), int((areas[1:] >= least).sum())


if __name__ == "__main__":
    main()
