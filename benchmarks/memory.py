"""Peak memory of a PANet training step above the start, beside its encoder alone on the same images.

python benchmarks/memory.py [--size 417] [--shot 5] [--rounds 3]

Each is measured in a process of its own, as the largest resident size after two steps less that before the first.
Pooling at mask resolution (upsampled features, as in the official code) is there to compare.
"""

import argparse
import resource
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from statistics import median

import torch
from panet_step import encoder_step, episode, spread, training_step
from torch import Tensor

from fsseg.encoders import VGG16
from fsseg.losses import upsample
from fsseg.methods import PANet, panet

_WHAT = ("encoder", "PANet", "PANet, pooling at mask resolution")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--size", type=int, default=417)
    parser.add_argument("--shot", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--one", choices=_WHAT)
    given = parser.parse_args()
    if given.one:
        print(peak(given.one, given.shot, given.size))
        return
    command = [sys.executable, __file__, "--size", str(given.size), "--shot", str(given.shot), "--one"]
    rounds = [
        [int(subprocess.run([*command, what], check=True, capture_output=True, text=True).stdout) for what in _WHAT]
        for _ in range(given.rounds)
    ]
    print(f"VGG16, {given.size}x{given.size}, {given.shot} shots, forward + backward, torch {torch.__version__}")
    print("| what | MiB above the start | ratio, median (range) |\n| --- | ---: | --- |")
    for place, what in enumerate(_WHAT):
        ratio = spread([taken[place] / taken[0] for taken in rounds])
        print(f"| {what} | {median(taken[place] for taken in rounds) / 1024:,.0f} | {ratio} |")


def peak(what: str, shot: int, size: int) -> int:
    """KiB above the start."""
    torch.set_num_threads(1)
    method = PANet(VGG16(weights="none"))
    batch = episode(shot, size, "cpu")
    images = torch.cat([batch.support_image.flatten(0, 2), batch.query_image.flatten(0, 1)])
    if what == _WHAT[2]:
        setattr(panet, "masked_average_pool", at_mask_resolution)  # noqa: B010
    run: Callable[[], object] = partial(encoder_step, method, images)
    if what != _WHAT[0]:
        run = partial(training_step, method, batch)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for _ in range(2):
        run()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before


def at_mask_resolution(feature: Tensor, mask: Tensor, eps: float) -> Tensor:
    """Masked average of upsampled features."""
    large = upsample(feature, (mask.shape[-2], mask.shape[-1]))
    return (large * mask.unsqueeze(-3)).sum((-2, -1)) / (mask.sum((-2, -1)).unsqueeze(-1) + eps)


if __name__ == "__main__":
    main()
