import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.cli.conftest import QUICKSTART
from tests.results.folders import make_test

BENCHMARK = ("benchmark", *QUICKSTART)


@pytest.mark.slow
@pytest.mark.usefixtures("jobs_here")
def test_a_benchmark_goes_on_after_a_failure_and_does_nothing_twice(fsseg, tmp_path, monkeypatch):
    """With 500 shots no class has images enough, as if images were lost after the plan: one job fails, others go on."""
    options = (*BENCHMARK, "--folds", "0", "--out", "all", "--threads", "1", "--train_shot", "1",
               "--checkpoint.every_n_train_steps=2", "--checkpoint.save_top_k=0")  # fmt: skip
    with monkeypatch.context() as patch:
        patch.setattr("fsseg.cli.benchmark.refuse_untestable", lambda *_: None)
        ran = fsseg(*options, "--shots", "1", "500")
    assert ran.code == 1, ran.err
    assert "1 fold x 2 shots x 1 seed: 1 training, 2 tests" in ran.out
    assert "1 of 3 jobs failed, 0 were not started" in ran.out
    assert "fold0-seed0/test-500shot: fsseg: 1-way 500-shot" in ran.out
    assert "--data.test_shot" in (tmp_path / "all/logs/fold0-seed0-test-500shot.log").read_text()
    test = tmp_path / "all/fold0-seed0/test-1shot"
    content = json.loads((test / "table.json").read_text())
    assert (content["seed"], content["trained_shot"], content["fold"], content["shot"]) == (0, 1, 0, 1)
    assert yaml.safe_load((tmp_path / "all/fold0-seed0/config.yaml").read_text())["data"]["shot"] == 1
    done = json.loads((tmp_path / "all/fold0-seed0/run.json").read_text())
    assert (done["steps"], done["device"].split()[0], done["threads"]) == (4, "cpu", 1)
    assert "PANet" in (tmp_path / "all/table.md").read_text()

    before = (test / "rows.csv").stat().st_mtime_ns
    ran = fsseg(*options, "--shots", "1")
    assert ran.code == 0, ran.err
    assert "2 of 2 done" in ran.out
    assert (test / "rows.csv").stat().st_mtime_ns == before
    ran = fsseg(*options, "--shots", "1", "--model.method.scale", "10")
    assert ran.code == 2
    assert "holds a benchmark with --model.method.scale 20.0; 10.0 is asked for" in ran.line

    rows, last = (test / "rows.csv").read_bytes(), tmp_path / "all/fold0-seed0/last.ckpt"
    (test / "rows.csv").unlink()  # is made again, even where the checkpoint has been truncated
    last.write_bytes(last.read_bytes()[:-100])
    ran = fsseg(*options, "--shots", "1")
    assert ran.code == 0, ran.err
    assert "last.ckpt cannot be read (truncated?); its training resumes from the checkpoint before it" in ran.err
    assert (test / "rows.csv").read_bytes() == rows
    (tmp_path / "all/benchmark.yaml").write_text("threads")
    ran = fsseg(*options, "--shots", "1")
    assert ran.code == 2
    assert "benchmark.yaml is broken: delete it" in ran.line


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="jobs of a killed benchmark end with it by Linux's means")
def test_a_benchmark_that_is_killed_ends_with_the_same_rows(tmp_path):
    script = Path(__file__).parents[2] / "benchmarks/killed.py"
    options = ["--folds", "0", "--shots", "1", "--kills", "1", "--steps", "100", "--episodes", "10"]
    ran = subprocess.run(
        [sys.executable, str(script), str(tmp_path), *options], capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "1 files of rows; the same to the last digit: True" in ran.stdout


@pytest.mark.slow
def test_a_dry_run_says_what_would_run_and_writes_nothing(fsseg, tmp_path):
    ran = fsseg(*BENCHMARK, "--shots", "1", "5", "--seeds", "0", "1", "--dry_run")
    assert ran.code == 0, ran.err
    assert "4 folds x 2 shots x 2 seeds: 16 trainings, 16 tests into runs/quickstart; 0 of 32 done" in ran.out
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_an_experiment_that_tests_with_more_shots_trains_as_it_says(fsseg, monkeypatch, tmp_path):
    monkeypatch.setenv("FSSEG_DATA_ROOT", str(tmp_path))
    ran = fsseg("benchmark", "--config", "experiments/sgone_voc_5shot.yaml", "--dry_run")
    assert "4 folds x 1 shot x 1 seed: 4 trainings, 4 tests" in ran.out
    assert "1     0     to do     5shot to do" in ran.out
    ran = fsseg("benchmark", "--config", "experiments/sgone_voc_5shot.yaml", "--dry_run", "--train_shot", "same")
    assert "5     0     to do     5shot to do" in ran.out


def test_a_script_for_slurm(fsseg, tmp_path):
    ran = fsseg(*BENCHMARK, "--folds", "0", "1", "--engine", "slurm", "--out", "all")
    assert ran.code == 0, ran.err
    assert ran.out.startswith("#!/bin/bash\n")
    assert "#SBATCH --array=0-1" in ran.out
    assert subprocess.run(["bash", "-n"], input=ran.out, text=True, check=False).returncode == 0


@pytest.mark.slow
def test_a_folder_is_of_what_decides_its_numbers_and_machines_may_change(fsseg):
    options = (*BENCHMARK, "--folds", "0", "--out", "all")
    assert fsseg(*options, "--engine", "slurm").code == 0
    machine = ("--data.loading.test_batch_size=3", "--data.loading.cache_features=false", "--data.episodes.val=9",
               "--trainer.devices=2",
               "--trainer.enable_progress_bar=false", "--trainer.precision=32")  # fmt: skip
    ran = fsseg(*options, *machine, "--dry_run")
    assert ran.code == 0, ran.err
    ran = fsseg(*options, "--trainer.max_steps=9", "--dry_run")
    assert ran.code == 2
    assert ran.line == (
        "fsseg: --out all holds a benchmark with --trainer.max_steps 4; 9 is asked for. Choose another --out."
    )


@pytest.mark.slow
def test_a_finished_training_of_another_experiment_is_not_taken_for_one_of_this(fsseg, trained, tmp_path):
    """Nothing says what the folder is of, since the note was deleted."""
    shutil.copytree(trained.parent, tmp_path / "all/fold0-1shot-seed0")
    options = (*BENCHMARK, "--folds", "0", "--out", "all", "--dry_run")
    ran = fsseg(*options)
    assert ran.code == 0, ran.err
    assert "1 of 2 done" in ran.out
    ran = fsseg(*options, "--model.optimizer.lr=0.5")
    assert ran.code == 2
    assert "--out all holds a benchmark with --model.optimizer.lr 0.001; 0.5 is asked for" in ran.line
    (tmp_path / "all/fold0-1shot-seed0/config.yaml").write_text("no: configuration")
    ran = fsseg(*options)
    assert (ran.code, "config.yaml of a finished training cannot be read" in ran.line) == (2, True)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("benchmark", "--folds", "0"), "needs --config FILE"),
        ((*BENCHMARK, "--data.fold", "1"), "--data.fold is set for each job; give --folds"),
        ((*BENCHMARK, "--seed_everything=3"), "give --seeds"),
        ((*BENCHMARK, "--folds", "0", "0"), "Give each number once"),
        ((*BENCHMARK, "--shots", "0"), "at least 1 is needed"),
        ((*BENCHMARK, "--shots", "one"), "--shots one: a whole number is needed"),
        ((*BENCHMARK, "--train_shot", "many"), "--train_shot many"),
        ((*BENCHMARK, "--workers", "0"), "at least 1"),
        ((*BENCHMARK, "--engine", "k8s"), "--engine k8s: one of local, ray, slurm is needed"),
        ((*BENCHMARK, "--annotations", "lines"), "--annotations lines: one of mask, scribble, box"),
        ((*BENCHMARK, "--model.method.scal", "3"), "Did you mean scale"),
        ((*BENCHMARK, "--data.dataset", "Pascal", "--data.root", "none"), "--data.root none: no such folder"),
        (("table", "--later"), "missing: runs"),
        (("table", "none"), "none: no such folder"),
        (("table", "."), "holds no finished test"),
        (("table", ".", "--like", "panet-table7"), "--like panet-table7: one of .* Did you mean panet-table"),
        (("table", ".", "--later"), "holds no finished test"),
        (("table", ".", "--later", "--classes"), "give one of them"),
        (("table", ".", "--later", "--like", "pmms-table3"), "holds no finished test"),
        (("table", ".", "--out", "x.pdf"), "an ending of"),
        (("table", ".", "--form", "html"), "Did you mean --format"),
        (("table", ".", "--classes", "--like", "panet-table1"), "give one of them"),
        (("compare", "a"), "missing: A B"),
        (("compare", "a", "b"), "a: no such folder"),
        (("compare", "a", "b", "--count", "-1"), "--count -1: at least 0 is needed."),
        (("fit", *QUICKSTART, "--resume"), "--resume needs --out"),
        (("fit", *QUICKSTART, "--resume", "--out", "x", "--ckpt_path", "y"), "leave --ckpt_path out"),
        (("validate", *QUICKSTART, "--resume", "--out", "x"), "--resume is for"),
    ],
)
def test_wrong_input_is_one_line_and_exit_code_2(fsseg, options, said):
    import re

    ran = fsseg(*options)
    assert ran.code == 2
    assert re.search(said, ran.line), ran.line
    assert len(ran.err.strip().splitlines()) <= 2


