"""Training steps of PMMs and RPMMs beside the same steps written plainly; losses and gradients are compared first.

python benchmarks/pmms_step.py [--size 321] [--batch 8] [--rounds 3] [--threads 1]

Written plainly, as in the official code: supports and queries pass the encoder with a graph, each mixture is fitted on
its own, and P-Match tiles each prototype, concatenates it to the query and convolves. Dropout is off, so that both give
the same; steps are timed in turn in every round, without the optimiser; quoted is the median of the rounds' ratios,
with their range. The second ratio is that of fsseg's step with --model.channels_last, to the same plain step.
"""

import argparse
import copy
from collections.abc import Callable
from functools import partial
from statistics import median

import torch
from panet_step import interleaved, parsed, spread
from pmms_parts import episodes
from torch import Tensor

from fsseg.encoders import ResNet
from fsseg.episode import Batch
from fsseg.methods import BinaryMethod, PMMs, RPMMs
from fsseg.methods.base import State
from fsseg.methods.binary import WayMaps
from fsseg.ops.matching import DenseComparison


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--size", type=int, default=321)
    parser.add_argument("--batch", type=int, default=8)
    given, place = parsed(parser, rounds=3)
    print(f"ResNet50, {given.size}x{given.size}, batch {given.batch}, {place}")
    print("| method | plain, s | fsseg, s | ratio, median (range) | channels_last | loss off by | gradients off by |")
    print("| --- | ---: | ---: | --- | --- | ---: | ---: |")
    batch = episodes(1, given.size, given.batch, given.device)
    makers: list[Callable[[], BinaryMethod]] = [
        lambda: PMMs(ResNet(weights="none"), dropout=0.0),
        lambda: RPMMs(ResNet(weights="none"), dropout=0.0),
    ]
    for make in makers:
        torch.manual_seed(0)
        method, plain = make().to(given.device).train(), written_plainly(make()).to(given.device).train()
        plain.load_state_dict(method.state_dict())
        loss, gradient = difference(method, plain, batch)
        last = copy.deepcopy(method).to(memory_format=torch.channels_last)
        before, *after = interleaved([partial(step, m, batch) for m in (plain, method, last)], given.rounds)
        ratios = [spread([b / a for a, b in zip(before, taken, strict=True)]) for taken in after]
        times = f"{median(before):.2f} | {median(after[0]):.2f} | {' | '.join(ratios)}"
        print(f"| {method.name} | {times} | {loss:.1e} | {gradient:.1e} |", flush=True)


def step(method: BinaryMethod, batch: Batch) -> Tensor:
    method.zero_grad()
    loss: Tensor = method.loss(batch)["loss"]
    loss.backward()
    return loss


def difference(method: BinaryMethod, plain: BinaryMethod, batch: Batch) -> tuple[float, float]:
    """Relative differences of the losses, and of all gradients taken as one vector."""
    a, b = step(plain, batch).item(), step(method, batch).item()
    grown = [
        torch.cat([p.grad.flatten() for p in m.parameters() if p.grad is not None]).double() for m in (plain, method)
    ]
    return abs(a - b) / abs(a), float((grown[0] - grown[1]).norm() / grown[0].norm())


def written_plainly(method: BinaryMethod) -> BinaryMethod:
    """The method with a graph behind its supports, its mixtures one by one, and a convolution per prototype."""
    method.support_gradient = True
    if isinstance(method, RPMMs):
        method.adapt_way = partial(one_by_one, method)  # type: ignore[method-assign]
    method.match.forward = partial(tiled, method.match)  # type: ignore[union-attr, method-assign, arg-type]
    return method


def one_by_one(method: RPMMs, support: WayMaps, foreground: Tensor, background: Tensor) -> State:
    """The state of `RPMMs.adapt_way`, one mixture after another."""
    means = [m for mixture in method.mixtures for m in mixture(support[0], foreground, background)]
    return (*means, torch.full((len(foreground),), foreground.shape[1], device=foreground.device))


def tiled(match: DenseComparison, query: Tensor, vectors: Tensor) -> list[Tensor]:
    """P-Match as the paper has it."""
    return [
        match.ending(match.convolution(torch.cat([query, vector[:, :, None, None].expand_as(query)], dim=1)))
        for vector in vectors.unbind(1)
    ]


if __name__ == "__main__":
    main()
