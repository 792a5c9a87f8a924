"""HSNet's head beside the same formulas written plainly, and beside its encoder.

python benchmarks/hsnet_head.py [--encoder resnet50_blocks] [--size 400] [--mask full] [--rounds 5] [--threads 1]

The head is all that comes after the encoder's maps: masks, correlations, 4D convolutions, decoder. The plain head
stacks the correlations of a level. Its centre-pivot convolution takes kept support cells by their index, brings either
plane to the end by a permutation and a copy, calls Conv2d, and brings it back. Its norm is torch's GroupNorm over six
axes. The mask is an object on a twelfth of the image, or the full image: ours leaves out support cells outside.

All run in turn in every round; quoted is the median of the rounds' ratios, with their range. Peak memory is that of a
process of its own, above the memory before the first pass.
"""

import argparse
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import torch
from panet_step import episode, interleaved, parsed, spread
from torch import Tensor, nn
from torch.nn import functional as F

from fsseg.encoders import build
from fsseg.episode import Batch
from fsseg.methods import HSNet
from fsseg.methods.base import Features, Maps, State
from fsseg.ops.centre_pivot import CentrePivotConv4d, ChannelNorm

_EPS = 1e-5


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--encoder", default="resnet50_blocks")
    parser.add_argument("--size", type=int, default=400)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--mask", choices=("object", "full"), default="object")
    parser.add_argument("--peak", choices=("plain", "own", "plain training", "own training"))
    given, place = parsed(parser, rounds=5)
    torch.manual_seed(0)
    method = HSNet(build(given.encoder, weights="none")).to(given.device).eval()
    plain = Plain(method).to(given.device)
    batch = copies(episode(1, given.size, given.device), given.batch)
    if given.mask == "full":
        batch = batch._replace(support_mask=torch.ones_like(batch.support_mask))
    with torch.no_grad():
        features = method.features(batch) if given.peak is None else random_features(method, batch)
    runs: dict[str, Callable[[], Any]] = {
        "plain": partial(test_head, plain, features, batch),
        "own": partial(test_head, method, features, batch),
        "plain training": partial(training_head, plain, features, batch),
        "own training": partial(training_head, method, features, batch),
    }
    if given.peak:
        print(peak(runs[given.peak]))
        return
    print(f"HSNet, {given.encoder}, {given.size}x{given.size}, batch {given.batch}, 1 shot, mask {given.mask}, {place}")
    a, b = runs["plain"](), runs["own"]()
    print(f"largest difference of logits: {(a - b).abs().max():.1e} of {a.abs().max():.2f}")
    encoder = partial(encode, method, batch)
    seconds = dict(zip([*runs, "encoder"], interleaved([*runs.values(), encoder], given.rounds), strict=True))
    print("| what | baseline | baseline, s | it, s | ratio, median (range) |\n| --- | --- | ---: | ---: | --- |")
    line("head, test", "written plainly", seconds["plain"], seconds["own"])
    line("head, forward + backward", "written plainly", seconds["plain training"], seconds["own training"])
    line("head, test", "encoder, support and query", seconds["encoder"], seconds["own"])
    line("head, test, written plainly", "encoder, support and query", seconds["encoder"], seconds["plain"])
    if given.device == "cpu":
        names = ("encoder", "size", "batch", "mask", "threads", "device")
        size = [f"--{name}={getattr(given, name)}" for name in names]
        for what in runs:
            command = [sys.executable, __file__, *size, "--peak", what]
            found = subprocess.run(command, check=True, capture_output=True, text=True).stdout
            print(f"peak memory of the head, {what}: {int(found) / 1024:,.0f} MiB")


def line(what: str, baseline: str, before: list[float], after: list[float]) -> None:
    ratio = spread([b / a for a, b in zip(before, after, strict=True)])
    print(f"| {what} | {baseline} | {median(before):.3f} | {median(after):.3f} | {ratio} |", flush=True)