def test_a_table_is_printed_or_written_in_the_form_of_its_ending(fsseg, tmp_path):
    for fold in range(4):
        make_test(tmp_path / f"runs/fold{fold}/test", fold=fold)
    ran = fsseg("table", "runs", "--like", "panet-table1", "--intervals")
    assert ran.code == 0, ran.err
    assert "published, VGG16" in ran.out
    assert "ours - published" in ran.out
    assert "95 % bootstrap interval" in ran.out
    for name, begin in {
        "t.md": "**PANet table 1",
        "t.tex": "% PANet",
        "t.csv": "table,line",
        "t.html": "<!doctype",
    }.items():
        assert fsseg("table", "runs", "--like", "panet-table1", "--out", f"made/{name}").code == 0
        assert (tmp_path / "made" / name).read_text().startswith(begin)
    assert "class 20" in fsseg("table", "runs", "--classes").out


def test_compare_writes_its_numbers(fsseg, tmp_path):
    make_test(tmp_path / "a")
    make_test(tmp_path / "b", number=1)
    ran = fsseg("compare", "a", "b", "--out", "both")
    assert ran.code == 0, ran.err
    content = json.loads((tmp_path / "both/compare.json").read_text())
    (content,) = content["comparisons"]
    assert len(content["episodes"]) == 24
    assert content["second_better"] + content["as_good"] + content["second_worse"] == 24
    assert "none: " in ran.out  # no pictures of what was never really tested


