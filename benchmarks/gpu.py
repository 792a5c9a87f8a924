"""Throughput of PANet and RPMMs at published sizes, by precision, memory format and torch.compile. `make bench-gpu`.

python benchmarks/gpu.py [--device cuda] [--rounds 7] [--precisions 32 bf16 16] [--backend inductor]

Random images and weights. PANet: VGG16, 417 pixels. RPMMs: ResNet50, trained with 8 episodes of 321, tested at 481. A
training step is losses, gradients and SGD. In a round everything of a table's part is timed once, in turn; quoted are
medians over the rounds, with the range of the times against the first line of the part. "encoder" is the share that the
encoder, run alone on the same images as the method runs it, takes of the whole; "compiling" is what the first call took
more than a later one, "graphs" how many torch.compile made, "differs" how far the result is from the first line's.
"""

import argparse
import copy
import sys
import time
import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from itertools import product
from statistics import median
from typing import Any, NamedTuple

import torch
from panet_step import interleaved, spread
from pmms_parts import episodes
from torch import Tensor

from fsseg.encoders import VGG16, ConvNet, ResNet
from fsseg.episode import Batch
from fsseg.methods import Method, PANet, RPMMs
from fsseg.ops.em import Mixture

TYPES = {"32": None, "bf16": torch.bfloat16, "16": torch.float16}


class Choice(NamedTuple):
    """How a method is run."""

    precision: str
    channels_last: bool
    compiled: bool


class Timed(NamedTuple):
    """A choice, ready to be timed."""

    choice: Choice
    whole: Callable[[], Tensor]
    encoder: Callable[[], object]
    compiling: float  # seconds
    graphs: int
    result: Tensor
    memory: float  # GiB at the peak, above what was there before


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--device", help="cuda where there is a GPU; a CPU only if asked for")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--precisions", nargs="+", default=["32", "bf16", "16"], choices=list(TYPES))
    parser.add_argument("--backend", default="inductor", help="of torch.compile; none leaves it out")
    parser.add_argument("--plain-format", action="store_true", help="without channels_last")
    parser.add_argument("--size", type=int, help="in place of the published sizes")
    parser.add_argument("--tiny", action="store_true", help="small networks, to try the script")
    parser.add_argument("--batch", type=int, help="episodes of a training step, in place of the published number")
    given = parser.parse_args()
    if given.device is None and not torch.cuda.is_available():
        sys.exit("no GPU here: give --device cpu to try the script, with a small --size")
    warnings.filterwarnings("ignore", "Dynamo detected a call to a `functools.lru_cache`")  # of constants
    given.device = given.device or "cuda"
    on_gpu = given.device.startswith("cuda")
    if not on_gpu:
        given.precisions = [p for p in given.precisions if p != "16"]  # which a CPU has no kernels for
    print(
        f"{torch.cuda.get_device_name() if on_gpu else given.device}, torch {torch.__version__}, {given.rounds} rounds"
    )
    head = ["method", "what", "precision", "channels_last", "compiled", "episodes/s", "time (range)"]
    head += ["encoder", "memory, GiB", "compiling, s", "graphs", "differs"]
    print(f"| {' | '.join(head)} |\n| {' | '.join(['---'] * 5 + ['---:'] * 7)} |")
    for make, train_size, test_size, batch in (
        (tiny_panet if given.tiny else panet, 417, 417, 1),
        (tiny_rpmms if given.tiny else rpmms, 321, 481, 8),
    ):
        for training, size, count in ((True, train_size, given.batch or batch), (False, test_size, 1)):
            part(given, make, training, given.size or size, count)


def panet() -> Method:
    return PANet(VGG16(weights="none"))


def rpmms() -> Method:
    return RPMMs(ResNet(weights="none"), dropout=0.0)


def tiny_panet() -> Method:
    return PANet(ConvNet())


def tiny_rpmms() -> Method:
    return RPMMs(ConvNet(), components=(1, 2), mixture=Mixture(rounds=2), dropout=0.0, channels=16)


