"""A test episode of RPMMs beside its encoder alone, and its head beside one with ten P-Match convolutions.

python benchmarks/rpmms_episode.py [--size 481] [--rounds 5] [--threads 1]

ResNet50 with the 3x3 convolution behind it, which every image passes (`encode`), is the encoder; the head is all that
comes after a query's and the supports' features: mixtures, P-Match, P-Conv, three passes of the decoder. Timed in turn
in every round; quoted is the median of the rounds' ratios, with their range.
"""

import argparse
from collections.abc import Callable
from functools import partial
from statistics import median

import torch
from panet_step import episode, interleaved, parsed, spread
from pmms_step import written_plainly
from torch import Tensor

from fsseg.encoders import ResNet
from fsseg.episode import Batch
from fsseg.methods import BinaryMethod, RPMMs
from fsseg.methods.base import Features


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--size", type=int, default=481)
    given, place = parsed(parser, rounds=5)
    print(f"RPMMs, ResNet50, {given.size}x{given.size}, 1-way 1-shot, {place}")
    torch.manual_seed(0)
    method = RPMMs(ResNet(weights="none")).to(given.device).eval()
    plain = written_plainly(RPMMs(ResNet(weights="none"))).to(given.device).eval()
    plain.load_state_dict(method.state_dict())
    batch = episode(1, given.size, given.device)
    images = torch.cat([batch.support_image.flatten(0, 2), batch.query_image.flatten(0, 1)])
    with torch.inference_mode():
        features = method.features(batch)
        a, b = (head(m, features, batch) for m in (plain, method))
        print(f"largest difference of the head's logits: {(a - b).abs().max():.1e} of {a.abs().max():.2f}")
        runs: list[Callable[[], object]] = [
            partial(method.encode, images),
            partial(whole, method, batch),
            partial(whole, plain, batch),
            partial(head, plain, features, batch),
            partial(head, method, features, batch),
        ]
        encoder, ours, theirs, plain_head, own_head = interleaved(runs, given.rounds)
    print("| what | baseline | baseline, s | it, s | ratio, median (range) |\n| --- | --- | ---: | ---: | --- |")
    line("test episode", "encoder alone, forward", encoder, ours)
    line("test episode, written plainly", "encoder alone, forward", encoder, theirs)
    line("head, K = 1 + 3 + 6", "head with ten P-Match convolutions", plain_head, own_head)


def line(what: str, baseline: str, before: list[float], after: list[float]) -> None:
    ratio = spread([b / a for a, b in zip(before, after, strict=True)])
    print(f"| {what} | {baseline} | {median(before):.2f} | {median(after):.2f} | {ratio} |", flush=True)


def head(method: BinaryMethod, features: Features, batch: Batch) -> Tensor:
    """Logits at feature resolution, from feature maps."""
    return method.predict(method.adapt(features.support, batch.support_mask), features.query)


def whole(method: BinaryMethod, batch: Batch) -> None:
    method(batch).max(2)


if __name__ == "__main__":
    main()
