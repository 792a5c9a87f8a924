from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning import Trainer

from fsseg.datasets import Shapes
from fsseg.encoders import ConvNet
from fsseg.episodes import EpisodeData, EpisodeOptions, ImageOptions, LoadingOptions
from fsseg.errors import FssegError
from fsseg.methods import PANet
from fsseg.protocols.protocol import Protocol
from fsseg.task import Task
from fsseg.untrusted.card import Card, read_card


def task() -> Task:
    torch.manual_seed(0)
    return Task(PANet(ConvNet((8, 8), (2, 2), convolutions=1)))


def trainer(**arguments: object) -> Trainer:
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    return Trainer(accelerator="cpu", enable_checkpointing=False, use_distributed_sampler=False, **quiet | arguments)


def episodes(**protocol: Any) -> EpisodeData:
    made = Protocol(**{"runs": 2, "episodes": 15, "evaluate_at": "input", **protocol})
    return EpisodeData(
        Shapes(32, 40, 40),
        images=ImageOptions(size=24),
        episodes=EpisodeOptions(train=4, val=6),
        loading=LoadingOptions(workers=0),
        protocol=made,
    )


@pytest.mark.parametrize("absent", ["count", "drop"])
def test_a_test_logs_the_mean_iou_of_its_predictions(absent: str) -> None:
    tested, data = task(), episodes(absent=absent)
    (logged,) = trainer().test(tested, data, verbose=False)
    sums = np.zeros((2, 21, 2))
    for batch in data.test_dataloader():
        with torch.no_grad():
            prediction = tested.method(batch).argmax(2)
        for predicted, mask in ((prediction, batch.query_mask), (1 - prediction, 1 - batch.query_mask)):
            column = int(batch.classes) if mask is batch.query_mask else 0
            predicted, true = predicted == 1, mask == 1
            if absent == "count" or true.any():
                sums[int(batch.run), column] += int((predicted & true).sum()), int((predicted | true).sum())
    means = []
    for run in sums:
        drawn = [c for c in data.novel if run[c, 1]]
        means.append(np.mean([run[c, 0] / run[c, 1] for c in drawn]))
    foreground = sums[:, 1:].sum(1)
    binary = np.mean([sums[:, 0, 0] / sums[:, 0, 1], foreground[:, 0] / foreground[:, 1]])
    assert logged["test/mean_iou"] == pytest.approx(np.mean(means))
    assert logged["test/binary_iou"] == pytest.approx(binary)


def test_training_changes_the_method_and_validates_on_base_classes() -> None:
    trained, data, fitting = task(), episodes(), trainer(max_epochs=1)
    before = [p.detach().clone() for p in trained.parameters()]
    fitting.fit(trained, data)
    assert fitting.global_step == 4
    assert not any(torch.equal(a, b) for a, b in zip(before, trained.parameters(), strict=True))
    assert {"train/loss", "train/segmentation", "train/alignment"} <= fitting.logged_metrics.keys()
    assert 0 < fitting.logged_metrics["val/mean_iou"] < 1


def test_a_loss_that_is_not_finite_names_its_images() -> None:
    broken = task()
    with torch.no_grad():
        next(broken.parameters()).fill_(torch.nan)
    with pytest.raises(FssegError, match=r"loss is nan at step 0 \(images shapes-000\d\d, shapes-000\d\d\)\. Lower"):
        trainer(max_epochs=1, num_sanity_val_steps=0).fit(broken, episodes())


@pytest.mark.parametrize("content", [b"", b"hello", b"no checkpoint\n", b"PK\x03\x04"])
def test_a_file_that_is_no_checkpoint(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "last.ckpt"
    path.write_bytes(content)
    with pytest.raises(FssegError, match=r"last.ckpt.*cannot be read"):
        read_card(str(path))


def test_checkpoints_that_fsseg_did_not_write(tmp_path: Path) -> None:
    path = str(tmp_path / "other.ckpt")
    with pytest.raises(FssegError, match="no such file"):
        read_card(path)
    for content in ({"state_dict": {}}, [1], {"fsseg": {}, "state_dict": {}}):
        torch.save(content, path)
        with pytest.raises(FssegError, match="is no checkpoint of `fsseg fit`"):
            read_card(path)


def test_a_checkpoint_says_what_it_is(tmp_path: Path) -> None:
    path, saved, saving = str(tmp_path / "last.ckpt"), task(), trainer(max_epochs=1)
    config = "{seed_everything: 0, model: {method: {class_path: fsseg.methods.PANet}}, data: {shot: 1}, trainer: {}}"
    saved.card = Card(version="1", config=config, dataset="Shapes", fold=2, trained_on=["disc"])
    saving.fit(saved, episodes())
    saving.save_checkpoint(path)
    card = read_card(path)
    assert {name: getattr(card, name) for name in vars(saved.card)} == vars(saved.card)
    assert card.step == 4
    assert card.shapes == {name: tuple(tensor.shape) for name, tensor in saved.state_dict().items()}


def test_channels_last_changes_the_layout_and_no_more_than_last_digits() -> None:
    batch = next(iter(prepared("test").test_dataloader()))
    torch.manual_seed(0)
    usual = Task(PANet(ConvNet((8, 8), (2, 2), convolutions=1)))
    torch.manual_seed(0)
    last = Task(PANet(ConvNet((8, 8), (2, 2), convolutions=1)), channels_last=True)
    (feature,) = last.method.encode(batch.query_image[0])
    assert feature.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(last(batch), usual(batch), rtol=1e-4, atol=1e-4)


def prepared(stage: str) -> EpisodeData:
    data = episodes()
    data.setup(stage)
    return data