def part(given: argparse.Namespace, make: Callable[[], Method], training: bool, size: int, count: int) -> None:
    """The lines of one method, trained or tested."""
    batch = episodes(1, size, count, given.device)
    choices = product(given.precisions, (False,) if given.plain_format else (False, True),
                      (False,) if given.backend == "none" else (False, True))  # fmt: skip
    torch.manual_seed(0)
    plain = make().to(given.device).train(training)
    methods = {False: plain, True: copy.deepcopy(plain).to(memory_format=torch.channels_last)}
    every = [prepared(given, methods[c[1]], batch, Choice(*c)) for c in choices]
    runs: list[Callable[[], Any]] = [run for timed in every for run in (timed.whole, timed.encoder)]
    times = interleaved(runs, given.rounds)
    for timed, whole, encoder in zip(every, times[::2], times[1::2], strict=True):
        ratios = [own / first for own, first in zip(whole, times[0], strict=True)]
        reference = every[0].result
        choice = timed.choice
        cells = [
            plain.name,
            f"{'training step' if training else 'test episode'}, {size} x {count}",
            choice.precision,
            "yes" if choice.channels_last else "no",
            "yes" if choice.compiled else "no",
            f"{count / median(whole):.2f}",
            spread(ratios),
            f"{100 * median([e / w for e, w in zip(encoder, whole, strict=True)]):.0f} %",
            f"{timed.memory:.2f}" if given.device.startswith("cuda") else "-",
            f"{timed.compiling:.1f}" if choice.compiled else "-",
            str(timed.graphs) if choice.compiled else "-",
            f"{float((timed.result - reference).abs().mean() / reference.abs().mean()):.0e}",
        ]
        print(f"| {' | '.join(cells)} |", flush=True)


def prepared(given: argparse.Namespace, method: Method, batch: Batch, choice: Choice) -> Timed:
    """Compile where asked for, and look at result and memory before anything is timed."""
    torch._dynamo.reset()
    dtype = TYPES[choice.precision]

    def narrow() -> AbstractContextManager[object]:
        return torch.autocast(given.device.partition(":")[0], dtype) if dtype else nullcontext()

    step = trained(method, batch, narrow) if method.training else tested(method, batch, narrow)
    whole = step(torch.compile(outcome(method), backend=given.backend) if choice.compiled else outcome(method))
    torch._dynamo.utils.counters.clear()
    first = seconds(whole, given.device)
    result, graphs = whole(), torch._dynamo.utils.counters["stats"]["unique_graphs"]
    memory = 0.0
    if given.device.startswith("cuda"):
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        whole()
        memory = (torch.cuda.max_memory_allocated() - before) / 2**30
    compiling = max(0.0, first - seconds(whole, given.device))
    return Timed(choice, whole, encoder_alone(method, batch, narrow), compiling, graphs, result.float(), memory)


def outcome(method: Method) -> Callable[[Batch], Tensor]:
    """What is compiled: the loss in training, else the logits."""
    return (lambda batch: method.loss(batch)["loss"]) if method.training else method.forward


Narrow = Callable[[], AbstractContextManager[object]]
Step = Callable[[Callable[[Batch], Tensor]], Callable[[], Tensor]]


def trained(method: Method, batch: Batch, narrow: Narrow) -> Step:
    """A training step; its rate is 0, so that every line is of the same weights."""
    optimizer = torch.optim.SGD([p for p in method.parameters() if p.requires_grad], lr=0.0, momentum=0.9)

    def step(outcome: Callable[[Batch], Tensor]) -> Callable[[], Tensor]:
        def run() -> Tensor:
            optimizer.zero_grad()
            with narrow():
                loss = outcome(batch)
            loss.backward()
            optimizer.step()
            return loss.detach()

        return run

    return step


def tested(method: Method, batch: Batch, narrow: Narrow) -> Step:
    """A test episode, with its prediction."""

    def step(outcome: Callable[[Batch], Tensor]) -> Callable[[], Tensor]:
        def run() -> Tensor:
            with torch.no_grad(), narrow():
                logits = outcome(batch)
                logits.argmax(2)
            return logits

        return run

    return step


def encoder_alone(method: Method, batch: Batch, narrow: Narrow) -> Callable[[], object]:
    """The features of all images as the method makes them, and in training their gradients."""

    def run() -> None:
        method.zero_grad()
        with torch.set_grad_enabled(method.training), narrow():
            features = method.features(batch)
        if method.training:
            torch.stack([one.float().sum() for maps in features for one in maps if one.requires_grad]).sum().backward()

    return run


def seconds(run: Callable[[], object], device: str) -> float:
    start = time.perf_counter()
    run()
    if device.startswith("cuda"):
        torch.cuda.synchronize()
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
