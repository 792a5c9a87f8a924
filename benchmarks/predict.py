"""`fsseg predict` on photos of a VOCdevkit, beside their masks: IoU, scores, seconds per picture and per repaint.

python benchmarks/predict.py VOCDEVKIT WEIGHTS [--class cat] [--photos 20] [--size 321] [--out runs/predict-photos]

WEIGHTS: of torchvision's mobilenet_v2, or of another network that --architecture and --tap name. Photos of the val list
that show at least 5 % of the class are segmented from 1 and from 5 others, and as many photos without it from the same;
the command line is the real one. A repaint gives a support another mask and segments a query again.
"""

import argparse
import csv
import time
from pathlib import Path
from statistics import median

import numpy as np
import PIL.Image
import torch

from fsseg.cli import main as fsseg
from fsseg.datasets import Pascal
from fsseg.segmenter import Segmenter


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("root", type=Path)
    parser.add_argument("weights", type=Path)
    parser.add_argument("--class", dest="name", default="cat")
    parser.add_argument("--photos", type=int, default=20)
    parser.add_argument("--size", type=int, default=321)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--architecture", default="mobilenet_v2")
    parser.add_argument("--tap", default="features.13")
    parser.add_argument("--mean", default="[0.502,0.502,0.502]")
    parser.add_argument("--std", default="[0.502,0.502,0.502]")
    parser.add_argument("--out", type=Path, default=Path("runs/predict-photos"))
    given = parser.parse_args()
    torch.set_num_threads(1)
    voc, value = given.root / "VOC2012", Pascal.class_names.index(given.name) + 1
    names = [
        Path(line.split()[0]).stem for line in (voc / "ImageSets/SegmentationAug/val.txt").read_text().splitlines()
    ]
    masks = {name: np.asarray(PIL.Image.open(voc / "SegmentationClassAug" / f"{name}.png")) for name in names}
    random = np.random.default_rng(given.seed)
    showing = random.permutation([name for name in names if (masks[name] == value).mean() > 0.05]).tolist()
    without = random.permutation([name for name in names if not (masks[name] == value).any()]).tolist()
    supports, queries = showing[:5], showing[5 : 5 + given.photos]
    others = without[: given.photos]
    print(f"{given.name}: {len(queries)} photos show it, {len(others)} do not; {given.architecture}, {given.size}")
    print("| supports | mean IoU of the photos, % (range) | score, showing it | not showing it | s a picture |")
    print("| ---: | --- | --- | --- | ---: |")
    encoder = "--model.method.encoder"
    options = ["--model.method", "PANet", "--no_refine"]
    options += [encoder, "Torchvision", f"{encoder}.architecture", given.architecture, f"{encoder}.taps=[{given.tap}]",
               f"{encoder}.weights", str(given.weights), f"{encoder}.mean={given.mean}", f"{encoder}.std={given.std}",
               "--size", str(given.size)]  # fmt: skip
    for shot in (1, 5):
        shown = [
            f"{given.name}={voc}/JPEGImages/{n}.jpg:{voc}/SegmentationClassAug/{n}.png:{value}" for n in supports[:shot]
        ]
        photos = [str(voc / "JPEGImages" / f"{name}.jpg") for name in (*queries, *others)]
        out, kept = given.out / f"{shot}-supports", given.out / f"{shot}.fsseg"
        start = time.perf_counter()
        code = fsseg(
            ["predict", "--support", *shown, "--query", *photos, "--out", str(out), "--save", str(kept), *options]
        )
        taken = time.perf_counter() - start
        if code:
            raise SystemExit(code)
        ious = [iou(np.asarray(PIL.Image.open(out / "masks" / f"{n}.png")) == 1, masks[n], value) for n in queries]
        with (out / "scores.csv").open() as file:
            scores = {row["name"]: row["score"] for row in csv.DictReader(file)}
        cells = [spread([float(scores[n]) for n in some if scores[n]]) for some in (queries, others)]
        mean = f"{100 * np.mean(ious):.1f} ({100 * min(ious):.0f} - {100 * max(ious):.0f})"
        print(f"| {shot} | {mean} | {cells[0]} | {cells[1]} | {taken / len(photos):.2f} |", flush=True)
        rejecting(scores, queries, others)
    repaints(kept, voc / "JPEGImages" / f"{supports[0]}.jpg", masks[supports[0]] == value, voc, queries)


def iou(found: np.ndarray, mask: np.ndarray, value: int) -> float:
    """Of a prediction, without ignored pixels."""
    known = mask != 255
    return float((found & (mask == value)).sum() / ((found | (mask == value)) & known).sum())


def spread(values: list[float]) -> str:
    return f"{median(values):.2f} ({min(values):.2f} - {max(values):.2f})" if values else "none"


def rejecting(scores: dict[str, str], queries: list[str], others: list[str]) -> None:
    """What a threshold of 0.5 would keep."""
    known = {name: float(score) for name, score in scores.items() if score}
    if known:
        kept = [sum(known.get(name, 0) >= 0.5 for name in some) for some in (queries, others)]
        print(
            f"  (a threshold of 0.5 keeps {kept[0]} of {len(queries)} that show it, {kept[1]} of {len(others)} others)"
        )


def repaints(kept: Path, image: Path, mask: np.ndarray, voc: Path, queries: list[str]) -> None:
    """Seconds of a repaint, with its queries encoded before and without."""
    segmenter = Segmenter.load(kept, "cpu")
    (number,) = segmenter.learn(image, mask, segmenter.classes[0])
    photos = [np.asarray(PIL.Image.open(voc / "JPEGImages" / f"{name}.jpg").convert("RGB")) for name in queries[:7]]
    first, again, whole = [], [], []
    for photo in photos:
        start = time.perf_counter()
        segmenter.segment(photo)
        first.append(time.perf_counter() - start)
        start = time.perf_counter()
        segmenter.repaint(number, np.roll(mask, 3, axis=1))
        again.append(time.perf_counter() - start)
        start = time.perf_counter()
        segmenter.segment(photo)
        whole.append(time.perf_counter() - start)
    print("| what | ms, median (range) |\n| --- | --- |")
    for what, times in {"a new picture, with its encoder pass": first, "a repaint: prototypes anew": again,
                        "the same picture after a repaint": whole}.items():  # fmt: skip
        low, high = 1000 * min(times), 1000 * max(times)
        print(f"| {what} | {1000 * median(times):.0f} ({low:.0f} - {high:.0f}) |")


if __name__ == "__main__":
    main()
