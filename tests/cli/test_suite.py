"""`fsseg test --suite`: one checkpoint over several data sets."""

import json
import math
from collections.abc import Callable
from pathlib import Path

import pytest

from fsseg.cli import main
from fsseg.experiment.files import experiment_folder
from fsseg.experiment.suite import MEMBERS, chosen
from tests.suites import PARTS, write_chest, write_deepglobe, write_fss1000, write_isic, write_suim

QUICK = ("--protocol.episodes", "6", "--data.images.size", "32")


@pytest.fixture(scope="module")
def sets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of all sets, as the codes of PATNet and INSID3 have it; without Chest X-ray."""
    root = tmp_path_factory.mktemp("sets")
    for name, write in (("Deepglobe", write_deepglobe), ("ISIC", write_isic), ("FSS-1000", write_fss1000)):
        write(root / name)
    write_suim(root / "SUIM")
    return root


@pytest.mark.slow
def test_one_checkpoint_over_all_sets_and_one_that_is_missing(fsseg, trained, sets, tmp_path):
    given = ("test", "--ckpt_path", str(trained), "--data.root", str(sets), *QUICK)
    ran = fsseg(*given, "--suite", "cdfss", "--out", "all")
    assert ran.code == 0, ran.err
    content = json.loads((tmp_path / "all/suite.json").read_text())
    assert list(content["datasets"]) == list(MEMBERS)
    assert content["datasets"]["chest_xray"]["refused"].endswith("CXR_png and masks.")
    assert "  chest_xray" in ran.out
    assert "not possible: --data.root" in ran.out
    of = ["deepglobe", "isic2018", "fss1000", "suim"]
    assert content["mean"]["of"] == of
    tables = [json.loads((tmp_path / "all" / name / "table.json").read_text()) for name in of]
    assert [content["datasets"][name] for name in of] == tables
    for metric in ("mean_iou", "binary_iou"):
        mean = sum(table[metric]["mean"] for table in tables) / 4
        assert math.isclose(content["mean"][metric], mean)
        assert f"{mean:.1f}" in next(line for line in ran.out.splitlines() if "mean of 4 of 5" in line)
    assert "| mean of 4 of 5 |" in (tmp_path / "all/suite.md").read_text()
    named = {name: table["protocol"]["name"] for name, table in zip(of, tables, strict=True)}
    assert named == {"deepglobe": "cdfss", "isic2018": "cdfss", "fss1000": "fss1000", "suim": "cdfss"}
    own = ("--data.dataset", "SUIM", "--data.fold=0", "--protocol.name", "cdfss")
    alone = fsseg(*given, *own, "--out", "alone")
    assert alone.code == 0, alone.err
    assert (tmp_path / "alone/rows.csv").read_bytes() == (tmp_path / "all/suim/rows.csv").read_bytes()


@pytest.mark.slow
def test_folders_of_single_sets_and_another_protocol(fsseg, trained, sets, tmp_path):
    write_chest(tmp_path / "lungs")
    given = f"suim,chest_xray={tmp_path / 'lungs'}"
    ran = fsseg("test", "--ckpt_path", str(trained), "--suite", given, "--data.root", str(sets), "--protocol.name",
                "fsseg", "--protocol.runs=1", *QUICK)  # fmt: skip
    assert ran.code == 0, ran.err
    assert "mean of 2 " in ran.out
    assert ran.out.count("fsseg#") == 2
    assert (trained.parent / "suite/suim/table.md").is_file()


@pytest.fixture
def trained_on_a_tested_class(tmp_path, monkeypatch) -> Path:
    """A training on FSS-1000 whose classes of training are the tested ones of another folder."""
    write_fss1000(tmp_path / "first")
    lists = tmp_path / "first/splits"
    for part, other in (("trn", "test"), ("test", "trn")):
        (lists / f"{part}.txt").write_text("\n".join(PARTS[other]))
    monkeypatch.chdir(tmp_path)
    config = ("--config", str(experiment_folder() / "quickstart.yaml"), "--data.dataset", "FSS1000")
    tiny = ("--data.images.size=32", "--data.loading.workers=0", "--data.episodes.val=0", "--data.episodes.train=4",
            "--data.batch_size=2", "--trainer.max_steps=1", "--trainer.accelerator=cpu",
            "--model.method.encoder.widths=[8,8]", "--model.method.encoder.strides=[2,2]")  # fmt: skip
    monkeypatch.delenv("FSSEG_RUN_FOLDER", raising=False)
    assert main(["fit", *config, "--data.root", "first", *tiny, "--out", "run"]) == 0
    return tmp_path / "run/last.ckpt"


def test_seen_classes_are_named(fsseg: Callable, trained_on_a_tested_class: Path, sets: Path) -> None:
    given = ("--ckpt_path", str(trained_on_a_tested_class), "--data.root", str(sets), *QUICK)
    ran = fsseg("test", *given, "--suite", "fss1000", "--out", "noted")
    assert ran.code == 0, ran.err
    note = "note: 3 of 3 classes have the name of a class of the training on FSS-1000 subset: abe's_fish, fig, gnu"
    assert note in ran.out
    refused = fsseg("test", *given, "--suite", "fss1000", "--protocol.seen_classes", "refuse", "--out", "refused")
    assert refused.code == 2
    assert "no data set can be tested here. fss1000: " in refused.line
    assert "would test classes it has seen (abe's_fish, fig, gnu)" in refused.line


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["fit", "--suite", "cdfss"], "--suite is for `test`"),
        (["test", "--suite"], "--suite needs a value"),
        (["test", "--suite", ","], "--suite: some of cdfss, deepglobe, isic2018, chest_xray, fss1000, suim, separated"),
        (["test", "--suite", "cdfs"], "--suite cdfs: some of cdfss, deepglobe"),
        (["test", "--suite", "cdfss=data"], "--suite cdfss=data: the folder of one data set is needed"),
        (["test", "--suite", "suim="], "--suite suim=: the folder of one data set is needed, such as suim=DIR"),
        (["test", "--suite", "suim", "--data.dataset", "SUIM"], "leave --data.dataset out"),
        (["test", "--suite", "suim", "--data.fold=1"], "leave --data.fold out"),
        (["test", "--suite", "suim", "--protocols", "all"], "leave --suite out"),
        (["test", "--suite", "suim", "--resume"], "leave --resume out"),
        (
            ["test", "--suite", "suim", "--data.root", "nowhere"],
            "no data set can be tested here. suim: --data.root nowhere: no such",
        ),
    ],
)
def test_one_line_and_exit_code_2(fsseg, trained, arguments, expected):
    checkpoint = () if arguments[0] == "fit" else ("--ckpt_path", str(trained))
    ran = fsseg(arguments[0], *checkpoint, *arguments[1:])
    assert (ran.code, expected in ran.line) == (2, True), ran.line
    assert "Traceback" not in ran.err


def test_a_set_with_a_folder_of_its_own_replaces_that_of_the_suite():
    assert chosen("cdfss,suim=x") == {**dict.fromkeys(MEMBERS, ""), "suim": "x"}
    assert chosen("suim=x,cdfss")["suim"] == "x"
