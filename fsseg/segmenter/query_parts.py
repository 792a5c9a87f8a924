"""Prediction for a part of a query: logits, borders, scores."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from fsseg.episode import Image, label_table
from fsseg.errors import FssegError
from fsseg.ops.refine import refined
from fsseg.segmenter.prediction import Part
from fsseg.segmenter.regions import by_region
from fsseg.segmenter.state import SegmenterState
from fsseg.segmenter.support_state import logits, with_empty
from fsseg.segmenter.tiling import VIEWS, Window

if TYPE_CHECKING:
    from fsseg.segmenter.segmenter import Segmenter


Threshold = float | Literal["auto"]


def predict_part(
    segmenter: Segmenter, state: SegmenterState, image: Image, window: Window, threshold: Threshold, score: bool
) -> Part:
    """Prediction for a part of an image; rejected images are background."""
    part = image[window.rows, window.columns]
    feature = segmenter.features.query(part)
    found = _logits(segmenter, state, feature, part)
    if not found.isfinite().all():
        raise FssegError("the logits are not finite: the training of the checkpoint diverged. Take another one.")
    if segmenter.refine:
        if len(state.names) > 1:
            found = by_region(found, [*state.found], feature, state.looks)
        found = refined(found, part, max((one.shape[-2], one.shape[-1]) for one in feature))
    best = found.max(0).indices
    scores = _scores(segmenter, state, feature, best) if score else {}
    for label, name in state.found.items():
        value = scores.get(name)
        if value is not None and value < _least(segmenter, state, label, threshold):
            found[1:, best == label] = -torch.inf  # no other class takes its place
            found[label] = -torch.inf
    own, classes = window.own(found), torch.tensor(list(state.found), device=found.device)
    probability = own.softmax(0)[classes]
    background = 1 - probability.sum(0, keepdim=True)
    table = torch.from_numpy(label_table({label: place for place, label in enumerate(state.found, 1)}))
    return Part(table.to(found.device)[own.max(0).indices], torch.cat([background, probability]), scores)


def _least(segmenter: Segmenter, state: SegmenterState, label: int, threshold: Threshold) -> float:
    """The smallest score that a class may have."""
    if threshold != "auto":
        return threshold
    calibration = state.calibration(segmenter.method, label)
    return calibration.least if calibration else 0.0


def _logits(
    segmenter: Segmenter, state: SegmenterState, feature: tuple[Tensor, ...], part: Image
) -> Float[Tensor, "L H W"]:
    """Logits of a part of an image; the mean over views if `thorough`. `by_region` is to tell equal classes apart."""
    size = (part.shape[0], part.shape[1])
    as_one = segmenter.refine and len(state.names) > 1 and state.is_pooled
    states = (state.any_class(),) if as_one else state.states
    each = [logits(segmenter.method, states, feature, segmenter.canvas.shown(*size), size)]
    for scale, mirrored in VIEWS if segmenter.thorough else ():
        canvas = segmenter.canvas.scaled(scale)
        view = segmenter.features.query(part[:, ::-1] if mirrored else part, canvas)
        found = logits(segmenter.method, states, view, canvas.shown(*size), size)
        each.append(found.flip(-1) if mirrored else found)
    mean = torch.stack(each).mean(0)
    return mean if not as_one else with_empty(mean[[0, *(1 for _ in state.names)]], [*map(bool, state.classes)])


def _scores(
    segmenter: Segmenter, state: SegmenterState, feature: tuple[Tensor, ...], best: Int[Tensor, "H W"]
) -> dict[str, float | None]:
    """Score of each class."""
    scores: dict[str, float | None] = {}
    for label, name in state.found.items():
        calibration, region = state.calibration(segmenter.method, label), best == label
        scores[name] = calibration.score_of(feature, region) if calibration and bool(region.any()) else None
    return scores
