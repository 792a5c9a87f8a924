"""Time of PANet beside its encoder alone, on the same images in the same run.

Timed are a training step (losses and gradients, without the optimiser) and a test episode.

python benchmarks/panet_step.py [--size 417] [--rounds 7] [--threads 1]

The four things are timed in turn within every round, so that a machine whose speed drifts slows all of them; quoted is
the median of the rounds' ratios, with their range.
"""

import argparse
import resource
import time
from collections.abc import Callable, Sequence
from functools import partial
from statistics import median

import torch

from fsseg.encoders import VGG16
from fsseg.episode import Batch
from fsseg.methods import Method, PANet


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--size", type=int, default=417)
    arguments, place = parsed(parser, rounds=7)
    print(f"VGG16, {arguments.size}x{arguments.size}, {place}")
    print("| shots | what | encoder alone, s | PANet, s | ratio, median (range) |\n| --- | --- | ---: | ---: | --- |")
    method = PANet(VGG16(weights="none")).to(arguments.device)
    for shot in (1, 5):
        batch = episode(shot, arguments.size, arguments.device)
        images = torch.cat([batch.support_image.flatten(0, 2), batch.query_image.flatten(0, 1)])
        pairs = {
            "forward + backward": (partial(encoder_step, method, images), partial(training_step, method, batch)),
            "test episode": (partial(encoder_pass, method, images), partial(test_episode, method, batch)),
        }
        for what, pair in pairs.items():
            alone, whole = interleaved(list(pair), arguments.rounds)
            ratios = [w / a for a, w in zip(alone, whole, strict=True)]
            print(f"| {shot} | {what} | {median(alone):.3f} | {median(whole):.3f} | {spread(ratios)} |", flush=True)
    print(f"peak memory of the process: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.1f} GiB")


def parsed(parser: argparse.ArgumentParser, rounds: int) -> tuple[argparse.Namespace, str]:
    """Arguments, with those that all timings have, and what is timed on, in words."""
    parser.add_argument("--rounds", type=int, default=rounds)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    return given, f"{given.device}, {given.threads} thread(s), torch {torch.__version__}"


def spread(ratios: list[float]) -> str:
    """Median and range."""
    return f"{median(ratios):.2f} ({min(ratios):.2f} - {max(ratios):.2f})"


def episode(shot: int, size: int, device: str) -> Batch:
    generator = torch.Generator().manual_seed(0)
    support = torch.randint(256, (1, 1, shot, 3, size, size), dtype=torch.uint8, generator=generator)
    query = torch.randint(256, (1, 1, 3, size, size), dtype=torch.uint8, generator=generator)
    mask = torch.zeros(size, size, dtype=torch.uint8)
    mask[size // 4 : size // 2, size // 3 : 2 * size // 3] = 1
    one = torch.ones(1, 1, dtype=torch.long)
    whole = Batch(
        support_image=support,
        support_mask=mask.expand(1, 1, shot, size, size).clone(),
        query_image=query,
        query_mask=mask.expand(1, 1, size, size).clone(),
        query_size=torch.tensor([[[size, size]]]),
        query_way=0 * one,
        classes=one,
        support_id=torch.zeros(1, 1, shot, dtype=torch.long),
        query_id=0 * one,
        support_variant=torch.zeros(1, 1, shot, dtype=torch.long),
        query_variant=0 * one,
        run=one[0] * 0,
        number=one[0] * 0,
    )
    return Batch(*(tensor.to(device) for tensor in whole))


def encoder_step(method: Method, images: torch.Tensor) -> None:
    method.zero_grad()
    torch.stack([one.sum() for one in method.encode(images)]).sum().backward()


def training_step(method: Method, batch: Batch) -> None:
    method.zero_grad()
    method.loss(batch)["loss"].backward()


@torch.no_grad()
def encoder_pass(method: Method, images: torch.Tensor) -> None:
    method.encode(images)


@torch.no_grad()
def test_episode(method: Method, batch: Batch) -> None:
    method(batch).max(2)


def interleaved(runs: Sequence[Callable[[], object]], rounds: int) -> list[list[float]]:
    """Seconds of each of some things, timed in turn in every round.

    On a CPU they are seconds of processor time: what others do on the machine meanwhile is not counted.
    """
    clock = time.perf_counter if torch.cuda.is_available() else time.process_time
    times: list[list[float]] = [[] for _ in runs]
    for round_ in range(rounds + 1):
        for run, kept in zip(runs, times, strict=True):
            start = clock()
            run()
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            if round_:  # the first is a warm-up
                kept.append(clock() - start)
    return times


if __name__ == "__main__":
    main()
