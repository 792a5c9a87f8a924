"""Training-free methods on a person's own pictures: IoU and boundary-IoU per class on photographs of a VOCdevkit.

python benchmarks/own_pictures.py VOCDEVKIT WEIGHTS [--encoder efficientnet_lite0_levels] [--refine] [--thorough]

Each draw takes 5 supports (--shot) and up to 40 queries of a class among photographs that show at least 5 % of it. The
baseline is what a person writes in 20 lines: the cosine of each cell and the mean of the masked cells, above the
threshold that segments the supports best. Boundary-IoU is the IoU of pixels within 2 % of the diagonal from a border
(Cheng et al., CVPR 2021). Intervals are bootstrap intervals over the queries of each class: of the mean IoU, and of its
difference to the first method, query by query.
"""

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import PIL.Image
import torch
from torch.nn import functional as F

from fsseg.datasets import Pascal
from fsseg.encoders import Encoder
from fsseg.encoders.names import build
from fsseg.methods import INSID3, KernelDensityRatio, Method, MixtureClassifier, PANet
from fsseg.ops.feature_maps import concatenated
from fsseg.results.intervals import LEVEL, REPLICATES, interval
from fsseg.segmenter import Segmenter

CLASSES = ("cat", "dog", "horse", "sheep", "car")
METHODS: dict[str, Callable[[Encoder], Method]] = {
    "PANet-init": PANet,
    "mixture classifier": MixtureClassifier,
    "FSSDINO's scores": lambda e: MixtureClassifier(e, components=5, max_times_mean=True, gram=True, calibrate=False),
    "kernel density ratio": KernelDensityRatio,
    "kernel density ratio, not calibrated": lambda e: KernelDensityRatio(e, calibrate=False),
    "INSID3": INSID3,
    "INSID3, tau 0.2, threshold 0.02": lambda e: INSID3(e, 0.2, 0.02, positional_share=0.0),
}


class Baseline:
    """Cosine to the mean of the masked cells."""

    def __init__(self, encoder: Encoder, size: int) -> None:
        self.encoder, self.size = encoder.eval(), size

    def cells(self, image: Path) -> torch.Tensor:
        """Cells of unit length, ``C h w``."""
        with PIL.Image.open(image) as opened:
            small = opened.convert("RGB").resize((self.size, self.size), PIL.Image.Resampling.BILINEAR)
        with torch.inference_mode():
            maps = self.encoder(torch.from_numpy(np.array(small)).permute(2, 0, 1)[None])
            return F.normalize(concatenated(maps)[0], dim=0)

    def learn(self, images: list[Path], masks: list[np.ndarray]) -> None:
        """The mean of the masked cells, and the threshold."""
        maps = [self.cells(image) for image in images]
        means = []
        for cells, mask in zip(maps, masks, strict=True):
            weight = F.interpolate(torch.from_numpy(mask)[None, None].float(), cells.shape[-2:], mode="area")[0, 0]
            means.append((cells * weight).sum((1, 2)) / weight.sum())
        self.mean = F.normalize(torch.stack(means).mean(0), dim=0)
        scores = [self.score(cells, mask.shape) for cells, mask in zip(maps, masks, strict=True)]
        thresholds = np.linspace(0, 1, 101)
        ious = [np.mean([iou(s > t, m, m | True) for s, m in zip(scores, masks, strict=True)]) for t in thresholds]
        self.threshold = thresholds[int(np.argmax(ious))]

    def score(self, cells: torch.Tensor, size: tuple[int, ...]) -> np.ndarray:
        """Cosine of each pixel."""
        cosine = torch.einsum("chw,c->hw", cells, self.mean)[None, None]
        return F.interpolate(cosine, size, mode="bilinear")[0, 0].numpy()

    def segment(self, image: Path) -> np.ndarray:
        """A mask."""
        with PIL.Image.open(image) as opened:
            size = opened.size[::-1]
        found: np.ndarray = self.score(self.cells(image), size) > self.threshold
        return found


