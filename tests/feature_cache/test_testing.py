"""Kept features give what encoding every image of every episode gives, for every method."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning import Callback, Trainer

from fsseg.contracts.trials import awake
from fsseg.datasets import Shapes
from fsseg.encoders import ConvNet, Encoder
from fsseg.episode import Batch
from fsseg.episodes import EpisodeData
from fsseg.feature_cache import FeatureStore, NoRoomError, store, testing
from fsseg.methods import CANet, GuidedNetworks, Method, PANet, PMMs, RPMMs, SGOne
from fsseg.protocols.protocol import Protocol
from fsseg.results.rows import Row, batch_rows
from fsseg.task import Task
from tests.conftest import make_batch
from tests.episode_options import grouped


def encoder() -> ConvNet:
    return ConvNet(widths=(8, 16), strides=(2, 2), convolutions=1)


METHODS: dict[str, Callable[[], Method]] = {
    "PANet": lambda: PANet(encoder()),
    "PMMs": lambda: PMMs(encoder(), channels=8),
    "RPMMs": lambda: RPMMs(encoder(), channels=8),
    "CANet": lambda: CANet(encoder(), iterations=2, channels=8),
    "CANet, attention": lambda: CANet(encoder(), iterations=1, fusion="attention", channels=8),
    "SG-One": lambda: SGOne(encoder(), guidance=8, channels=8),
    "SG-One, union": lambda: SGOne(encoder(), "union", guidance=8, channels=8),
    "own": lambda: Own(encoder()),
}


class Own(PANet):
    """A method whose state is an episode's."""

    state_per = "episode"

    def adapt(self, support: Any, mask: Any) -> Any:
        return (self.prototypes(*super().adapt(support, mask)),)

    def predict(self, state: Any, query: Any) -> Any:
        return -(query[0].unsqueeze(2) - state[0][:, None, :, :, None, None]).square().sum(3)


@torch.no_grad()
def made(name: str) -> Method:
    """A method at random that calls about half of the pixels foreground."""
    torch.manual_seed(0)
    method = METHODS[name]().eval()
    last = method.decoder.classify if hasattr(method, "decoder") else getattr(method, "classify", [None])[-1]
    for _ in range(3 if last is not None else 0):
        background, foreground = method(make_batch(episodes=8, size=24)).unbind(2)
        last.bias[0] += (foreground - background).median()
    return method


class Kept(Callback):
    """Predictions and rows of a test."""

    def __init__(self) -> None:
        self.predictions: list[np.ndarray] = []
        self.rows: list[Row] = []

    def on_test_batch_end(self, trainer: Any, task: Any, outputs: Any, batch: Batch, number: int) -> None:
        self.predictions.append(outputs.prediction.numpy().copy())
        self.rows += batch_rows(batch, outputs.counts)


class Passes:
    """Counts the images that a method's encoder sees."""

    def __init__(self, method: Method) -> None:
        self.images = 0
        method.encoder.register_forward_hook(self)

    def __call__(self, module: Any, images: Any, features: Any) -> None:
        self.images += len(images[0])


def data(**options: Any) -> EpisodeData:
    protocol = Protocol(runs=2, episodes=10, **options.pop("protocol", {}))
    options = {"size": 24, "workers": 0, "test_batch_size": 3, "cache_features": True, **options}
    return EpisodeData(Shapes(32, 40, 60), protocol=protocol, **grouped(**options))


def run(method: Method, data: EpisodeData, **trainer: Any) -> Kept:
    kept = Kept()
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    Trainer(accelerator="cpu", callbacks=[kept], **quiet | trainer).test(Task(method), data, verbose=False)
    return kept


@pytest.mark.parametrize("sizes", [{}, {"shot": 5}, {"way": 2, "shot": 2, "query": 2}])
@pytest.mark.parametrize("name", METHODS)
@pytest.mark.slow
def test_kept_features_give_the_same_predictions(name: str, sizes: dict[str, int]) -> None:
    method = made(name)
    passes = Passes(method)
    reused, used = run(method, data(**sizes)), passes.images
    passes.images = 0
    plain = run(method, data(**sizes, cache_features=False))
    way, shot, query = (sizes.get(key, 1) for key in ("way", "shot", "query"))
    assert passes.images == 20 * (way * shot + query)
    assert used == 1 + len({i for row in plain.rows for i in f"{row.support} {row.query}".split()})  # 1 for its shape
    pixels = sum(p.size for p in plain.predictions)
    differing = sum(int((a != b).sum()) for a, b in zip(reused.predictions, plain.predictions, strict=True))
    assert differing <= pixels / 10_000
    assert [row[:4] + row[8:] for row in reused.rows] == [row[:4] + row[8:] for row in plain.rows]
    share = np.mean([float((p > 0).mean()) for p in plain.predictions])
    assert 0.02 < share < 0.98  # or everything would be alike
    means = [mean_iou(kept.rows) for kept in (reused, plain)]
    assert abs(means[0] - means[1]) <= 1e-4


