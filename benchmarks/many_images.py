"""What the 10th, 100th and 1,000th support of a class costs, and the memory of as many queries.

OMP_NUM_THREADS=1 python benchmarks/many_images.py WEIGHTS [--size 128] [--counts 10 100 1000] [--queries 1000]

EfficientNet-Lite0 on made-up images, 48 different ones, so that no time of a support is the encoder's. Each row is a
process of its own. Printed are the seconds of the last `learn`, of the first prediction after it with a score and of
the next one, and the memory of the process above that with one support; then the memory of further queries.
"""

import argparse
import resource
import subprocess
import sys
import time

import numpy as np
import torch

from fsseg import methods
from fsseg.encoders.names import build
from fsseg.segmenter import Segmenter

_METHODS = ("PANet", "KernelDensityRatio", "MixtureClassifier")
_DIFFERENT = 48


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("weights")
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--counts", type=int, nargs="+", default=[10, 100, 1000])
    parser.add_argument("--queries", type=int, default=1000)
    parser.add_argument("--methods", nargs="+", default=list(_METHODS))
    parser.add_argument("--one", type=int)
    given = parser.parse_args()
    if given.one:
        print(row(given.methods[0], given.weights, given.size, given.one, given.queries))
        return
    print("| method | supports | last `learn`, ms | first prediction, ms | next one, ms | MB | MB of queries |")
    print("| --- | ---: | ---: | ---: | ---: | ---: | ---: |")
    for method in given.methods:
        for count in given.counts:
            queries = given.queries if count == given.counts[0] else 0
            command = [sys.executable, __file__, given.weights, "--size", str(given.size), "--methods", method]
            command += ["--one", str(count), "--queries", str(queries)]
            print(subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip(), flush=True)


def row(method: str, weights: str, size: int, count: int, queries: int) -> str:
    """One row of the table."""
    torch.set_num_threads(1)
    random = np.random.default_rng(0)
    images, mask = (
        random.integers(0, 256, (_DIFFERENT, size, size, 3), dtype=np.uint8),
        np.zeros((size, size), np.uint8),
    )
    mask[size // 4 : size // 2, size // 4 : size // 2] = 1
    masks = [np.roll(mask, i, axis=(0, 1)) for i in range(count)]
    segmenter = Segmenter(getattr(methods, method)(build("efficientnet_lite0", weights=weights)), size, device="cpu")
    segmenter.learn(images[0], masks[0])
    segmenter.predict(images[0])
    before = megabytes()
    segmenter.learn([images[i % _DIFFERENT] for i in range(1, count - 1)], masks[1:-1])
    segmenter.segment(images[0])
    times = [seconds(lambda: segmenter.learn(images[1], masks[-1])) for _ in (1,)]
    times += [seconds(lambda: segmenter.predict(images[2])) for _ in (1, 2)]
    grown = megabytes() - before
    for number in range(queries):
        segmenter.segment(np.roll(images[number % _DIFFERENT], number // _DIFFERENT, axis=0))
        if number == queries // 10:
            middle = megabytes()
    further = f"{megabytes() - middle:.0f}" if queries else ""
    cells = " | ".join(f"{1000 * value:,.0f}" for value in times)
    return f"| {method} | {count:,} | {cells} | {grown:,.0f} | {further} |"


def seconds(work: object) -> float:
    """Of a call."""
    start = time.perf_counter()
    work()  # type: ignore[operator]
    return time.perf_counter() - start


def megabytes() -> float:
    """Largest memory of this process until now."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main()
