"""Mean-IoU over classes and binary-IoU, as counts that add up over images, episodes and processes.

The field's mean-IoU sums intersections and unions of a class over a run and divides then; averaging the IoU of images
is another number. States are integer counts, so that any number of processes gives the same digits.
"""

from typing import Any, NamedTuple

import torch
from jaxtyping import Int, Integer
from torch import Tensor
from torchmetrics import Metric

from fsseg.episode import IGNORE
from fsseg.iou import iou
from fsseg.protocols.protocol import Absent


class Counts(NamedTuple):
    """Pixel counts per query and episode label (0 background, 1 .. N), ignored pixels left out.

    Attributes:
        intersection: predicted and true.
        union: predicted or true.
        truth: true.
    """

    intersection: Int[Tensor, "B Q L"]
    union: Int[Tensor, "B Q L"]
    truth: Int[Tensor, "B Q L"]


def count(prediction: Integer[Tensor, "B Q H W"], mask: Integer[Tensor, "B Q H W"], way: int) -> Counts:
    """Count pixels of predictions against masks, both episode labels; 255 in the mask is ignored."""
    labels = torch.arange(1 + way, device=mask.device).view(-1, 1, 1)
    valid = (mask != IGNORE).unsqueeze(2)
    true = (mask.unsqueeze(2) == labels) & valid
    predicted = (prediction.unsqueeze(2) == labels) & valid
    intersection = (true & predicted).sum((-2, -1))
    truth = true.sum((-2, -1))
    return Counts(intersection, predicted.sum((-2, -1)) + truth - intersection, truth)


class IoU:
    """What the metrics compute. No tuple: torchmetrics makes numbers of a tuple's tensors where they have one element.

    Args:
        per_class: ``R C``, IoU of each run and class or label; NaN for one that was never counted.
        per_run: ``R``, mean over the columns that were counted.
    """

    def __init__(self, per_class: Tensor, per_run: Tensor) -> None:
        self.per_class, self.per_run = per_class, per_run

    @property
    def mean(self) -> Tensor:
        """Mean over runs."""
        return self.per_run.mean()

    @property
    def std(self) -> Tensor:
        """Standard deviation over runs, of the population (PANet metric.py uses numpy's std)."""
        return self.per_run.std(correction=0)


class _RunIoU(Metric):
    """Sums of intersections and unions, a row per run and a column per class."""

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
        """Add the counts where ``use``; out of place, since processes may share a state's memory."""
        if self.absent == "drop":
            use = use & (counts.truth > 0)
        row = run.view(-1, 1, 1).expand_as(column)
        for name in ("intersection", "union"):
            state, value = getattr(self, name), getattr(counts, name) * use
            setattr(self, name, state + torch.zeros_like(state).index_put((row, column), value, accumulate=True))

    def running(self) -> Tensor:
        """Mean so far on this process alone, for a progress bar; NaN before the first episode."""
        per_run = self._divide(slice(1, None)).per_run
        return per_run.nanmean().float()

    def _divide(self, columns: Tensor | slice) -> IoU:
        per_class = iou(self.intersection[:, columns].double(), self.union[:, columns].double())
        return IoU(per_class, per_class.nanmean(dim=1))


class ClassIoU(_RunIoU):
    """Mean-IoU: IoU of each class over a run, averaged over the classes that the run drew.

    Args:
        classes: class ids to report.
        runs: number of runs.
        absent: what happens to a class that an image's mask lacks. ``count``: its false positives count (PMMs' code).
            ``drop``: nothing of that image counts for the class (PANet's code).
        kwargs: of torchmetrics.Metric.
    """

    def __init__(self, classes: tuple[int, ...], runs: int = 1, absent: Absent = "count", **kwargs: Any) -> None:
        super().__init__(runs, max(classes) + 1, absent, **kwargs)
        self.classes = list(classes)

    def update(self, counts: Counts, classes: Int[Tensor, "B N"], run: Int[Tensor, " B"]) -> None:
        """Add episodes.

        Args:
            counts: of their queries.
            classes: class id of each way.
            run: run of each episode; a negative one marks padding, which is left out.
        """
        column = torch.cat([torch.zeros_like(classes[:, :1]), classes], dim=1).unsqueeze(1)
        column = column.expand_as(counts.union)
        self._add(counts, column, run.clamp(min=0), (run >= 0).view(-1, 1, 1))

    def compute(self) -> IoU:
        """IoU per run and class, in the order of ``classes``."""
        return self._divide(torch.tensor(self.classes, device=self.union.device))


class BinaryIoU(_RunIoU):
    """Binary-IoU: mean of background IoU and foreground IoU, the counts of all classes added to one foreground.

    As in PANet's code a pixel of one way predicted as another is an error of both; with more than one way this is not
    the IoU of a true foreground-background segmentation.

    Args:
        runs: number of runs.
        absent: see `ClassIoU`.
        kwargs: of torchmetrics.Metric.
    """

    def __init__(self, runs: int = 1, absent: Absent = "count", **kwargs: Any) -> None:
        super().__init__(runs, 2, absent, **kwargs)

    def update(self, counts: Counts, run: Int[Tensor, " B"]) -> None:
        """Add episodes; see `ClassIoU.update`."""
        label = torch.arange(counts.union.shape[-1], device=run.device).clamp(max=1)
        self._add(counts, label.expand_as(counts.union), run.clamp(min=0), (run >= 0).view(-1, 1, 1))

    def compute(self) -> IoU:
        """IoU per run of background and foreground."""
        return self._divide(slice(None))
