"""A training with cached features takes the steps of one that encodes every image of every episode."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning import Trainer

from fsseg.datasets import Shapes
from fsseg.encoders import ConvNet, Encoder
from fsseg.episodes import EpisodeData
from fsseg.errors import FssegError
from fsseg.feature_cache import store, testing, training
from fsseg.methods import CANet, Method, PANet, PMMs, RPMMs, SGOne
from fsseg.protocols.protocol import Protocol
from fsseg.task import Task
from tests.episode_options import grouped
from tests.feature_cache.test_testing import Passes

CROP = {"class_path": "RandomResizedCrop", "init_args": {"size": [24, 24], "scale": [0.4, 1.0]}}
QUIET = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False, "enable_checkpointing": False}
STEPS = 24


def encoder() -> Encoder:
    made = ConvNet(widths=(8, 16), strides=(2, 2), convolutions=1)
    made.requires_grad_(False)
    return made


METHODS = {
    "PMMs": lambda: PMMs(encoder(), channels=8),
    "RPMMs": lambda: RPMMs(encoder(), channels=8),
    "CANet": lambda: CANet(encoder(), iterations=2, channels=8),
    "SG-One": lambda: SGOne(encoder(), guidance=8, channels=8),
}


def data(**options: Any) -> EpisodeData:
    options = {"size": 24, "workers": 0, "batch_size": 4, "train": 16, "val": 6, "test_batch_size": 2} | options
    return EpisodeData(Shapes(32, 40, 60), protocol=Protocol(runs=1, episodes=2), **grouped(**options))


class Trained:
    """A training of a few steps: losses, lines, weights, encoder passes."""

    def __init__(self, method: Method, data: EpisodeData, steps: int = STEPS, **trainer: Any) -> None:
        torch.manual_seed(1)
        self.task, self.lines, self.losses = Task(method), list[str](), list[float]()
        self.task.say = self.lines.append
        passes, step = Passes(method), self.task.training_step

        def noted(batch: Any, batch_idx: int) -> Any:
            loss = step(batch, batch_idx)
            self.losses.append(float(loss.detach()))
            self.channels = batch.query_image.shape[-3]
            return loss

        self.task.training_step = noted  # type: ignore[method-assign]
        options = QUIET | {"accelerator": "cpu", "max_steps": steps, "max_epochs": -1, "num_sanity_val_steps": -1}
        self.trainer = Trainer(**options | trainer)  # type: ignore[arg-type]
        self.trainer.fit(self.task, data)
        self.images = passes.images
        self.weights = {name: value.detach().clone() for name, value in method.named_parameters()}


def made(name: str) -> Method:
    torch.manual_seed(0)
    return METHODS[name]()


def compare(one: Trained, other: Trained, rtol: float = 1e-4) -> None:
    np.testing.assert_allclose(one.losses, other.losses, rtol=rtol)
    for name, value in one.weights.items():
        torch.testing.assert_close(value, other.weights[name], rtol=10 * rtol, atol=rtol, msg=name)
    assert one.task.untrained == pytest.approx(other.task.untrained, abs=rtol)
    found = [float(each.trainer.callback_metrics["val/mean_iou"]) for each in (one, other)]
    assert found[0] == pytest.approx(found[1], abs=10 * rtol)


# What is cached depends on the method, and which of it a step takes on the data: every method, and every kind of data.
_WAYS: dict[str, Any] = {"way": 2, "shot": 2, "query": 2, "missing_classes": "skip"}
_DATA: dict[str, dict[str, Any]] = {
    "flips": {},
    "variants": {"augment": [CROP], "variants": 2},
    "workers": {"augment": [], "shot": 2, "workers": 2},
    "scribbles": {"support_annotation": "scribble"},
    "absent": {"absent_queries": 0.5},
}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "options"),
    [*(pytest.param(name, _WAYS, id=f"{name}-ways") for name in METHODS),
     *(pytest.param("PMMs", options, id=f"PMMs-{words}") for words, options in _DATA.items())],
)  # fmt: skip
def test_cached_features_give_the_same_steps(name: str, options: dict[str, Any]) -> None:
    cached = Trained(made(name), data(**options))
    plain = Trained(made(name), data(**options, cache_features=False))
    assert (cached.channels, plain.channels) == (0, 3)
    compare(cached, plain)
    assert len(cached.lines) == len(plain.lines) + 2  # training and validation images


@pytest.mark.slow
def test_each_variant_of_each_image_is_encoded_once() -> None:
    source = data()
    cached = Trained(made("PMMs"), source, steps=60)
    trained = len({i for found in source.trained.images.values() for i in found})
    validated = len(source.shown_images("val")[0])
    assert cached.images == 2 * trained + validated + 2  # one each for the shapes
    assert cached.lines[0].startswith(f"training: {trained} images in 2 variants, each encoded once; features: ")
    assert cached.lines[1].startswith(f"validation: {validated} images, each encoded once; features: ")


def test_a_short_training_encodes_only_what_it_shows() -> None:
    short = Trained(made("PMMs"), data(), steps=2)
    assert not any(line.startswith("training: ") for line in short.lines)
    assert short.channels == 3


@pytest.mark.slow
def test_what_exceeds_the_memory_has_half_precision_in_a_file(no_cache: Path) -> None:
    cached = Trained(made("PMMs"), data(cache_memory=0.0))
    assert f"in a file in {no_cache}" in cached.lines[0]
    compare(cached, Trained(made("PMMs"), data(cache_features=False)), rtol=5e-3)  # 16 bits have 11 digits of 2
    assert not list(no_cache.iterdir())


@pytest.mark.slow
def test_without_room_each_step_encodes_its_images(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store.shutil, "disk_usage", lambda folder: type("Usage", (), {"free": 2**30})())
    full = Trained(made("PMMs"), data(cache_memory=0.0), 6)
    plain = Trained(made("PMMs"), data(cache_features=False), 6)
    assert full.channels == 3
    assert any(line.startswith("note: no room for the features of ") for line in full.lines)
    compare(full, plain, rtol=0)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_features_lie_on_the_gpu() -> None:
    cached, plain = (
        Trained(made("PMMs"), data(cache_features=kept), accelerator="gpu", devices=1) for kept in (True, False)
    )
    assert any("the GPU's memory" in line for line in cached.lines)
    compare(cached, plain, rtol=1e-3)


def test_infinitely_many_variants_are_not_cached() -> None:
    plain = Trained(made("PMMs"), data(augment=[CROP]), steps=2)
    assert plain.channels == 3
    assert plain.lines[0].startswith("note: the encoder is fixed, but `data.images.augment` makes infinitely many")


@pytest.mark.slow
def test_a_resumed_training_takes_the_same_steps(tmp_path: Path) -> None:
    whole = Trained(made("PMMs"), data())
    first = Trained(made("PMMs"), data(), steps=STEPS // 2)
    first.trainer.save_checkpoint(tmp_path / "half.ckpt")
    torch.manual_seed(5)
    task = Task(METHODS["PMMs"]())
    options: dict[str, Any] = QUIET | {"max_steps": STEPS, "max_epochs": -1, "num_sanity_val_steps": -1}
    Trainer(accelerator="cpu", **options).fit(task, data(), ckpt_path=tmp_path / "half.ckpt", weights_only=False)
    assert task.untrained == whole.task.untrained
    for name, value in task.method.named_parameters():
        torch.testing.assert_close(value, whole.weights[name], rtol=1e-4, atol=1e-5, msg=name)


def test_features_that_are_not_finite_name_the_image() -> None:
    method = made("PMMs")
    method.encoder.network[-2].weight.data.fill_(1e38)  # type: ignore[union-attr, operator, index]
    with pytest.raises(FssegError, match=r"features of image shapes-00000 are not finite in float32: give"):
        Trained(method, data())


def test_a_method_that_needs_images_is_not_cached() -> None:
    class Looks(PANet):
        def loss(self, batch: Any) -> Any:
            return super().loss(batch)

    class Weighs(PANet):
        def logits(self, features: Any, batch: Any) -> Any:
            return 2 * super().logits(features, batch)

    assert training.cacheable(PANet(encoder()))
    assert not training.cacheable(Looks(encoder()))
    assert not training.cacheable(Weighs(encoder()))
    assert not testing.cacheable(Weighs(encoder()))
    assert not training.cacheable(PANet(ConvNet(widths=(8,), strides=(2,))))


def test_the_untrained_prototypes_are_panets(monkeypatch: pytest.MonkeyPatch) -> None:
    trained = Trained(made("PMMs"), data(), steps=4)
    task = Task(PANet(trained.task.method.encoder))
    trainer = Trainer(accelerator="cpu", **QUIET)  # type: ignore[arg-type]
    (found,) = trainer.validate(task, data(), verbose=False)
    assert trained.task.untrained == pytest.approx(found["val/mean_iou"], abs=1e-6)
    line = (
        f"val mean-IoU {100 * float(trained.trainer.callback_metrics['val/mean_iou']):.1f} (prototypes of the encoder"
    )
    assert trained.lines[-1].startswith(f"step 4: {line}, untrained: {100 * found['val/mean_iou']:.1f})")


def test_two_processes_share_the_keys() -> None:
    assert training._shares([3, 5, 9, 11, 20], 2) == [[3, 9, 20], [5, 11, 20]]


def test_an_unknown_key_is_no_other_images_features(tmp_path: Path) -> None:
    features = store.FeatureStore([3, 5], [torch.zeros(1, 2, 2)], 10_000, tmp_path)
    for key in (2, 4, 6):
        with pytest.raises(KeyError):
            features[torch.tensor([key])]


def test_a_stage_without_images_has_no_store(tmp_path: Path) -> None:
    features = training.TrainingFeatures(made("PMMs"), tmp_path, 10_000, print)
    assert not features.add("val", training.Plan([], float("inf"), 24), torch.no_grad)
    assert not features.stages
