"""A training step and a test episode of the other systems of the papers' tables, beside their encoders alone.

python benchmarks/systems.py [--only FWB OSLSM] [--rounds 3] [--threads 1]

Networks and sizes are those of experiments/*_voc_1shot.yaml with one shot; 500x500 where images keep their own sizes.
The encoder alone sees support and query once: forward in a test, forward and backward in a training step. What a method
does beside its encoder is a head, or a second network. Everything is timed in turn in every round.
"""

import argparse
from collections.abc import Callable
from functools import partial
from statistics import median
from typing import NamedTuple

import torch
from panet_step import encoder_pass, encoder_step, episode, interleaved, parsed, spread, test_episode, training_step

from fsseg.encoders import VGG16, DeepLabVGG16, ResNet
from fsseg.encoders.fcn import FCN32
from fsseg.episode import Batch
from fsseg.fine_tuning import FineTuning
from fsseg.methods import AMCG, FGBG, FWB, OSLSM, PL, CoFCN, GuidedNetworks, Method, SGOne


class System(NamedTuple):
    """A method as its experiment has it, and the side of its images."""

    make: Callable[[], Method]
    size: int


def _fcn(**options: int | bool) -> FCN32:
    return FCN32(weights="none", **options)  # type: ignore[arg-type]


SYSTEMS = {
    "FG-BG": System(lambda: FGBG(_fcn(fc7=True)), 500),
    "co-FCN": System(lambda: CoFCN(_fcn(fc6=256)), 500),
    "guided networks": System(lambda: GuidedNetworks(_fcn(fc6=256)), 500),
    "OSLSM": System(lambda: OSLSM(_fcn(fc7=True, padding=121)), 500),
    "SG-One": System(lambda: SGOne(DeepLabVGG16(("pool3", "pool4", "pool5"), extra=False, weights="none")), 321),
    "PL": System(lambda: PL(VGG16(weights="none")), 417),
    "FWB, without boosting": System(lambda: FWB(_fwb(), experts=0), 512),
    "FWB, 11 experts": System(lambda: FWB(_fwb()), 512),
    "A-MCG": System(lambda: AMCG(ResNet(taps=("layer1", "layer2", "layer3", "layer4"), weights="none")), 321),
}


def _fwb() -> VGG16:
    return VGG16(taps=("pool2", "pool5"), dilations=(2, 4), batch_norm=True, weights="none")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--only", nargs="+", choices=[*SYSTEMS, "fine-tuning"], default=[*SYSTEMS, "fine-tuning"])
    arguments, place = parsed(parser, rounds=3)
    print(f"{place}\n| system | side | what | encoder, s | system, s | ratio, median (range) |")
    print("| --- | ---: | --- | ---: | ---: | --- |")
    for name in arguments.only:
        system = SYSTEMS["FG-BG" if name == "fine-tuning" else name]
        method = system.make().to(arguments.device)
        for what, train, pair in timed(name, method, episode(1, system.size, arguments.device)):
            method.train(train)
            alone, whole = interleaved(pair, arguments.rounds)
            ratios = spread([w / a for a, w in zip(alone, whole, strict=True)])
            print(f"| {name} | {system.size} | {what} | {median(alone):.2f} | {median(whole):.2f} | {ratios} |")


def timed(name: str, method: Method, batch: Batch) -> list[tuple[str, bool, list[Callable[[], object]]]]:
    """What is timed, whether in training mode, and the two functions: the encoder, the whole."""
    images = torch.cat([batch.support_image.flatten(0, 2), batch.query_image.flatten(0, 1)])
    encode = partial(encoder_pass, method, images)
    if name == "fine-tuning":
        tuning = FineTuning(method, 10, lambda: torch.optim.SGD(method.parameters(), lr=1e-6))
        return [("test episode, 10 steps", False, [encode, partial(tuning.logits, batch)])]
    steps: list[Callable[[], object]] = [partial(encoder_step, method, images), partial(training_step, method, batch)]
    return [("training step", True, steps), ("test episode", False, [encode, partial(test_episode, method, batch)])]


if __name__ == "__main__":
    main()
