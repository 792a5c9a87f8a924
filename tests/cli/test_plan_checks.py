"""A benchmark looks whether its folds can be trained and tested before it trains one."""

import shutil

import pytest

from tests.cli.conftest import QUICKSTART
from tests.cli.test_validation import folder

SMALL = (*QUICKSTART[:2], *(word for word in QUICKSTART[2:] if not word.startswith("--data.dataset.")))


@pytest.fixture
def benchmark(fsseg, tmp_path):
    """A dry run on images of ants and dogs, which are novel in fold 0, and of bees and cats, novel in fold 1."""
    root = folder(tmp_path / "own", 7 * "abcd", "aaaaaabbbbbbccdd")

    def run(*options: str):
        data = ("--data.dataset", "Folder", "--data.root", str(root))
        return fsseg("benchmark", *SMALL, *data, *options, "--out", "all", "--dry_run")

    return run


def test_folds_that_can_be_tested_have_a_plan(benchmark, tmp_path):
    ran = benchmark()
    assert ran.code == 0, ran.err
    assert "2 folds x 1 shot x 1 seed: 2 trainings, 2 tests into all; 0 of 4 done" in ran.out
    assert not (tmp_path / "all").exists()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--shots", "1", "5"), "benchmark: 2 of 2 folds cannot be trained and tested: fold 0: 1-way 5-shot with 1 "
         "query needs 6 val images a class; too few show: 4 dog (2); fold 1: 1-way 5-shot with 1 query needs 6 val "
         "images a class; too few show: 3 cat (2). Go on with --data.episodes.missing_classes skip, or --shots 1."),
        (("--shots", "7", "--folds", "1"), "1 of 1 folds cannot be trained and tested: 1-way 7-shot with 1 query "
         "needs 8 train images a class; too few show: 1 ant (7), 4 dog (7)."),
        (("--shots", "7", "--untrained"), "2 of 2 folds cannot be tested: fold 0: 1-way 7-shot"),
        (("--folds", "0", "9"), "1 of 2 folds cannot be trained and tested: fold 9: --data.fold 9: own has folds 0 to "
         "1. Go on with --folds 0."),
        (("--data.way", "3"), "--data.way 3: a fold of own tests on 2 classes, 1 to 2."),
        (("--folds", "0", "1", "--data.episodes.exclude", "[bee]", "--data.way", "2"), "1 of 2 folds cannot be trained "
         "and tested: fold 0: 2-way 1-shot with 1 query needs 2 train images a class; too few show: . Go on"),
        (("--protocol.split", "train", "--shots", "7", "--train_shot", "1"), "2 of 2 folds cannot be trained and "
         "tested: fold 0: 1-way 7-shot with 1 query needs 8 train images a class; too few show: 1 ant (7), 4 dog (7)"),
    ],
)  # fmt: skip
def test_folds_that_cannot_be_tested_are_named_before_a_training(benchmark, options, said):
    ran = benchmark(*options)
    assert ran.code == 2
    assert said in ran.line
    assert ran.line.startswith("fsseg: ")


def test_left_out_classes_and_other_shots_let_a_benchmark_go_on(benchmark):
    assert benchmark("--shots", "1", "5", "--data.episodes.missing_classes", "skip").code == 0
    assert benchmark("--shots", "1", "4", "--train_shot", "1").code == 2
    assert benchmark("--shots", "1", "--train_shot", "5").code == 0


def test_a_checkpoint_chosen_by_validation_needs_one(fsseg, tmp_path):
    root = folder(tmp_path / "own", 7 * "abcd", "aaaddbc")
    options = ("benchmark", *SMALL, "--data.dataset", "Folder", "--data.root", str(root), "--dry_run")
    ran = fsseg(*options, "--folds", "0", "--protocol.selection", "base_val")
    assert ran.code == 2
    assert "--protocol.selection base_val needs a validation: 1-way 1-shot with 1 query needs 2 val images" in ran.line
    ran = fsseg(*options, "--folds", "0", "--protocol.selection", "base_val", "--data.episodes.val", "0")
    assert "--protocol.selection base_val needs a validation: --data.episodes.val is 0." in ran.line
    assert fsseg(*options, "--folds", "0").code == 0


def test_a_test_on_classes_that_its_training_has_seen_is_found_before(fsseg, fake_coco):
    options = ("--config", "panet_coco_1shot", "--data.root", str(fake_coco), "--data.images.size", "32")
    options = ("benchmark", *options, "--data.episodes.missing_classes", "skip", "--dry_run", "--folds", "0")
    changed = ("--data.dataset.fold_rule", "interleaved", "--protocol.release", "2017", "--data.dataset.year", "2017")
    ran = fsseg(*options, *changed, "--protocol.fold_rule", "contiguous")
    assert ran.code == 2
    assert "would test classes it has seen" in ran.line or "protocol panet tests with contiguous" in ran.line


def test_what_is_done_is_not_checked_again(benchmark, tmp_path, trained):
    refused = ("--shots", "5", "--folds", "0", "--untrained")
    assert benchmark(*refused).code == 2
    done = tmp_path / "all/fold0-5shot-seed0/test-5shot"
    done.mkdir(parents=True)
    for name in ("table.json", "rows.csv"):
        shutil.copy(trained.parent / "config.yaml", done / name)
    assert benchmark(*refused).code == 0
