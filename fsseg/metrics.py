"""Mean-IoU and binary-IoU from counts, which are summed over images, episodes and processes.

Mean-IoU divides the summed intersection of a class by its summed union over a run; a mean of the IoU of images is a
different number. States are integer counts, so that the result does not depend on the number of processes.
"""

from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int, Integer
from torch import Tensor
from torchmetrics import Metric

from fsseg.episode import IGNORE
from fsseg.iou import iou
from fsseg.protocols.protocol import Absent

_SURE = 0.01  # share of a query's pixels that its presence score is the mean of: an object may be this small


class Counts(NamedTuple):
    """Pixel counts per query and episode label, without ignored pixels.

    Attributes:
        intersection: predicted and true.
        union: predicted or true.
        truth: true.
    """

    intersection: Int[Tensor, "B Q L"]
    union: Int[Tensor, "B Q L"]
    truth: Int[Tensor, "B Q L"]


class TestOutput(NamedTuple):
    """Result of a validation or test step, for callbacks.

    Attributes:
        prediction: ``B Q H W``, episode labels.
        counts: pixel counts per query and label.
        presence: ``B Q N``, presence scores; None where every query shows a class of its episode.
    """

    prediction: Tensor
    counts: Counts
    presence: Tensor | None = None


def count(prediction: Integer[Tensor, "B Q H W"], mask: Integer[Tensor, "B Q H W"], way: int) -> Counts:
    """Pixel counts of predictions and masks, both in episode labels; 255 in the mask is ignored."""
    labels = torch.arange(1 + way, device=mask.device).view(-1, 1, 1)
    valid = (mask != IGNORE).unsqueeze(2)
    true = (mask.unsqueeze(2) == labels) & valid
    predicted = (prediction.unsqueeze(2) == labels) & valid
    intersection = (true & predicted).sum((-2, -1))
    truth = true.sum((-2, -1))
    return Counts(intersection, predicted.sum((-2, -1)) + truth - intersection, truth)


def presence(logits: Float[Tensor, "B Q L H W"]) -> Float[Tensor, "B Q N"]:
    """Presence score of each class on each query: mean of the percent of its pixels with the largest probabilities."""
    probability = logits.float().softmax(2)[:, :, 1:].flatten(3)
    pixels = max(1, round(_SURE * probability.shape[-1]))
    return probability.topk(pixels, sorted=False).values.mean(-1)


class IoU:
    """IoU of ``R`` runs. No tuple, because torchmetrics turns tensors of one element in a tuple into numbers.

    Args:
        per_class: ``R C``, IoU of each run and class or label; NaN for a class without counts.
        per_run: ``R``, mean over the classes with counts.
    """

    def __init__(self, per_class: Tensor, per_run: Tensor) -> None:
        self.per_class, self.per_run = per_class, per_run

    @property
    def mean(self) -> Tensor:
        """Mean over runs."""
        return self.per_run.mean()

    @property
    def std(self) -> Tensor:
        """Population standard deviation over runs (numpy's std in PANet's metric.py)."""
        return self.per_run.std(correction=0)


class _RunIoU(Metric):
    """Sums of intersections and unions, with one row per run and one column per class."""

    full_state_update = False
    higher_is_better = True
    intersection: Tensor
    union: Tensor

    def __init__(self, runs: int, columns: int, absent: Absent, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.absent = absent
        zeros = torch.zeros(runs, columns, dtype=torch.long)
        self.add_state("intersection", zeros, dist_reduce_fx="sum")
        self.add_state("union", zeros.clone(), dist_reduce_fx="sum")

    def _add(self, counts: Counts, column: Tensor, run: Tensor, use: Tensor) -> None:
        """Add the counts where ``use`` is true; out of place, because processes may share the memory of a state."""
        if self.absent == "drop":
            use = use & (counts.truth > 0)
        row = run.view(-1, 1, 1).expand_as(column)
        for name in ("intersection", "union"):
            state, value = getattr(self, name), getattr(counts, name) * use
            setattr(self, name, state + torch.zeros_like(state).index_put((row, column), value, accumulate=True))

    def running(self) -> Tensor:
        """Mean so far on this process only, for a progress bar; NaN before the first episode."""
        per_run = self._divide(slice(1, None)).per_run
        return per_run.nanmean().float()

    def _divide(self, columns: Tensor | slice) -> IoU:
        per_class = iou(self.intersection[:, columns].double(), self.union[:, columns].double())
        return IoU(per_class, per_class.nanmean(dim=1))


class ClassIoU(_RunIoU):
    """Mean-IoU: IoU of each class over a run, averaged over the classes drawn in the run.

    Args:
        classes: class ids to report.
        runs: number of runs.
        absent: rule for a class that a mask lacks. ``count``: false positives of the class count
            (NoteEvaluation.py of PMMs). ``drop``: the image does not count for the class (metric.py of PANet).
        kwargs: options of torchmetrics.Metric.
    """

    def __init__(self, classes: tuple[int, ...], runs: int = 1, absent: Absent = "count", **kwargs: Any) -> None:
        super().__init__(runs, max(classes, default=0) + 1, absent, **kwargs)
        self.classes = list(classes)

    def update(self, counts: Counts, classes: Int[Tensor, "B N"], run: Int[Tensor, " B"]) -> None:
        """Add episodes.

        Args:
            counts: counts of the queries.
            classes: class id of each way.
            run: run of each episode; negative for padding, which is not counted.
        """
        column = torch.cat([torch.zeros_like(classes[:, :1]), classes], dim=1).unsqueeze(1)
        column = column.expand_as(counts.union)
        self._add(counts, column, run.clamp(min=0), (run >= 0).view(-1, 1, 1))

    def compute(self) -> IoU:
        """IoU per run and class, in the order of ``classes``."""
        return self._divide(torch.tensor(self.classes, device=self.union.device))


class BinaryIoU(_RunIoU):
    """Binary-IoU: mean of background IoU and foreground IoU; foreground sums the counts of all classes.

    As in PANet's code, a pixel of one way predicted as another way is an error of both. With several ways this is not
    the IoU of a foreground-background segmentation.

    Args:
        runs: number of runs.
        absent: see `ClassIoU`.
        kwargs: options of torchmetrics.Metric.
    """

    def __init__(self, runs: int = 1, absent: Absent = "count", **kwargs: Any) -> None:
        super().__init__(runs, 2, absent, **kwargs)

    def update(self, counts: Counts, run: Int[Tensor, " B"]) -> None:
        """Add episodes; see `ClassIoU.update`."""
        label = torch.arange(counts.union.shape[-1], device=run.device).clamp(max=1)
        self._add(counts, label.expand_as(counts.union), run.clamp(min=0), (run >= 0).view(-1, 1, 1))

    def compute(self) -> IoU:
        """IoU of background and foreground per run."""
        return self._divide(slice(None))
