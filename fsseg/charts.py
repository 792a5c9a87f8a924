"""Numbers as charts, by matplotlib, imported only when one is drawn; `fsseg.pictures` draws images and masks."""

from pathlib import Path

from matplotlib.figure import Figure

from fsseg.data.census import Census
from fsseg.protocol import pair_rule

_TRAIN, _VAL = "#0072b2", "#e69f00"  # Okabe and Ito's blue and orange
_PER_CLASS, _HEAD = 0.22, 1.1  # inches


def draw_census(census: Census, path: Path) -> None:
    """Images per class of each fold, as bars, with what dropping novel classes leaves of the training.

    Args:
        census: the numbers.
        path: picture to write; its ending says the format.

    Raises:
        OSError: it cannot be written.
        ValueError: no such format.
    """
    most = max(len(fold.classes) for fold in census.folds)
    columns = min(4, len(census.folds))
    rows = -(-len(census.folds) // columns)
    figure = Figure(figsize=(3.6 * columns, rows * (_HEAD + _PER_CLASS * most) + 0.5), layout="constrained", dpi=120)
    axes = figure.subplots(rows, columns, squeeze=False, sharex=True).ravel()
    for axis in axes[len(census.folds) :]:
        axis.set_axis_off()
    for number, (axis, fold) in enumerate(zip(axes, census.folds, strict=False)):
        places = range(len(fold.classes))
        for offset, colour, what, counts in (
            (-0.2, _TRAIN, "train", [c.train for c in fold.classes]),
            (0.2, _VAL, "val", [c.val for c in fold.classes]),
        ):
            bars = axis.barh([p + offset for p in places], counts, height=0.38, color=colour, label=what)
            axis.bar_label(bars, labels=[f"{count:,}" for count in counts], padding=2, fontsize=6)
        axis.set_yticks(list(places), [c.name for c in fold.classes], fontsize=8)
        axis.invert_yaxis()
        axis.margins(x=0.18, y=0.02)
        axis.spines[["top", "right"]].set_visible(False)
        axis.tick_params(axis="x", labelsize=7)
        title = f"fold {number}: {fold.train:,} train, {fold.val:,} val pairs"
        axis.set_title(
            f"{title}\n{census.kept_percent(fold):.0f} % of train images show no novel class", fontsize=8, loc="left"
        )
    figure.legend(*axes[0].get_legend_handles_labels(), fontsize=8, loc="outside lower center", ncols=2, frameon=False)
    rule = pair_rule(census.pairs, census.min_pixels) or "any size"
    figure.suptitle(f"{census.name}: images per class ({rule}); folds: {census.fold_words}", fontsize=10)
    figure.savefig(path)
