"""`fsseg curves`: logs of runs in one chart."""

from pathlib import Path

import PIL.Image
import pytest

from fsseg.cli.curves import charts_of, choose
from fsseg.errors import FssegError
from fsseg.runs.training_logs import distinct, read_logs

HEAD = "epoch,step,train/loss,train/segmentation,val/mean_iou\n"


def log(run: Path, version: int, lines: str, head: str = HEAD) -> None:
    folder = run / f"logs/version_{version}"
    folder.mkdir(parents=True)
    (folder / "metrics.csv").write_text(head + lines)


def test_what_was_trained_anew_replaces_what_was_logged_before(tmp_path):
    log(tmp_path, 0, "0,49,0.9,0.8,\n0,99,0.7,0.6,\n0,99,,,0.3\n0,149,0.6,0.5,\n0,199,0.5,0.4,\n")
    log(tmp_path, 1, "0,149,0.61,0.51,\n")  # resumed at 100, stopped at once
    log(tmp_path, 10, "0,149,0.62,0.52,\n0,210,0.4,0.3,\n")
    found = read_logs(tmp_path)
    assert found["train/loss"] == {49: 0.9, 99: 0.7, 149: 0.62, 210: 0.4}
    assert found["val/mean_iou"] == {99: 0.3}


def test_a_line_cut_off_is_left_out(tmp_path):
    log(tmp_path, 0, "0,49,0.9,0.8,\n0,99,0.7")
    assert read_logs(tmp_path)["train/loss"] == {49: 0.9}


def test_the_segmentation_loss_is_drawn_where_all_runs_have_it():
    panet = {"train/loss": {1: 2.0}, "train/segmentation": {1: 1.0}, "val/mean_iou": {9: 0.5}}
    pmms = {"train/loss": {1: 2.0}}
    assert choose([panet, panet], None) == ["train/segmentation", "val/mean_iou"]
    assert choose([panet, pmms], None) == ["train/loss", "val/mean_iou"]
    assert choose([pmms], None) == ["train/loss"]
    assert choose([panet, pmms], ["val/mean_iou"]) == ["val/mean_iou"]
    with pytest.raises(FssegError, match=r"no run has logged it. Did you mean train/loss\?"):
        choose([panet], ["train/los"])


def test_the_untrained_prototypes_are_the_baseline_of_a_curve(tmp_path):
    head = "epoch,step,val/mean_iou,val/mean_iou_untrained\n"
    log(tmp_path / "a", 0, "0,49,0.3,0.25\n0,99,0.4,0.25\n", head)
    log(tmp_path / "b", 0, "0,49,0.9,0.8,0.3\n")
    charts = charts_of([tmp_path / "a", tmp_path / "b"])
    assert [(c.name, c.points, c.baseline) for c in charts["val/mean_iou"]] == [
        ("a", [(49, 0.3), (99, 0.4)], [(49, 0.25), (99, 0.25)]), ("b", [(49, 0.3)], []),
    ]  # fmt: skip
    assert [curve.baseline for curve in charts["train/loss"]] == [[]]


@pytest.mark.parametrize(
    ("folders", "names"),
    [
        (["runs/with_par", "runs/without_par"], ["with_par", "without_par"]),
        (["runs/panet/fold0", "runs/pmms/fold0"], ["panet", "pmms"]),
        (["runs/panet/fold0", "runs/panet/fold1"], ["fold0", "fold1"]),
        (["runs/panet/fold0", "runs/pmms/fold1", "runs/pmms/fold0"], ["panet/fold0", "pmms/fold1", "pmms/fold0"]),
        (["runs/panet/fold0"], ["panet/fold0"]),
        (["runs/mine"], ["mine"]),
    ],
)
def test_names_are_what_differs(folders, names):
    assert distinct([Path(folder) for folder in folders]) == names


@pytest.mark.slow
def test_curves_of_two_runs(fsseg, trained, tmp_path):
    for name in ("a", "b"):
        log(tmp_path / name, 0, "".join(f"0,{i},{1 / (i + 1)},{0.5 / (i + 1)},\n" for i in range(20)) + "0,19,,,0.4\n")
    ran = fsseg("curves", "a", "b", "--out", "new.png")
    assert ran.code == 0, ran.err
    assert "train/segmentation, val/mean_iou of a, b" in ran.out
    assert fsseg("curves", "a", "--metric", "train/loss").code == 0
    with PIL.Image.open("new.png") as two, PIL.Image.open("curves.png") as one:
        assert two.width == 2 * one.width


def test_mistakes_are_one_line_and_leave_nothing(fsseg, tmp_path):
    log(tmp_path / "a", 0, "0,49,0.9,0.8,\n")
    (tmp_path / "b").mkdir()
    for arguments, said in (
        (("b",), "b has no logs/version_0/metrics.csv"),
        (("a", "a"), "a is given twice. Give each run once."),
        (("a", "--metrik", "x"), "no option --metrik. Did you mean --metric?"),
        (("a", "--out", "curves.xyz"), "--out curves.xyz cannot be written"),
        (("a", "--out", "nowhere/curves.png"), "--out nowhere/curves.png cannot be written"),
    ):
        ran = fsseg("curves", *arguments)
        assert ran.code == 2
        assert said in ran.line
    assert {path.name for path in tmp_path.iterdir()} == {"a", "b"}