@pytest.mark.slow
def test_resume_begins_goes_on_and_then_does_nothing(fsseg, tmp_path):
    options = ("fit", *QUICKSTART, "--out", "run", "--resume")
    (tmp_path / "run").mkdir()
    (tmp_path / "run/config.yaml").write_text("")  # as of a training that was killed before its first checkpoint
    assert fsseg(*options, "--trainer.max_steps", "2").code == 0
    ran = fsseg(*options, "--trainer.max_steps", "2")
    assert (ran.code, ran.out) == (0, "already trained: run/last.ckpt\n")
    (tmp_path / "run/run.json").unlink()  # killed before it could say that it was finished
    ran = fsseg(*options, "--trainer.max_steps", "2")
    assert ran.code == 0, ran.err
    assert json.loads((tmp_path / "run/run.json").read_text())["steps"] == 2
    (tmp_path / "run/run.json").unlink()
    ran = fsseg(*options, "--trainer.max_steps", "4")
    assert ran.code == 0, ran.err
    assert json.loads((tmp_path / "run/run.json").read_text())["resumed_at"] == 2
    test = ("test", "--ckpt_path", "run/last.ckpt", "--out", "test", "--resume")
    (tmp_path / ".test-abcd1234").mkdir()  # of a test that was killed
    (tmp_path / ".test-box-abcd1234").mkdir()  # of one that may be running
    assert fsseg(*test).code == 0
    assert fsseg(*test).out == "already tested: test/table.md\n"
    assert [path.name for path in tmp_path.glob(".test-*")] == [".test-box-abcd1234"]


@pytest.mark.slow
def test_a_warm_start_has_a_file_for_each_fold(fsseg, trained, tmp_path):
    (tmp_path / "head").mkdir()
    shutil.copy(trained, tmp_path / "head" / "fold0.ckpt")
    options = (*BENCHMARK, "--model.weights", "head/fold{fold}.ckpt", "--out", "all")
    ran = fsseg(*options, "--folds", "0", "--engine", "slurm")
    assert ran.code == 0, ran.err
    assert ran.out.count("--model.weights=head/fold0.ckpt") == 1  # the training's, not the test's
    ran = fsseg(*options, "--folds", "0", "1", "--dry_run")  # more folds are the same benchmark
    assert ran.code == 0, ran.err
    small = ("--trainer.max_steps", "1", "--protocol.runs", "1", "--protocol.episodes", "4", "--data.images.size", "32")
    ran = fsseg(*options, *small, "--folds", "0", "--out", "run")
    assert ran.code == 0, ran.err
    assert (tmp_path / "run/table.md").is_file()
    ran = fsseg(*options, "--folds", "1", "--dry_run")
    assert (ran.code, ran.line) == (2, "fsseg: --model.weights head/fold1.ckpt: no such file.")