class PooledCells(Encoder):
    """The cells of FCN-32s, without its 14 M weights."""

    name, stride, widths, crop = "cells", 32, (8,), 0

    def __init__(self) -> None:
        super().__init__()
        self.network = torch.nn.Conv2d(3, 8, 1)

    def features(self, images: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return (torch.nn.functional.avg_pool2d(self.network(images).relu(), 64, 32, ceil_mode=True),)


@pytest.mark.parametrize("truth", ["input", "original"])
def test_fcn32_knows_the_size_of_images_that_are_cached(truth: str) -> None:
    options = {"size": 70, "protocol": {"evaluate_at": truth}}
    given = data(**options, test_batch_size=8)
    given.setup("test")
    torch.manual_seed(0)
    with torch.no_grad():
        method = awake(GuidedNetworks(PooledCells())).eval()
        batch = next(iter(given.test_dataloader()))
        features = method.features(batch)
        cells = method.predict(method.state(features.support, batch.support_mask), features.query)
        method.classify.bias[0] += (cells[:, :, 1] - cells[:, :, 0]).median()
    cached, plain = (run(method, data(**options, cache_features=cached)) for cached in (True, False))
    assert [row[8:] for row in cached.rows] == [row[8:] for row in plain.rows]
    assert 0.02 < np.mean([float((p > 0).mean()) for p in plain.predictions]) < 0.98


def mean_iou(rows: list[Row]) -> float:
    sums = np.zeros((2, 21, 2))
    for row in rows:
        sums[row.run, row.class_id] += row.intersection, row.union
    return float(np.mean([i / u for run in sums[:, 1:] for i, u in run if u]))


def test_random_annotations_are_learnt_anew() -> None:
    method = made("PANet")
    boxes = {"support_annotation": "box", "box_instance": "random", "shot": 2}
    reused, plain = (run(method, data(**boxes, cache_features=kept)) for kept in (True, False))
    assert reused.rows == plain.rows


def test_what_exceeds_the_memory_is_kept_in_a_file(no_cache: Path) -> None:
    torch.manual_seed(0)
    method = PANet(encoder())
    task, quiet = Task(method), {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    lines: list[str] = []
    task.say = lines.append
    kept = Kept()
    Trainer(accelerator="cpu", callbacks=[kept], **quiet).test(task, data(cache_memory=0.0), verbose=False)
    (line,) = lines
    assert f"in a file in {no_cache}" in line
    assert "images, each encoded once" in line
    assert not list(no_cache.iterdir())  # it has no name by then
    assert kept.rows == run(method, data(cache_features=False)).rows


def test_without_room_each_episode_encodes_its_images(monkeypatch: pytest.MonkeyPatch, no_cache: Path) -> None:
    torch.manual_seed(0)
    method = PANet(encoder())
    monkeypatch.setattr(store.shutil, "disk_usage", lambda folder: type("Usage", (), {"free": 2**30})())
    task, lines, kept = Task(method), [], Kept()
    task.say = lines.append
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    Trainer(accelerator="cpu", callbacks=[kept], **quiet).test(task, data(cache_memory=0.0), verbose=False)
    (line,) = lines
    assert line.startswith("note: no room for the features")
    assert kept.rows == run(method, data(cache_features=False)).rows


def test_a_full_disk_is_known_before_anything_is_encoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(store.os, "posix_fallocate", full)
    with pytest.raises(NoRoomError, match="No space left on device"):
        FeatureStore([1, 2], [torch.zeros(4, 2, 2)], 0, tmp_path)
    assert not list(tmp_path.iterdir())


def test_features_come_in_the_shape_of_their_numbers(tmp_path: Path) -> None:
    fine, coarse = torch.randn(3, 4, 4, 4), torch.randn(3, 8, 2, 2)
    for budget in (10_000, 0):
        features = FeatureStore([3, 5, 9], (fine[0], coarse[0]), budget, tmp_path)
        features.put([3, 5], (fine[:2], coarse[:2]))
        features.put([9], (fine[2:], coarse[2:]))
        found = features[torch.tensor([[9, 3], [5, 9]])]
        assert torch.equal(found[0], fine[[2, 0, 1, 2]].view(2, 2, 4, 4, 4))
        assert torch.equal(found[1], coarse[[2, 0, 1, 2]].view(2, 2, 8, 2, 2))
        assert len(features) == 3
        assert features.size == (fine.numel() + coarse.numel()) * 4


@pytest.mark.slow
def test_a_support_is_learnt_once() -> None:
    torch.manual_seed(0)
    method = RPMMs(encoder(), channels=8)
    seen = []
    adapt = method.adapt_way
    method.adapt_way = lambda *args: seen.append(1) or adapt(*args)  # type: ignore[method-assign]
    run(method, data(shot=1))
    supports = {(row.support, row.class_id) for row in run(method, data(shot=1)).rows if row.class_id}
    assert len(seen) == 2 * len(supports)


def test_photos_at_their_own_sizes_and_methods_that_look_at_images_are_not_reused() -> None:
    class Looks(PANet):
        def forward(self, batch: Batch) -> torch.Tensor:
            return super().forward(batch)

    assert testing.cacheable(PANet(encoder()))
    assert not testing.cacheable(Looks(encoder()))
    own = data(test_batch_size=1, protocol={"size": "own"})
    own.setup("test")
    assert testing.plan(PANet(encoder()), own, 1, torch.no_grad, print) is None


def test_the_available_memory_is_some_of_the_machines() -> None:
    whole = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    assert 0 < store.available_memory() <= whole


def test_a_containers_limit_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "_CGROUP", tmp_path)
    (tmp_path / "memory.max").write_text("5000000\n")
    (tmp_path / "memory.current").write_text("3000000\n")
    assert store.available_memory() == 2_000_000
    (tmp_path / "memory.max").write_text("max\n")
    assert store.available_memory() > 2_000_000
