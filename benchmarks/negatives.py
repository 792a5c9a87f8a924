"""What rejected images and presence scores do on a person's own pictures: photographs of a VOCdevkit.

python benchmarks/negatives.py VOCDEVKIT WEIGHTS [--encoder NAME] [--rejects 0 6] [--threshold auto]

Each draw takes 5 supports of a class and, as rejects, photographs without the class; then up to 20 queries that show at
least 5 % of the class, and as many that lack it. Printed are the IoU of the former, the share of the latter that stays
clean (less than 0.5 % of the pixels marked), the share of their pixels that is marked, and the AUC of the presence
score.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from own_pictures import common_arguments, iou, masks_of
from torchmetrics.functional.classification import binary_auroc

from fsseg import methods
from fsseg.datasets import Pascal
from fsseg.encoders.names import build
from fsseg.segmenter import Segmenter

_CLEAN = 0.005  # largest share of pixels that a person would not notice


def main() -> None:
    parser = common_arguments(queries=20, draws=2)
    parser.add_argument("--method", default="KernelDensityRatio")
    parser.add_argument("--rejects", type=int, nargs="+", default=[0, 6])
    parser.add_argument("--threshold", type=lambda text: text if text == "auto" else float(text), default=0.0)
    given = parser.parse_args()
    torch.set_num_threads(1)
    voc = given.root / "VOC2012"
    masks = masks_of(voc)
    segmenter = Segmenter(getattr(methods, given.method)(build(given.encoder, weights=given.weights)), given.size)
    segmenter.refine = True
    print(f"{given.method}, {given.encoder} at {given.size}, 5 supports, {given.draws} draws")
    print(
        "| class | rejects | IoU | absent, clean | absent, pixels | AUC |\n| --- | ---: | ---: | ---: | ---: | ---: |"
    )
    for rejects in given.rejects:
        rows = [measured(segmenter, voc, masks, label, rejects, given) for label in given.classes]
        for label, row in zip([*given.classes, "mean"], [*rows, np.mean(rows, axis=0)], strict=True):
            print(f"| {label} | {rejects} | {' | '.join(f'{100 * value:.1f}' for value in row)} |", flush=True)


def measured(
    segmenter: Segmenter, voc: Path, masks: dict[str, np.ndarray], label: str, rejects: int, given: argparse.Namespace
) -> list[float]:
    """IoU, share of clean absent queries, share of their marked pixels, AUC."""
    value = Pascal.class_names.index(label) + 1
    showing = [name for name, mask in masks.items() if (mask == value).mean() > 0.05]
    lacking = [name for name, mask in masks.items() if not (mask == value).any()]
    ious, marked, scores = [], [], []
    for draw in range(given.draws):
        random = np.random.default_rng(draw)
        there, not_there = random.permutation(showing).tolist(), random.permutation(lacking).tolist()
        learn(segmenter, voc, masks, there[:5], not_there[:rejects], value)
        last = max(given.rejects)
        asked = [*there[5 : 5 + given.queries], *not_there[last : last + given.queries]]
        for name in asked:
            found = segmenter.predict(voc / f"JPEGImages/{name}.jpg", given.threshold, probability=False)
            mask, shown = found.mask == 1, masks[name] == value
            scores.append((found.score["object"] or 0.0, bool(shown.any())))
            if shown.any():
                ious.append(iou(mask, shown, masks[name] != 255))
            else:
                marked.append(mask.mean())
    score, shown = (torch.tensor(each) for each in zip(*scores, strict=True))
    clean = float(np.mean(np.array(marked) < _CLEAN))
    return [float(np.mean(ious)), clean, float(np.mean(marked)), float(binary_auroc(score, shown))]


def learn(
    segmenter: Segmenter, voc: Path, masks: dict[str, np.ndarray], supports: list[str], rejects: list[str], value: int
) -> None:
    """Replace all that the segmenter knows; the features of images stay cached."""
    segmenter.known = type(segmenter.known[0])(), 1
    segmenter.learn([voc / f"JPEGImages/{name}.jpg" for name in supports], [masks[name] == value for name in supports])
    if rejects:
        segmenter.reject([voc / f"JPEGImages/{name}.jpg" for name in rejects])


if __name__ == "__main__":
    main()
