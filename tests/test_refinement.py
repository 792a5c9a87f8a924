"""Refined tests: the filter of predictions, applied to the logits of a test before they are compared."""

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import PIL.Image
import pytest
import torch
from lightning import Callback

from fsseg import metrics
from fsseg.contracts.trials import awake
from fsseg.datasets import Pascal
from fsseg.encoders import ConvNet
from fsseg.episodes import EpisodeData, EpisodeOptions, ImageOptions, LoadingOptions
from fsseg.methods import PANet, PMMs
from fsseg.ops.refine import refined
from fsseg.protocols.protocol import Protocol
from fsseg.refinement import Refinement
from fsseg.task import Task
from tests.test_task import trainer

CELLS = 3, 3  # of 24 pixels at stride 8


def method(kind: type = PANet) -> Any:
    torch.manual_seed(0)
    return awake(kind(ConvNet((8, 8), (4, 2), convolutions=1))).eval()


def photographs(root: Path, way: int = 1, cache: bool = True, **protocol: Any) -> EpisodeData:
    return EpisodeData(
        Pascal(),
        root=str(root),
        way=way,
        images=ImageOptions(size=24),
        episodes=EpisodeOptions(train=4, val=6),
        loading=LoadingOptions(workers=0, test_batch_size=3, cache_features=cache),
        protocol=Protocol(**{"runs": 1, "episodes": 12, **protocol}),
    )


def image_of(root: Path, name: str, protocol: Protocol) -> np.ndarray:
    """The image at the size of the mask that it is compared at, without fsseg."""
    image = np.asarray(PIL.Image.open(root / "VOC2012" / "JPEGImages" / f"{name}.jpg").convert("RGB"))
    if protocol.evaluate_at == "input":
        return np.asarray(PIL.Image.fromarray(image).resize((24, 24), PIL.Image.Resampling.BILINEAR))
    if protocol.resize == "pad":
        side = max(image.shape[:2])
        return cv2.copyMakeBorder(image, 0, side - image.shape[0], 0, side - image.shape[1], cv2.BORDER_CONSTANT)
    return image


def outputs_of(task: Task, data: EpisodeData) -> list[metrics.TestOutput]:
    class Outputs(Callback):
        def on_test_batch_end(self, trainer: Any, module: Any, output: Any, *_: Any) -> None:
            found.append(output)

    found: list[metrics.TestOutput] = []
    trainer(callbacks=[Outputs()]).test(task, data, verbose=False)
    return found


@pytest.mark.parametrize(
    ("way", "protocol"),
    [(1, {}), (2, {}), (1, {"evaluate_at": "input"}), (1, {"resize": "pad"}), (1, {"evaluate_at": "resampled"})],
)
def test_a_refined_test_counts_what_the_filter_gives_by_hand(
    fake_voc: Path, way: int, protocol: dict[str, str]
) -> None:
    """With and without cached features; queries of a batch differ in size."""
    segments = method()
    data = photographs(fake_voc, way, **protocol)
    data.setup("test")
    expected, changed = torch.zeros(2, 1 + way, dtype=torch.int64), 0
    for batch in data.test_dataloader():
        with torch.inference_mode():
            logits = segments(batch)
        by_hand = torch.zeros_like(batch.query_mask)
        for b, ((height, width),) in enumerate(batch.query_size.tolist()):
            image = image_of(fake_voc, data.dataset.image_name(int(batch.query_id[b, 0])), data.protocol)
            own = refined(logits[b, 0, :, :height, :width].clone(), image, CELLS)
            by_hand[b, 0, :height, :width] = own.argmax(0)
            changed += int((own.argmax(0) != logits[b, 0, :, :height, :width].argmax(0)).sum())
        found = metrics.count(by_hand, batch.query_mask, way)
        expected += torch.stack([found.intersection.sum((0, 1)), found.union.sum((0, 1))])
    assert changed > 100
    for cache in (True, False):
        outputs = outputs_of(Task(segments, refine=True), photographs(fake_voc, way, cache, **protocol))
        counted = [torch.cat([output.counts[place] for output in outputs]).sum((0, 1)) for place in (0, 1)]
        assert torch.equal(torch.stack(counted), expected)


def test_padding_stays_and_the_finest_map_gives_the_cells(fake_voc: Path) -> None:
    data = photographs(fake_voc)
    data.setup("test")
    refine = Refinement(method(), data)
    assert refine.cells((24, 24)) == CELLS
    assert refine.cells((32, 24)) == (4, 3)
    batch = next(iter(data.test_dataloader()))
    logits = torch.randn(3, 1, 2, *batch.query_mask.shape[-2:])
    before, found = logits.clone(), refine(logits, batch)
    assert torch.equal(logits, before)
    padded = (batch.query_mask == 255) & (found == logits).all(2)
    for b, ((height, width),) in enumerate(batch.query_size.tolist()):
        assert padded[b, 0, height:].all()
        assert padded[b, 0, :, width:].all()


def test_without_the_option_predictions_are_those_of_the_logits(fake_voc: Path) -> None:
    data, segments = photographs(fake_voc, cache=False), method(PMMs)
    outputs = outputs_of(Task(segments), data)
    for batch, output in zip(data.test_dataloader(), outputs, strict=True):
        with torch.inference_mode():
            assert torch.equal(output.prediction, segments(batch).argmax(2))
