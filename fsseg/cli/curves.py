"""`fsseg curves`: draws training curves of several runs in one chart."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from fsseg.cli.options import Options
from fsseg.errors import FssegError
from fsseg.experiment.files import did_you_mean
from fsseg.runs import folders
from fsseg.runs.training_logs import Logged, distinct, read_logs

if TYPE_CHECKING:
    from fsseg.plots.charts import Curve

_PREFERRED, _FALLBACK, _VAL = "train/segmentation", "train/loss", "val/mean_iou"


def options() -> Options:
    """The command's options."""
    made = Options("curves")
    made.option("runs", Path, "folders of `fsseg fit`, with Lightning's CSV logs", nargs="+")
    made.option("--out", Path, "image to write (%(default)s)", default=Path("curves.png"), metavar="FILE")
    drawn = f"metrics to draw ({_PREFERRED}, or else {_FALLBACK}; {_VAL})"
    made.option("--metric", str, drawn, nargs="+", metavar="NAME")
    return made


def run(arguments: Sequence[str]) -> int:
    """Run ``curves``; return the exit code.

    Raises:
        FssegError: An option is wrong, a folder has no logs, or no run has the metric.
    """
    given = options().read(arguments)
    names = distinct(given.runs)
    charts = charts_of(given.runs, given.metric)
    from fsseg.plots.charts import draw_curves  # imports matplotlib

    with folders.named("--out", given.out):
        draw_curves(charts, given.out)
    print(f"  curves    {given.out}    {', '.join(charts)} of {', '.join(names)}")
    return 0


def charts_of(runs: Sequence[Path], asked: Sequence[str] | None = None) -> dict[str, list[Curve]]:
    """Curves of several runs by metric, with the baseline ``METRIC_untrained`` where a run has logged one.

    Raises:
        FssegError: See `read_logs` and `choose`.
    """
    logged = [read_logs(folder) for folder in runs]
    from fsseg.plots.charts import Curve  # imports matplotlib

    pairs = list(zip(distinct(runs), logged, strict=True))
    return {
        metric: [
            Curve(name, sorted(log[metric].items()), sorted(log.get(f"{metric}_untrained", {}).items()))
            for name, log in pairs
            if metric in log
        ]
        for metric in choose(logged, asked)
    }


def choose(logged: Sequence[Logged], asked: Sequence[str] | None) -> list[str]:
    """Metrics to draw: the requested ones, or else the segmentation loss if all runs have it, and the validation IoU.

    The total loss includes the regularisation, so it does not compare runs with and without it (PANet figure 5).

    Raises:
        FssegError: No run has a requested metric.
    """
    known = sorted({name for log in logged for name in log})
    for name in asked or ():
        if name not in known:
            hint = did_you_mean(name, known)
            raise FssegError(f"--metric {name}: no run has logged it.{hint} Logged: {', '.join(known) or 'nothing'}.")
    if asked:
        return list(dict.fromkeys(asked))
    loss = _PREFERRED if all(_PREFERRED in log for log in logged) else _FALLBACK
    found = [name for name in (loss, _VAL) if name in known]
    if not found:
        raise FssegError(f"no run has logged {loss} or {_VAL}. Logged: {', '.join(known) or 'nothing'}.")
    return found
