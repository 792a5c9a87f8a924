"""Layouts of the tables of the PANet and PMMs papers: their lines, columns and published numbers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from fsseg.results.absence import ABSENCE
from fsseg.results.published import Setting, method_label

FOLDS = (0, 1, 2, 3)
_PASCAL, _COCO, _PANET_COCO = "PASCAL-5i", "COCO-20i", "COCO-20i (2014, contiguous)"
# Departures that have lines of their own: PMMs' tables 2 (K), 3 (kernel) and 5 (CANet's attention).
AXES = ("components", "kernel", "fusion")


@dataclass(frozen=True)
class Line:
    """A line of a paper's table.

    Attributes:
        method: published name of the method.
        encoder: encoder of the published number.
        label: name of the line; the method by default.
        dataset: data set of the published number, if it differs from the table's.
        annotation: annotation of the supports.
        ours: fsseg has the method; the table then also shows that our number is missing.
        departures: departures from the paper's setting that the line studies; see `Setting`.
        fold: fold of a line that stands for a class.
        class_id: class id of a line that stands for a class.
    """

    method: str
    encoder: str = "VGG16"
    label: str = ""
    dataset: str = ""
    annotation: str = "mask"
    ours: bool = False
    departures: Mapping[str, str] = field(default_factory=dict, hash=False)
    fold: int | None = None
    class_id: int | None = None

    @property
    def name(self) -> str:
        """Name of the line."""
        return self.label or method_label(self.method, self.departures)


@dataclass(frozen=True)
class Column:
    """A column of a table: one number of each line.

    Attributes:
        shot: supports of a class.
        fold: fold of the numbers; None for a mean over folds.
        metric: ``mean-IoU``, ``binary-IoU``, or one of `fsseg.results.absence.ABSENCE`.
        way: classes of an episode.
        name: head of the column; fold or ``mean`` by default.
        of: results of the column, if the lines are classes.
        annotation: annotation of the supports, if the lines are classes.
        folds: folds of a mean; all folds of the data set by default.
    """

    shot: int
    fold: int | None = None
    metric: str = "mean-IoU"
    way: int = 1
    name: str = ""
    of: Any = None
    annotation: str = ""
    folds: tuple[int, ...] = ()

    @property
    def head(self) -> str:
        """Name of the column, below the head of its group."""
        if self.name:
            return self.name
        if self.fold is not None:
            return f"fold {self.fold}"
        return f"mean of {', '.join(map(str, self.folds))}" if self.folds else "mean"


@dataclass(frozen=True)
class Layout:
    """Lines and columns of a table.

    Attributes:
        name: value of ``--like`` that selects the table.
        title: title of the table.
        source: source of its numbers in `published.csv`; empty for a table without published numbers.
        dataset: data set of the published numbers.
        lines: from top to bottom.
        columns: from left to right.
        later: lines of methods that were published later, or on the data sets of a table of our own.
        means_only: the paper has means over folds only; our single folds are shown.
    """

    name: str
    title: str
    source: str
    dataset: str
    lines: tuple[Line, ...]
    columns: tuple[Column, ...]
    later: tuple[Line, ...] = field(default=())
    means_only: bool = False

    @property
    def datasets(self) -> set[str]:
        """Data sets of the published numbers; a line may have its own."""
        return {self.dataset, *(line.dataset for line in self.lines)}

    def setting(self, line: Line, column: Column) -> Setting:
        """Setting of a cell's published number."""
        dataset = line.dataset or self.dataset
        return Setting(line.method, line.encoder, dataset, column.way, column.shot, line.annotation, line.departures)


def _folds(*shots: int) -> tuple[Column, ...]:
    return tuple(Column(shot, fold) for shot in shots for fold in (*FOLDS, None))


def _means(**more: Any) -> tuple[Column, ...]:
    return tuple(Column(shot, **more) for shot in (1, 5))


def _own(*methods: str, encoder: str = "VGG16", **more: Any) -> tuple[Line, ...]:
    return tuple(Line(method, encoder, ours=True, **more) for method in methods)


def _later(*pairs: tuple[str, str]) -> tuple[Line, ...]:
    return tuple(Line(method, encoder) for method, encoder in pairs)


