"""What `fsseg tune` does on a person's own pictures: photographs of a VOCdevkit.

python benchmarks/tuning.py VOCDEVKIT WEIGHTS [--classes ...] [--encoder NAME] [--method PANet] [--shot 5] [--refine]

Supports and queries are those of own_pictures.py. Each draw is segmented by the method as it is, tuned, by the linear
head alone, and by the one of the three that the command chooses by supports that are left out. Printed are the
IoU of each, the seconds that the choice takes once the supports are encoded, and what it gains over all draws.
"""

import argparse
import time
from pathlib import Path

import numpy as np
import torch
from own_pictures import common_arguments, iou, masks_of

from fsseg import methods
from fsseg.datasets import Pascal
from fsseg.encoders.names import build
from fsseg.segmenter import Segmenter
from fsseg.segmenter.tuning import Labelled, best, candidates, held_out, use


def main() -> None:
    parser = common_arguments(queries=20, draws=2)
    parser.add_argument("--method", default="KernelDensityRatio")
    parser.add_argument("--shot", type=int, default=5)
    parser.add_argument("--refine", action="store_true")
    given = parser.parse_args()
    torch.set_num_threads(1)
    voc = given.root / "VOC2012"
    masks = masks_of(voc)
    method = getattr(methods, given.method)(build(given.encoder, weights=given.weights))
    segmenter = Segmenter(method, given.size, "square", "cpu", given.refine)
    forms = candidates(method)
    print(f"{given.method}, {given.encoder}, {given.shot} supports, {given.draws} draws")
    heads = [*forms, "chosen", "best of them", "s"]
    print(f"| class | {' | '.join(heads)} |\n| --- |{' ---: |' * len(heads)}")
    rows, draws = [], []
    for label in given.classes:
        of_class = []
        for draw in range(given.draws):
            found, left_out, seconds = measured(segmenter, forms, voc, masks, label, draw, given)
            choice = best(left_out) if all(left_out.values()) else "untuned"
            draws.append([found[choice] - found["untuned"], max(found.values()) - found["untuned"]])
            of_class.append([*found.values(), found[choice], max(found.values()), seconds / 100])
        rows.append(np.mean(of_class, axis=0))
        print(f"| {label} | {' | '.join(f'{100 * value:.1f}' for value in rows[-1])} |", flush=True)
    print(f"| mean | {' | '.join(f'{100 * value:.1f}' for value in np.mean(rows, axis=0))} |")
    gain, most = 100 * np.array(draws).T
    print(
        f"chosen - untuned: {gain.min():.1f} to {gain.max():.1f} points over {len(gain)} draws, below 0 in "
        f"{(gain < 0).sum()}; untuned was the best of the three in {(most == 0).sum()}"
    )


def measured(
    segmenter: Segmenter,
    forms: dict[str, methods.Method],
    voc: Path,
    masks: dict[str, np.ndarray],
    label: str,
    draw: int,
    given: argparse.Namespace,
) -> tuple[dict[str, float], dict[str, dict[str, list[float]]], float]:
    """IoU on the queries and on left out supports by form, and seconds."""
    value = Pascal.class_names.index(label) + 1
    showing = [name for name in masks if (masks[name] == value).mean() > 0.05]
    order = np.random.default_rng(draw).permutation(showing).tolist()
    supports, queries = order[: given.shot], order[given.shot : given.shot + given.queries]
    images = [voc / f"JPEGImages/{name}.jpg" for name in supports]
    segmenter.known = type(segmenter.known[0])(), 1
    numbers = segmenter.learn(images, [masks[name] == value for name in supports])
    truth = [
        Labelled(number, image, np.where(masks[name] == 255, 255, masks[name] == value).astype(np.uint8), ("object",))
        for number, image, name in zip(numbers, images, supports, strict=True)
    ]
    found, left_out, seconds = {}, {}, 0.0
    for name, form in forms.items():
        began = time.perf_counter()
        use(segmenter, form)
        left_out[name] = held_out(segmenter, truth)
        seconds += time.perf_counter() - began
        answers = [segmenter.segment(voc / f"JPEGImages/{query}.jpg") == 1 for query in queries]
        found[name] = float(
            np.mean([iou(a, masks[q] == value, masks[q] != 255) for a, q in zip(answers, queries, strict=True)])
        )
    use(segmenter, forms["untuned"])
    return found, left_out, seconds


if __name__ == "__main__":
    main()
