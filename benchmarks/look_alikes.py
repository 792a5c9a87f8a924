"""Several classes at once on a person's own pictures: photographs of a VOCdevkit.

python benchmarks/look_alikes.py VOCDEVKIT WEIGHTS [--classes cat dog horse] [--method KernelDensityRatio] [--no_refine]

Each draw takes 5 supports of each class and 40 queries. Each shows one of the classes, on at least 5 % of the image.
Printed are the IoU of this class, its share of the predicted pixels, and the number of classes that an image is given.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from own_pictures import common_arguments, iou, masks_of

from fsseg import methods
from fsseg.datasets import Pascal
from fsseg.encoders.names import build
from fsseg.segmenter import Segmenter


def main() -> None:
    parser = common_arguments(queries=40, draws=2, classes=("cat", "dog", "horse"))
    parser.add_argument("--method", default="KernelDensityRatio")
    parser.add_argument("--no_refine", action="store_true")
    given = parser.parse_args()
    torch.set_num_threads(1)
    voc = given.root / "VOC2012"
    masks = masks_of(voc)
    encoder = build(given.encoder, weights=given.weights)
    segmenter = Segmenter(getattr(methods, given.method)(encoder), given.size, refine=not given.no_refine)
    rows: dict[str, list[tuple[float, float, int]]] = {name: [] for name in given.classes}
    for draw in range(given.draws):
        for name, row in measured(segmenter, voc, masks, given, draw):
            rows[name].append(row)
    print(f"{given.method}, {given.encoder} at {given.size}, 5 supports a class, {given.draws} draws, mean of queries")
    print("| class | IoU | pixels of the right class | classes an image |\n| --- | ---: | ---: | ---: |")
    means = {name: np.mean(found, axis=0) for name, found in rows.items()}
    for name, row in [*means.items(), ("mean", np.mean([*means.values()], axis=0))]:
        print(f"| {name} | {100 * row[0]:.1f} | {100 * row[1]:.1f} % | {row[2]:.2f} |", flush=True)


def measured(
    segmenter: Segmenter, voc: Path, masks: dict[str, np.ndarray], given: argparse.Namespace, draw: int
) -> list[tuple[str, tuple[float, float, int]]]:
    """The class and the three numbers of each query."""
    random, asked = np.random.default_rng(draw), []
    values = {name: Pascal.class_names.index(name) + 1 for name in given.classes}
    segmenter.known = type(segmenter.known[0])(), 1
    for name, value in values.items():
        others = [other for other in values.values() if other != value]
        showing = [
            one for one, mask in masks.items() if (mask == value).mean() > 0.05 and not np.isin(mask, others).any()
        ]
        order = random.permutation(showing).tolist()
        images = [voc / f"JPEGImages/{one}.jpg" for one in order[:5]]
        segmenter.learn(images, [masks[one] == value for one in order[:5]], name)
        asked += [(name, one) for one in order[5 : 5 + -(-given.queries // len(values))]]
    found = []
    for name, one in asked:
        mask, own = segmenter.segment(voc / f"JPEGImages/{one}.jpg"), 1 + given.classes.index(name)
        marked = mask > 0
        right = float((mask == own).sum() / max(1, marked.sum()))
        known = masks[one] != 255
        row = (iou(mask == own, masks[one] == values[name], known), right, len(np.unique(mask[marked])))
        found.append((name, row))
    return found


if __name__ == "__main__":
    main()