_R50, _R101 = "ResNet50", "ResNet101"
_LATER_PASCAL = _later(
    ("PANet", _R50), ("FWB", _R101), ("PFENet", _R50), ("PFENet", _R101), ("ASGNet", _R50), ("RePRI", _R50),
    ("MLC baseline", _R50), ("SSP", _R50), ("HSNet", "VGG16"), ("HSNet", _R50), ("HSNet", _R101), ("VAT", _R101),
    ("BAM", _R50), ("SCCAN", _R50), ("DCAMA", "Swin-B"), ("FPTrans", "DeiT"), ("HDMNet", _R50), ("HMNet", _R50),
    ("Matcher", "SAM, DINOv2"), ("VRP-SAM", "SAM, ResNet50"), ("FS-SAM2", "SAM2"), ("GF-SAM", "SAM, DINOv2"),
    ("FSSAM", "SAM2, DINOv2"), ("FSS-SAM3", "SAM3"),
)  # fmt: skip
_LATER_COCO = _later(
    ("RPMMs retrained by others", _R50), ("PFENet", _R50), ("PFENet", _R101), ("RePRI", _R50), ("HSNet", _R50),
    ("HSNet", _R101), ("BAM", _R50), ("SSP", _R50), ("DCAMA", _R50), ("DCAMA", "Swin-B"), ("SCCAN", _R50),
    ("HDMNet", _R50), ("HMNet", _R50), ("SegGPT", "ViT-L"), ("Matcher", "SAM, DINOv2"), ("VRP-SAM", "SAM, ResNet50"),
    ("FS-SAM2", "SAM2"), ("INSID3", "DINOv3-L"), ("GF-SAM", "SAM, DINOv2"), ("SANSA", "SAM2"),
    ("FSSAM", "SAM2, DINOv2"), ("FSS-SAM3", "SAM3"),
)  # fmt: skip
LATER = {_PASCAL: _LATER_PASCAL, _COCO: _LATER_COCO}  # by data set
_BEFORE = _own("OSLSM", "co-FCN")
_PL, _AMCG = _own("PL", encoder="?"), _own("A-MCG", encoder="?")  # PANet's tables do not name their encoders
_VGG = (*_BEFORE, *_own("SG-One", "PANet", "FWB", "RPMMs"))
_HEADS = _own("CANet", "PMMs", "RPMMs", encoder=_R50)
_HEADS_5 = (
    Line("CANet", _R50, ours=True, departures={"fusion": "attention"}),
    *_own("PMMs", "RPMMs", encoder=_R50),
)
_COCO_LINES = (
    *_own("PANet", dataset=_PANET_COCO),
    *_own("FWB", encoder=_R101),
    *_own("CANet baseline", "PMMs", "RPMMs", encoder=_R50),
)
_ABLATIONS = _own("CANet baseline", "PMMs+", "PMMs", "RPMMs", encoder=_R50)
_COMPONENTS = tuple(
    Line("PMMs+", _R50, f"PMMs+, K = {k}", ours=True, departures={} if k == 3 else {"components": f"K={k}"})
    for k in (1, 2, 3, 4, 5)
)  # fmt: skip
_KERNELS = (
    Line("PMMs+", _R50, "PMMs+, Gaussian kernel", ours=True, departures={"kernel": "Gaussian"}),
    Line("PMMs+", _R50, "PMMs+, vMF kernel", ours=True),
)
_WEAK = tuple(
    Line("PANet", label=f"PANet, {label}", annotation=annotation, ours=True)
    for annotation, label in (("mask", "dense masks"), ("scribble", "scribbles"), ("box", "bounding boxes"))
)
_TWO = (*_means(way=2), *_means(way=2, metric="binary-IoU"))
_BOTH = (*_means(), *_means(metric="binary-IoU"))

