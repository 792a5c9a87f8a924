"""What one of two processes does in tests: ``torchrun --nproc_per_node 2 -m tests.cli.two_processes``."""

import copy
import json
import math
import os
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import get_args

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from fsseg.cli import main
from fsseg.datasets import Shapes
from fsseg.encoders.base import batch_norms
from fsseg.episode import Batch
from fsseg.episodes import EpisodeData
from fsseg.episodes.options import ImageOptions, LoadingOptions
from fsseg.feature_cache import TrainingFeatures
from fsseg.feature_cache.training import Plan
from fsseg.losses import LossMean
from fsseg.methods import OSLSM, Method
from fsseg.runs.ranks import leads
from tests.conftest import make_batch
from tests.methods.found import METHODS


class _Loss(nn.Module):
    """A method whose forward pass is its loss, as data-parallel training sees it."""

    def __init__(self, method: Method) -> None:
        super().__init__()
        self.method = method

    def forward(self, batch: Batch) -> Tensor:
        return self.method.loss(batch)["loss"]


def gradients(name: str, mean: LossMean) -> dict[str, float]:
    """How far the gradients of two processes with an episode each are from those of one with both, and the losses.

    Void differs by episode. Nothing is drawn and BatchNorm has its running statistics, else both could not be equal.
    """
    torch.manual_seed(0)
    method = METHODS[name]().train()
    if isinstance(method, OSLSM):
        method.double()  # in float32, rounding decides which shot has a cell's largest score, and so its gradient
    method.loss_mean = mean
    for module in (*batch_norms(method), *(m for m in method.modules() if isinstance(m, nn.Dropout2d))):
        module.eval()
    if hasattr(method, "_training_history"):
        method._training_history = lambda matched, zeros: zeros
    batch = make_batch(episodes=2, way=2, shot=2)
    batch.query_mask[0, :, :14] = 255
    whole, parted = _Loss(copy.deepcopy(method)), DistributedDataParallel(_Loss(method))
    rank = dist.get_rank()
    for _ in range(2):  # a parameter that took no part is complained about in the second step
        whole.zero_grad(), parted.zero_grad()
        total, own = whole(batch), parted(Batch(*(tensor[rank : rank + 1] for tensor in batch)))
        total.backward(), own.backward()
    mean = own.detach() / 2
    dist.all_reduce(mean)
    one, two = (torch.cat([p.grad.flatten() for p in side.parameters()]) for side in (whole, parted))
    return {
        "loss": float((mean - total.detach()).abs() / total.detach()),
        "gradient": float((one - two).norm() / one.norm()),
    }


def shared_features(folder: Path) -> dict[str, float]:
    """Difference between features that two processes cached and those of one pass, and share of images encoded here."""
    data = EpisodeData(Shapes(32, 41, 40), images=ImageOptions(size=24), loading=LoadingOptions(workers=0))
    data.setup("fit")
    torch.manual_seed(0)
    method = METHODS["PMMs"]()
    method.encoder.requires_grad_(requires_grad=False)
    images: list[int] = []
    hook = method.encoder.register_forward_hook(lambda module, inputs, maps: images.append(len(inputs[0])))
    cached, keys = TrainingFeatures(method, folder, 10**9, lambda line: None), data.training_keys()
    cached.add("train", Plan(keys, math.inf, 24, data.variants), nullcontext)
    cached.fill(data, torch.device("cpu"), nullcontext, lambda starts, what: starts)
    hook.remove()
    (store, _), (batch,) = cached._stores["train"], data.image_dataloader("train", keys, len(keys))
    with torch.no_grad():
        pairs = zip(store[torch.tensor(keys)], method.encoder(batch), strict=True)
        return {"off": max(float((a - b).abs().max()) for a, b in pairs), "share": (sum(images) - 1) / len(keys)}


def run(work: Path) -> None:
    """Check the gradients of every method, then run commands; the file lists them, one beside it gets what came out."""
    dist.init_process_group("gloo")  # Lightning goes on with it
    found = {f"{name}, {mean}": gradients(name, mean) for name in METHODS for mean in get_args(LossMean)}
    features = shared_features(work.parent)
    if leads():
        work.with_suffix(".out").write_text(json.dumps(found))
        work.with_suffix(".features").write_text(json.dumps(features))
    for command in json.loads(work.read_text()):
        if code := main(command):
            sys.exit(code)
        os.environ.pop("FSSEG_RUN_FOLDER", None)
    dist.destroy_process_group()


if __name__ == "__main__":
    run(Path(sys.argv[1]))