def random_features(method: HSNet, batch: Batch) -> Features:
    """Maps without the memory that an encoder takes."""
    side = batch.query_image.shape[-1]
    sizes = zip(method.encoder.widths, method.encoder.strides, strict=True)
    maps = [torch.randn(len(batch.classes), 1, c, -(-side // s), -(-side // s)) for c, s in sizes]
    return Features(tuple(one.unsqueeze(1) for one in maps), tuple(map(torch.rand_like, maps)))


def copies(batch: Batch, count: int) -> Batch:
    return Batch(*(part.expand(count, *part.shape[1:]) if part.shape[0] == 1 else part for part in batch))


@torch.no_grad()
def test_head(method: HSNet, features: Features, batch: Batch) -> Tensor:
    return method.predict(method.adapt(features.support, batch.support_mask), features.query)


def training_head(method: HSNet, features: Features, batch: Batch) -> None:
    method.zero_grad()
    method.losses(features, batch)["loss"].backward()


@torch.no_grad()
def encode(method: HSNet, batch: Batch) -> object:
    return method.features(batch)


def peak(run: Callable[[], object]) -> int:
    """KiB above the memory before the first pass, on Linux. A process's ru_maxrss starts with that of its parent."""
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
    before = _peak_so_far()
    run()
    return _peak_so_far() - before


def _peak_so_far() -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    (line,) = (line for line in lines if line.startswith("VmHWM:"))
    return int(line.split()[1])


class Plain(HSNet):
    """HSNet with a plain head of the same weights."""

    def __init__(self, method: HSNet) -> None:
        super().__init__(method.encoder)
        self.load_state_dict(method.state_dict())
        self.squeeze = nn.ModuleList(map(plainly, self.squeeze))
        self.mix = nn.ModuleList(map(plainly, self.mix))

    def adapt_way(self, support: Maps, foreground: Tensor, background: Tensor) -> State:
        """Masked maps."""
        size = [(one.shape[-2], one.shape[-1]) for one in support]
        masks = [F.interpolate(foreground, each, mode="bilinear", align_corners=True) for each in size]
        return tuple(one * mask.unsqueeze(2) for one, mask in zip(support, masks, strict=True))

    def stages(self, state: State, query: Maps) -> list[Tensor]:
        """Logits."""
        correlations = []
        for query_map, support_map in zip(query, (part[:, 0] for part in state), strict=True):
            (rows, columns), (height, width) = query_map.shape[-2:], support_map.shape[-2:]
            left, right = query_map.flatten(2), support_map.flatten(2)
            left = left / (left.norm(dim=1, p=2, keepdim=True) + _EPS)
            right = right / (right.norm(dim=1, p=2, keepdim=True) + _EPS)
            product = torch.bmm(left.transpose(1, 2), right).view(-1, rows, columns, height, width)
            correlations.append(product.clamp(min=0))
        x: Any = None
        for number, (level, squeeze) in enumerate(zip(self._levels, self.squeeze, strict=True)):
            squeezed = squeeze(torch.stack([correlations[i] for i in level], dim=1).contiguous())
            if x is not None:
                squeezed = self.mix[number - 1](resized(x, squeezed.shape[2:4]) + squeezed)
            x = squeezed
        low = self.decode[0](x.flatten(4).mean(-1))
        twice = (2 * low.shape[-2], 2 * low.shape[-1])
        return [self.decode[1](F.interpolate(low, twice, mode="bilinear", align_corners=True))]


class PlainConv(nn.Module):
    """A centre-pivot convolution of ``B C hq wq hs ws`` by two Conv2d."""

    def __init__(self, own: CentrePivotConv4d) -> None:
        super().__init__()
        self.query, self.support, self.stride = own.query, own.support, own.stride

    def forward(self, x: Tensor) -> Tensor:
        """The convolved correlation."""
        batch, channels, rows, columns, height, width = x.shape
        kept = x
        if self.stride > 1:
            for axis, side in ((4, height), (5, width)):
                kept = kept.index_select(axis, torch.arange(0, side, self.stride, device=x.device))
        cells = kept.shape[4:]
        a = kept.permute(0, 4, 5, 1, 2, 3).contiguous().view(-1, channels, rows, columns)
        a = self.query(a).view(batch, *cells, -1, rows, columns).permute(0, 3, 4, 5, 1, 2).contiguous()
        b = x.permute(0, 2, 3, 1, 4, 5).contiguous().view(-1, channels, height, width)
        b = self.support(b).view(batch, rows, columns, -1, *cells).permute(0, 3, 1, 2, 4, 5).contiguous()
        found: Tensor = a + b
        return found


def plainly(encoder: Any) -> nn.Sequential:
    layers: list[nn.Module] = []
    for layer in encoder:
        if isinstance(layer, ChannelNorm):
            norm = nn.GroupNorm(layer.num_groups, layer.num_channels, layer.eps)
            norm.weight, norm.bias = layer.weight, layer.bias
            layers.append(norm)
        else:
            layers.append(PlainConv(layer) if isinstance(layer, CentrePivotConv4d) else layer)
    return nn.Sequential(*layers)


def resized(x: Tensor, size: tuple[int, int]) -> Tensor:
    batch, channels, rows, columns, height, width = x.shape
    flat = x.permute(0, 4, 5, 1, 2, 3).contiguous().view(-1, channels, rows, columns)
    flat = F.interpolate(flat, size, mode="bilinear", align_corners=True)
    return flat.view(batch, height, width, channels, *size).permute(0, 3, 4, 5, 1, 2).contiguous()


if __name__ == "__main__":
    main()