LAYOUTS = {
    layout.name: layout
    for layout in (
        Layout("panet-table1", "1-way mean-IoU", "PANet table 1", _PASCAL,
               (*_BEFORE, *_own("SG-One", "PANet-init", "PANet")), _folds(1, 5), _LATER_PASCAL),
        Layout("panet-table2", "1-way binary-IoU", "PANet table 2", _PASCAL,
               (*_own("FG-BG", "Fine-tuning"), *_BEFORE, *_PL, *_AMCG, *_own("SG-One", "PANet-init", "PANet")),
               _means(metric="binary-IoU"), _LATER_PASCAL),
        Layout("panet-table3", "2-way", "PANet table 3", _PASCAL, (*_PL, *_own("SG-One", "PANet")), _TWO),
        Layout("panet-table4", "1-way", "PANet table 4", _PANET_COCO, (*_AMCG, *_own("PANet")), _BOTH),
        Layout("panet-table5", "prototype alignment", "PANet table 5", _PASCAL, _own("PANet w/o PAR", "PANet"),
               _means()),
        Layout("panet-table6", "weak annotations", "PANet table 6", _PASCAL, _WEAK, _means()),
        Layout("pmms-table1", "ablation, 1-shot", "PMMs table 1", _PASCAL, _ABLATIONS, _folds(1),
               means_only=True),
        Layout("pmms-table2", "number of prototypes, 1-shot", "PMMs table 2", _PASCAL, _COMPONENTS, _folds(1)),
        Layout("pmms-table3", "kernel, 1-shot", "PMMs table 3", _PASCAL, _KERNELS, _folds(1)),
        Layout("pmms-table4", "1-way 1-shot mean-IoU", "PMMs table 4", _PASCAL, (*_VGG, *_HEADS), _folds(1),
               _LATER_PASCAL),
        Layout("pmms-table5", "1-way 5-shot mean-IoU", "PMMs table 5", _PASCAL, (*_VGG, *_HEADS_5), _folds(5),
               _LATER_PASCAL),
        Layout("pmms-table6", "1-way mean-IoU", "PMMs table 6", _COCO, _COCO_LINES, _folds(1, 5), _LATER_COCO),
    )
}  # fmt: skip


def own_layout(settings: Sequence[Setting], folds: Sequence[int], of: int) -> Layout:
    """Layout of all tests: a line per method, encoder, data set and annotation, at the largest number of ways.

    Args:
        settings: settings of all results.
        folds: folds that were tested, ascending.
        of: largest number of folds of their data sets. If some folds were not tested, means are over the others.
    """
    way = max(setting.way for setting in settings)
    lines = dict.fromkeys(own_line(setting) for setting in settings if setting.way == way)
    later = [
        replace(line, dataset=name)
        for name in LATER
        if any(s.dataset == name for s in settings)
        for line in LATER[name]
    ]
    shots = sorted({setting.shot for setting in settings if setting.way == way})
    some = () if len(folds) == of else tuple(folds)
    of_fold = [Column(shot, fold, way=way) for shot in shots for fold in folds]
    means = [Column(shot, None, metric, way, folds=some) for metric in ("mean-IoU", "binary-IoU") for shot in shots]
    if len(folds) == 1:  # without means
        means = [Column(shot, folds[0], "binary-IoU", way) for shot in shots]
    columns = sorted([*of_fold, *means], key=lambda column: (column.metric == "binary-IoU", column.shot))
    return Layout("", f"{way}-way", "", "", tuple(lines), tuple(columns), tuple(later))


def absent_layout(settings: Sequence[Setting], folds: Sequence[int], of: int) -> Layout:
    """Layout of tests whose queries may show no class: the lines of `own_layout`, a mean of folds per metric."""
    own = own_layout(settings, folds, of)
    fold = folds[0] if len(folds) == 1 else None
    columns = [
        Column(shot, fold, metric, own.columns[0].way, metric, folds=tuple(folds))
        for shot in sorted({column.shot for column in own.columns})
        for metric in ("mean-IoU", *ABSENCE)
    ]
    return replace(own, title=f"{own.title}, queries with and without classes", columns=tuple(columns), later=())


def own_line(setting: Setting) -> Line:
    """The line of a setting that no line of a paper's table has."""
    weak = "" if setting.annotation == "mask" else f", {setting.annotation} supports"
    label = f"{setting.label}{weak}"
    return Line(setting.method, setting.encoder, label, setting.dataset, setting.annotation, True, setting.departures)
