"""What the mixture (EM) and P-Match take of a training step and of a test episode of PMMs and RPMMs.

python benchmarks/pmms_parts.py [--train-size 321] [--test-size 481] [--batch 1] [--rounds 3] [--threads 1]

The whole and its parts, on tensors of the whole's own shapes, are timed in turn in every round; quoted is the median of
the rounds' shares, with their range. In training P-Match counts forward and backward; the mixture has no backward.
"""

import argparse
from collections.abc import Callable
from functools import partial
from statistics import median

import torch
from panet_step import episode, interleaved, parsed

from fsseg.encoders import ResNet
from fsseg.episode import Batch
from fsseg.methods import BinaryMethod, PMMs, RPMMs


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--train-size", type=int, default=321)
    parser.add_argument("--test-size", type=int, default=481)
    parser.add_argument("--batch", type=int, default=1)
    arguments, place = parsed(parser, rounds=3)
    print(f"ResNet50, {place}")
    print("| method | what | size, shots | whole, s | EM | P-Match |\n| --- | --- | --- | ---: | --- | --- |")
    for method in (PMMs(ResNet(weights="none")), RPMMs(ResNet(weights="none"))):
        method.to(arguments.device)
        for shot in (1, 5):
            if shot == 1:
                batch = episodes(1, arguments.train_size, arguments.batch, arguments.device)
                report(method.train(), "training step", batch, arguments.rounds)
            batch = episodes(shot, arguments.test_size, 1, arguments.device)
            report(method.eval(), "test episode", batch, arguments.rounds)


def episodes(shot: int, size: int, count: int, device: str) -> Batch:
    one = episode(shot, size, device)
    return Batch(*(torch.cat([tensor] * count) for tensor in one))


def report(method: BinaryMethod, what: str, batch: Batch, rounds: int) -> None:
    """One line of the table."""
    parts: list[Callable[[], object]] = [partial(whole, method, batch), *pieces(method, batch)]
    times = interleaved(parts, rounds)
    shares = [[part / total for part, total in zip(taken, times[0], strict=True)] for taken in times[1:]]
    spans = [f"{100 * median(s):.1f} % ({100 * min(s):.1f} - {100 * max(s):.1f})" for s in shares]
    size = f"{batch.query_image.shape[-1]}, {batch.support_image.shape[2]} x {len(batch.run)}"
    print(f"| {method.name} | {what} | {size} | {median(times[0]):.2f} | {' | '.join(spans)} |", flush=True)


def whole(method: BinaryMethod, batch: Batch) -> None:
    if method.training:
        method.zero_grad()
        method.loss(batch)["loss"].backward()
    else:
        with torch.no_grad():
            method(batch).argmax(2)


def pieces(method: BinaryMethod, batch: Batch) -> tuple[Callable[[], None], Callable[[], None]]:
    """EM and P-Match alone, on features of the method's own."""
    with torch.no_grad():
        (support,), (query,) = method.features(batch)
    foreground = (batch.support_mask == 1).flatten(0, 1).float()
    support, query = support.flatten(0, 1), query.flatten(0, 1).requires_grad_(method.training)
    state = method.adapt_way((support,), foreground, 1 - foreground)
    vectors = torch.cat([part for part in state[::2] if part.ndim == 3], dim=1)  # RPMMs has the number of shots last

    def mixtures() -> None:
        method.adapt_way((support,), foreground, 1 - foreground)

    def match() -> None:
        with torch.set_grad_enabled(method.training):
            matched = torch.stack(list(method.match(query, vectors))).sum()  # type: ignore[operator]
        if method.training:
            matched.backward()

    return mixtures, match


if __name__ == "__main__":
    main()