def main() -> None:
    parser = common_arguments(queries=40, draws=3)
    parser.add_argument("--shot", type=int, default=5)
    parser.add_argument("--refine", action="store_true")
    parser.add_argument("--thorough", action="store_true")
    parser.add_argument("--methods", nargs="+", choices=["baseline", *METHODS], default=["baseline", *METHODS])
    given = parser.parse_args()
    torch.set_num_threads(1)
    voc = given.root / "VOC2012"
    masks = masks_of(voc)
    names = [*masks]
    encoder = build(given.encoder, weights=given.weights)
    refined = ", refined" * given.refine + ", thorough" * given.thorough
    print(f"{given.encoder} at {given.size}x{given.size}, {given.shot} supports, {given.draws} draws{refined}")
    level = f"{LEVEL:.0f} % interval"
    heads = [*given.classes, "mean", level, f"above {given.methods[0]}, {level}", "boundary-IoU", "s a picture"]
    print(f"| method | {' | '.join(heads)} |\n| --- |{' ---: |' * len(heads)}")
    first = None  # replicates of the first method
    for name in given.methods:
        ious, borders, began, pictures = [], [], time.perf_counter(), 0
        for label in given.classes:
            value, found = Pascal.class_names.index(label) + 1, []
            showing = [one for one in names if (masks[one] == value).mean() > 0.05]
            for draw in range(given.draws):
                order = np.random.default_rng(draw).permutation(showing).tolist()
                supports, queries = order[: given.shot], order[given.shot : given.shot + given.queries]
                images = [voc / "JPEGImages" / f"{one}.jpg" for one in supports]
                shown = [masks[one] == value for one in supports]
                segment = learnt(name, encoder, given, images, shown)
                for one in queries:
                    answer = segment(voc / "JPEGImages" / f"{one}.jpg")
                    mask, known = masks[one] == value, masks[one] != 255
                    found.append(iou(answer, mask, known))
                    borders.append(100 * iou(border(answer & known), border(mask), known))
                pictures += len(queries)
            ious.append(100 * np.array(found))
        means, seconds = [one.mean() for one in ious], (time.perf_counter() - began) / pictures
        drawn = replicates(ious)
        first = drawn if first is None else first
        cells = [*(f"{value:.1f}" for value in (*means, np.mean(means))), in_words(drawn), in_words(drawn - first)]
        print(f"| {name} | {' | '.join(cells)} | {np.mean(borders):.1f} | {seconds:.2f} |", flush=True)


def common_arguments(queries: int, draws: int, classes: tuple[str, ...] = CLASSES) -> argparse.ArgumentParser:
    """Arguments of the benchmarks on a person's own pictures, with defaults."""
    parser = argparse.ArgumentParser()
    parser.add_argument("root", type=Path)
    parser.add_argument("weights")
    parser.add_argument("--encoder", default="efficientnet_lite0_levels")
    parser.add_argument("--classes", nargs="+", choices=Pascal.class_names, default=list(classes))
    parser.add_argument("--size", type=int, default=417)
    parser.add_argument("--queries", type=int, default=queries)
    parser.add_argument("--draws", type=int, default=draws)
    return parser


def masks_of(voc: Path) -> dict[str, np.ndarray]:
    """Masks of VOC's classes by the name of the photograph, those to test on first."""
    lists = [voc / "ImageSets/SegmentationAug" / f"{name}.txt" for name in ("val", "train_aug")]
    names = [Path(line.split()[0]).stem for each in lists for line in each.read_text().splitlines()]
    return {name: np.asarray(PIL.Image.open(voc / "SegmentationClassAug" / f"{name}.png")) for name in names}


def learnt(
    name: str, encoder: Encoder, given: argparse.Namespace, images: list[Path], masks: list[np.ndarray]
) -> Callable[[Path], np.ndarray]:
    """A function from a photograph to a mask."""
    if name == "baseline":
        baseline = Baseline(encoder, given.size)
        baseline.learn(images, masks)
        return baseline.segment
    segmenter = Segmenter(METHODS[name](encoder), given.size, "square", "cpu", given.refine, given.thorough)
    segmenter.learn(images, masks)
    return lambda image: segmenter.segment(image) == 1


def replicates(ious: list[np.ndarray]) -> np.ndarray:
    """Means over classes of bootstrap draws of each class's queries; every method gets the same draws."""
    generator, means = np.random.default_rng(0), []
    for each in ious:
        count = len(each)
        means.append(generator.multinomial(count, np.full(count, 1 / count), REPLICATES) @ each / count)
    mean: np.ndarray = np.mean(means, axis=0)
    return mean


def in_words(drawn: np.ndarray) -> str:
    """An interval; nothing for the difference of a method to itself."""
    low, high = interval(drawn)
    return f"{low:.1f} to {high:.1f}" if drawn.any() else ""


def iou(found: np.ndarray, mask: np.ndarray, known: np.ndarray) -> float:
    """Of a prediction, without ignored pixels."""
    return float((found & mask & known).sum() / max(1, ((found | mask) & known).sum()))


def border(mask: np.ndarray) -> np.ndarray:
    """Pixels of a mask near its border; the border of the image counts."""
    width = max(1, round(0.02 * float(np.hypot(*mask.shape))))
    padded = np.pad(mask, 1).astype(np.uint8)
    inside = cv2.erode(padded, np.ones((3, 3), np.uint8), iterations=width)[1:-1, 1:-1]
    near: np.ndarray = mask & (inside == 0)
    return near


if __name__ == "__main__":
    main()
