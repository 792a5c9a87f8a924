"""PFENet's test episode and training step beside its encoder alone, and the parts of its head.

python benchmarks/pfenet_episode.py [--size 473] [--shot 1] [--rounds 3] [--threads 1]

The encoder is the paper's ResNet50, frozen, with running statistics. Its pass of the same images gives all levels,
as many layers as the method computes. Everything is timed in turn in every round; quoted is the median with the range.
"""

import argparse
from statistics import median

import torch
from panet_step import episode, interleaved, parsed

from fsseg.encoders import ResNet
from fsseg.methods import PFENet
from fsseg.ops.prior import _cosine


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--size", type=int, default=473)
    parser.add_argument("--shot", type=int, default=1)
    arguments, place = parsed(parser, rounds=3)
    encoder = ResNet(
        "resnet50", ("layer2", "layer3", "layer4"), stride_on="3x3", ceil_mode=False, deep_stem=True,
        dilate_first=True, batch_norm="running", frozen=True, weights="none",
    )  # fmt: skip
    method = PFENet(encoder).to(arguments.device)
    batch = episode(arguments.shot, arguments.size, arguments.device)
    images = torch.cat([batch.support_image.flatten(0, 2), batch.query_image.flatten(0, 1)])
    with torch.no_grad():
        features = method.eval().features(batch)
        kept = method.encoder_maps(batch)
        state = method.state(features.support, batch.support_mask)
    ways = tuple(part.flatten(0, 1) for part in state)
    query = tuple(one.flatten(0, 1) for one in kept.query)

    def encode() -> None:
        with torch.no_grad():
            encoder(images)

    def test() -> None:
        with torch.no_grad():
            method.eval()(batch).argmax(2)

    def head() -> None:
        with torch.no_grad():
            method.eval().segment_resized(state, kept.query, batch.encoded_size, batch.query_size)

    def prior() -> None:
        with torch.no_grad():
            method.prior(ways, query)

    def plain_prior() -> None:
        with torch.no_grad():
            _cosine(query[-1].flatten(2).unsqueeze(1), ways[1].flatten(3)).amax(-1)

    def train() -> None:
        method.train().zero_grad()
        method.loss(batch)["loss"].backward()

    names = ["encoder", "test episode", "head of the query", "prior of it", "prior with all cells", "training step"]
    times = interleaved([encode, test, head, prior, plain_prior, train], arguments.rounds)
    print(f"ResNet50, {arguments.size} pixels, {arguments.shot} shot, {place}")
    print("| what | s | of the encoder's pass |\n| --- | ---: | --- |")
    for name, taken in zip(names, times, strict=True):
        shares = [part / whole for part, whole in zip(taken, times[0], strict=True)]
        print(f"| {name} | {median(taken):.2f} | {median(shares):.2f} ({min(shares):.2f} - {max(shares):.2f}) |")


if __name__ == "__main__":
    main()
