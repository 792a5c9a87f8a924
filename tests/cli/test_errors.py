"""Bad input: one clear line, exit code 2, no traceback, nothing half-written."""

import shutil
from pathlib import Path
from urllib.error import URLError

import pytest
import torch
import yaml
from PIL import Image

from tests.cli.conftest import QUICKSTART, TINY

PMMS = ("--config", "experiments/pmm_shapes_1shot.yaml", *TINY)
COCO = (
    "--config",
    "experiments/rpmm_coco_5shot.yaml",
    "--model.method.encoder",
    "ConvNet",
    "--data.loading.workers",
    "0",
)
VOC = (
    "--config",
    "experiments/panet_voc_1shot.yaml",
    "--model.method.encoder",
    "ConvNet",
    "--data.loading.workers",
    "0",
)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["fitt"], "no command 'fitt'. Did you mean fit?"),
        (["fit"], "fit needs --config FILE"),
        (["test"], "test needs --config FILE"),
        (["fit", "--config"], "--config needs a file"),
        (["fit", "--config", "nope.yaml"], "--config nope.yaml: no such file. Experiments: "),
        (["fit", "--config", "rpm_coco_1shot"], "no such file. Did you mean rpmm_coco_1shot? Experiments: "),
        (
            ["fit", *PMMS, "--model.method.components", "0"],
            "--model.method.components 0: at least 1 is needed.",
        ),
        (["fit", *PMMS, "--model.method.mixture.kappa", "0"], "kappa above 0"),
        (["fit", *PMMS, "--model.method.mixture.kappa", "nan"], "kappa"),
        (["fit", *PMMS, "--model.method.channels", "0"], "--model.method.channels 0: at least 1 is needed."),
        (["fit", *PMMS, "--model.method.dropout", "2"], "--model.method.dropout 2.0: at most 1 is needed."),
        (["fit", *PMMS, "--model.head_lr", "0"], "factors above 0 are needed"),
        (["fit", *PMMS, "--model.head_lr", "10"], "OneCycleLR gives all parameters one rate"),
        (
            ["fit", *PMMS, "--data.images.test_size", "null", "--data.images.size", "null", "--data.batch_size", "1"],
            "test_batch_size 1",
        ),
        (["fit", *PMMS, "--data.images.size", "null"], "--data.batch_size 1"),
        (["fit", *PMMS, "--data.test_shot", "0"], "--data.test_shot 0: at least 1 is needed."),
        (["fit", *PMMS, "--protocol.draw", "pmms", "--data.way", "2"], "--data.way 1"),
        (["fit", *COCO], "COCO-20i needs --data.root DIR"),
        (["fit", *COCO, "--data.root", "nowhere"], "--data.root nowhere: no such folder."),
        (["fit", *COCO, "--data.root", "."], "--data.root . is no COCO tree"),
        (["fit", *QUICKSTART, "--data.foldd", "1"], "no option --data.foldd. Did you mean --data.fold?"),
        (["fit", *QUICKSTART, "--trainer.max_step", "1"], "Did you mean --trainer.max_steps?"),
        (["fit", *QUICKSTART, "--data.fold", "one"], "--data.fold one: a whole number is needed."),
        (["fit", *QUICKSTART, "--data.fold", "4"], "--data.fold 4: Shapes has folds 0 to 3."),
        (["fit", *QUICKSTART, "--data.fold", "-1"], "--data.fold -1: Shapes has folds 0 to 3."),
        (["fit", *QUICKSTART, "--data.way", "6"], "--data.way 6: a fold of Shapes tests on 5 classes, 1 to 5."),
        (["fit", *QUICKSTART, "--data.way", "0"], "--data.way 0"),
        (["fit", *QUICKSTART, "--data.shot", "0"], "--data.shot 0: at least 1 is needed."),
        (["fit", *QUICKSTART, "--data.query", "0"], "--data.query 0: at least 1 is needed."),
        (["fit", *QUICKSTART, "--data.images.size", "1"], "--data.images.size 1: at least 8 is needed."),
        (["fit", *QUICKSTART, "--data.shot", "500"], "1-way 500-shot with 1 query needs 501 train images a class"),
        (["fit", *QUICKSTART, "--model.method", "PANett"], "no class PANett. Did you mean PANet?"),
        (["fit", *QUICKSTART, "--model.method.scal", "3"], "PANet has no option scal. Did you mean scale?"),
        (["fit", *QUICKSTART, "--model.method.scale", "x"], "--model.method.scale x: a number is needed."),
        (["fit", *QUICKSTART, "--model.method.encoder.widths", "3"], "--model.method.encoder.widths 3: a list is"),
        (["fit", *QUICKSTART, "--model.method.encoder", "VGG"], "--model.method.encoder: no class VGG. Did you mean V"),
        (["fit", *QUICKSTART, "--model.method.encoder", "fsseg.datasets.Shapes"], "Shapes: one of ConvNet, "),
        (
            ["fit", *QUICKSTART, "--model.method.encoder.widthz", "3"],
            "ConvNet has no option widthz. Did you mean widths",
        ),
        (["fit", *QUICKSTART, "--model.method", "no.Method"], "no.Method cannot be imported: No module named 'no'."),
        (["fit", *QUICKSTART, "--model.optimizer", "Adamm"], "--model.optimizer: no class Adamm. Did you mean Adam?"),
        (["fit", *QUICKSTART, "--model.optimizer.lrr", "3"], "AdamW has no option lrr. Did you mean lr?"),
        (["fit", *QUICKSTART, "--trainer.logger.project", "p"], "--trainer.logger needs a class before its option pro"),
        (["fit", *QUICKSTART, "--data", "nope"], "--data nope: no such file."),
        (["fit", *QUICKSTART, "--data.episodes.pairs", "--data.fold=1"], "--data.episodes.pairs needs a value."),
        (["fit", *QUICKSTART, "stray"], "unrecognized arguments: stray"),
        (["fit", *QUICKSTART, "--trainer.accelerator", "abacus"], "abacus"),
        (["fit", *QUICKSTART, "--data.images.augment", "[{class_path: albumentations.Fold}]"], "has no such transform"),
        (["fit", *QUICKSTART, "--untrained"], "--untrained is for"),
        (["fit", *QUICKSTART, "--trainer.max_steps", "1501"], "goes beyond the schedule's end at 1500"),
        (["fit", *QUICKSTART, "--trainer.max_steps", "-1"], "a training needs an end"),
        (["fit", *QUICKSTART, "--trainer.strategy", "ddp_spawn"], "Use ddp"),
        (["fit", *QUICKSTART, "--trainer.max_steps", "null"], "--trainer.max_steps null: a whole number is needed."),
        (["fit", *QUICKSTART, "--data.shot", "null"], "--data.shot null: a whole number is needed."),
        (["fit", *QUICKSTART, "--trainer.sync_batchnorm", "true"], "works on GPUs only"),
        (["fit", *QUICKSTART, "--model.optimizer.lr", "-1"], "--model.optimizer: Invalid learning rate"),
        (["fit", *QUICKSTART, "--trainer.val_check_interval", "5000"], "val_check_interval"),
        (["fit", *QUICKSTART, "--seed_everything", "-3"], "--seed_everything -3: at least 0 is needed."),
        (
            ["fit", *QUICKSTART, "--model.method.encoder.groups", "7"],
            "groups 7, widths (8, 8); give groups that divide",
        ),
        (["fit", *QUICKSTART, "--model.method.encoder.widths", "[8]"], "give one positive number per stage"),
        (
            [
                "fit",
                *QUICKSTART,
                "--model.method.encoder",
                "Torchvision",
                "--model.method.encoder.stride",
                "3",
                "--model.method.encoder.weights",
                "none",
            ],
            "a power of two",
        ),
        (["test", *QUICKSTART, "--untrained", "--trainer.limit_test_batches", "0"], "no episode was tested"),
        (["validate", *QUICKSTART, "--untrained", "--data.episodes.val", "0"], "leaves nothing to validate"),
        (["test", *QUICKSTART], "test needs --ckpt_path FILE, or --untrained"),
        (["test", "--ckpt_path", "nope.ckpt"], "--ckpt_path nope.ckpt: no such file."),
        (["fit", *QUICKSTART, "--out", "/proc/nowhere"], "results cannot be written to /proc/nowhere"),
        (["test", *QUICKSTART, "--untrained", "--out", "/proc/no/where"], "results cannot be written to /proc/no"),
        (["fit", *VOC], "PASCAL-5i needs --data.root DIR"),
        (["fit", *VOC, "--data.root", "nowhere"], "--data.root nowhere: no such folder."),
    ],
)
def test_one_line_and_exit_code_2(fsseg, tmp_path, arguments, expected):
    ran = fsseg(*arguments)
    assert ran.code == 2
    assert expected in ran.line
    assert ran.line.startswith("fsseg: ")
    assert "Traceback" not in ran.err
    assert not [path for path in tmp_path.rglob("*") if path.is_file()], "something half-written was left"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("model: [1, 2", "line 1: expected ',' or ']'"),
        ("3", "holds no options"),
        ("data: {images: 32}", "--data.images 32: its options are needed, e.g. --data.images.size."),
        ("data: {size: 32}", "no option --data.size. Did you mean --data.images.size?"),
        ("model: {method: {class_path: PANett}}", "no class PANett"),
        ("model: {method: PANet}\ndata: {dataset: Shapes}", "PANet needs --model.method.encoder: one of ConvNet, "),
        ("trainer: {callbacks: [{class_path: EarlyStoppin}]}", "--trainer.callbacks: no class EarlyStoppin. Did you m"),
        ("modl: {method: PANet}", "no option --modl. Did you mean --model?"),
        (
            "model: {method: {class_path: PANet, init_args: {encoder: {class_path: ConvNet}, scal: 1}}}",
            "PANet has no option scal. Did you mean scale?",
        ),
        (
            "model: {method: {class_path: PANet, init_args: {encoder: {class_path: ConvNet}}}}\n"
            "data: {dataset: {class_path: Shapes}, foldd: 1}",
            "no option --data.foldd. Did you mean --data.fold?",
        ),
    ],
)
def test_broken_yaml_is_named(fsseg, tmp_path, text, expected):
    (tmp_path / "mine.yaml").write_text(text)
    ran = fsseg("fit", "--config", "mine.yaml")
    assert ran.code == 2
    assert expected in ran.line


def test_checkpoint_that_is_truncated_or_none(fsseg, tmp_path, trained):
    whole = trained.read_bytes()
    (tmp_path / "half.ckpt").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "text.ckpt").write_text("no checkpoint")
    torch.save({"state_dict": {}}, tmp_path / "foreign.ckpt")
    assert "truncated" in fsseg("test", "--ckpt_path", "half.ckpt").line
    assert "no checkpoint" in fsseg("test", "--ckpt_path", "text.ckpt").line
    assert "no checkpoint of `fsseg fit`" in fsseg("test", "--ckpt_path", "foreign.ckpt").line


def test_checkpoint_that_runs_code_is_refused(fsseg, tmp_path):
    class Evil:
        def __reduce__(self):
            return Path.touch, (tmp_path / "owned",)

    torch.save({"state_dict": {}, "fsseg": Evil()}, tmp_path / "evil.ckpt")
    assert fsseg("test", "--ckpt_path", "evil.ckpt").code == 2
    assert not (tmp_path / "owned").exists()


def test_checkpoint_of_another_method(fsseg, tmp_path, trained):
    checkpoint = torch.load(trained, weights_only=True)
    config = yaml.safe_load(checkpoint["fsseg"]["config"])
    config["model"]["method"]["class_path"] = "elsewhere.OtherMethod"
    checkpoint["fsseg"]["config"] = yaml.safe_dump(config)
    torch.save(checkpoint, tmp_path / "other.ckpt")
    ran = fsseg("test", *QUICKSTART, "--ckpt_path", "other.ckpt")
    assert (ran.code, "holds OtherMethod, but PANet is asked for" in ran.line) == (2, True)


@pytest.mark.parametrize(
    ("command", "flags", "expected"),
    [
        ("test", ["--model.method.align", "false"], "was trained with --model.method.align True; False is asked for"),
        ("test", ["--model.method.encoder.widths", "[8,16]"], "--model.method.encoder.widths [8, 8]; [8, 16] is asked"),
        ("test", ["--data.fold", "1"], "was trained on fold 0 of Shapes; --data.fold 1 of Shapes would test classes"),
        ("validate", ["--data.fold", "1"], "validation needs the same, not fold 1"),
        ("fit", ["--model.optimizer.lr", "0.5"], "--model.optimizer.lr"),
        ("fit", ["--data.shot", "2"], "was trained with --data.shot 1; 2 is asked for"),
        ("test", ["--untrained"], "--untrained is for"),
    ],
)
def test_checkpoint_never_replaces_what_is_asked(fsseg, trained, command, flags, expected):
    ran = fsseg(command, "--ckpt_path", str(trained), *flags)
    assert (ran.code, expected in ran.line) == (2, True), ran.line


@pytest.mark.slow
def test_weights_that_do_not_fit(fsseg, tmp_path):
    torch.save({"alien.weight": torch.zeros(1)}, tmp_path / "w.pth")
    (tmp_path / "t.pth").write_text("text")
    voc = (
        "fit", "--config", "experiments/panet_voc_1shot.yaml", "--data.root", ".", "--model.method.encoder.weights"
    )  # fmt: skip
    assert "lacks features.0.bias" in fsseg(*voc, "w.pth").line
    assert "has unexpected alien.weight" in fsseg(*voc, "w.pth").line
    assert "cannot be read" in fsseg(*voc, "t.pth").line
    assert "no such file" in fsseg(*voc, "gone.pth").line


@pytest.mark.slow
def test_no_network_for_weights(fsseg, monkeypatch):
    def fail(*args, **kwargs):
        raise URLError("no network")

    monkeypatch.setattr("torch.hub.download_url_to_file", fail)
    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", fail)
    ran = fsseg("fit", "--config", "experiments/panet_voc_1shot.yaml", "--data.root", ".")
    assert ran.code == 2
    assert "--model.method.encoder.weights FILE" in ran.line


def _break_mask(root, change):
    path = sorted((root / "VOC2012/SegmentationClassAug").glob("*.png"))[0]
    change(path)
    return path.name


def _size(path):
    with Image.open(path) as picture:
        return picture.size


@pytest.mark.slow
def test_broken_voc_trees(fsseg, fake_voc):
    small = ("--data.root", str(fake_voc), "--data.images.size", "32", "--trainer.max_steps", "1",
             "--data.episodes.val", "0",
             "--model.method.encoder.widths=[8,8]", "--model.method.encoder.strides=[2,2]")  # fmt: skip
    copy = fake_voc.with_name("copy")

    def refused(change):
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(fake_voc, copy)
        name = _break_mask(copy, change)
        ran = fsseg("fit", *VOC, *small, "--data.root", str(copy))
        assert (ran.code, name in ran.line) == (2, True), ran.line
        return ran.line

    assert "is missing" in refused(Path.unlink)
    assert "its image" in refused(lambda path: Image.new("L", (7, 5)).save(path))
    assert "holds class ids [77]" in refused(lambda path: Image.new("L", _size(path), 77).save(path))
    assert "cannot be decoded" in refused(lambda path: path.write_bytes(path.read_bytes()[:40]))
    assert "RGB image" in refused(lambda path: Image.new("RGB", _size(path)).save(path))


@pytest.mark.slow
def test_lists_that_would_make_support_equal_query(fsseg, fake_voc):
    lists = fake_voc / "VOC2012/ImageSets/SegmentationAug"
    small = ("fit", *VOC, "--data.root", str(fake_voc))
    names = (lists / "val.txt").read_text()
    (lists / "val.txt").write_text(names + names.splitlines()[0])
    assert "twice. Name each image once" in fsseg(*small).line
    (lists / "val.txt").write_text(names + (lists / "train_aug.txt").read_text().splitlines()[0])
    assert "are in the train and in the val list" in fsseg(*small).line


def test_checkpoint_in_a_configuration_file_is_checked_too(fsseg, tmp_path, trained):
    (tmp_path / "ck.yaml").write_text(f"ckpt_path: {trained}")
    ran = fsseg("test", *QUICKSTART, "--config", "ck.yaml", "--data.fold", "1")
    assert (ran.code, "would test classes it has seen" in ran.line) == (2, True)


def test_checkpoint_whose_tensors_do_not_fit(fsseg, tmp_path, trained):
    checkpoint = torch.load(trained, weights_only=True)
    checkpoint["state_dict"].popitem()
    torch.save(checkpoint, tmp_path / "less.ckpt")
    ran = fsseg("test", "--ckpt_path", "less.ckpt")
    assert (ran.code, "does not fit the method" in ran.line) == (2, True)


@pytest.mark.slow
def test_diverged_checkpoint_gives_no_number(fsseg, tmp_path, trained):
    checkpoint = torch.load(trained, weights_only=True)
    for tensor in checkpoint["state_dict"].values():
        tensor.fill_(float("nan"))
    torch.save(checkpoint, tmp_path / "nan.ckpt")
    ran = fsseg("test", "--ckpt_path", "nan.ckpt")
    assert (ran.code, "not finite" in ran.line) == (2, True)


@pytest.mark.parametrize("workers", ["0", "2"])
def test_truncated_jpeg_is_named(fsseg, fake_voc, workers):
    for path in (fake_voc / "VOC2012/JPEGImages").glob("*.jpg"):
        path.write_bytes(path.read_bytes()[:-60])
    ran = fsseg("fit", *VOC, "--data.root", str(fake_voc), "--data.images.size", "32", "--data.loading.workers",
                workers,
                "--trainer.max_steps", "1", "--trainer.accelerator", "cpu")  # fmt: skip
    assert ran.code == 2
    assert ".jpg cannot be decoded" in ran.line
    assert not Path("runs/panet_voc_1shot/fold0").exists(), "a run that never began leaves nothing"


TINY_COCO = (
    *COCO, *(flag for flag in TINY if "dataset." not in flag and "encoder" not in flag), "--model.method.channels=8",
    "--data.images.test_size=32", "--data.test_shot=1", "--model.method.encoder.widths=[8,8]",
    "--model.method.encoder.strides=[2,2]", "--data.episodes.missing_classes=skip",
)  # fmt: skip


@pytest.mark.slow
def test_a_checkpoint_of_the_other_fold_rule_is_refused(fsseg, fake_coco):
    root = ("--data.root", str(fake_coco))
    assert fsseg("fit", *TINY_COCO, *root, "--data.dataset.fold_rule=contiguous", "--out", "run").code == 0
    for command, expected in (("validate", "validation needs the same"), ("test", "would test classes it has seen")):
        ran = fsseg(command, "--ckpt_path", "run/last.ckpt", *root, "--data.dataset.fold_rule", "interleaved")
        assert ran.code == 2
        assert expected in ran.line
        assert "contiguous" in ran.line


@pytest.mark.slow
def test_a_broken_photo_in_the_middle_of_a_training_costs_no_step(fsseg, fake_coco, tmp_path):
    """The steps before it are kept, and go on once the photo is replaced."""
    whole = {path: path.read_bytes() for path in sorted((fake_coco / "train2017").iterdir())[::4]}
    for path in whole:
        path.unlink()  # the fixture's photos are links
        path.write_bytes(b"no photo")
    ran = fsseg("fit", *TINY_COCO, "--data.root", str(fake_coco), "--trainer.max_steps=60", "--out", "run")
    assert ran.code == 2
    assert "cannot be decoded" in ran.line
    kept = torch.load(tmp_path / "run/last.ckpt", weights_only=True)["global_step"]
    assert 0 < kept < 60
    assert f"step {kept} is saved in run/last.ckpt" in ran.err
    for path, content in whole.items():
        path.write_bytes(content)
    ran = fsseg("fit", "--ckpt_path", "run/last.ckpt")
    assert ran.code == 0, ran.err
    assert "trained to step 60" in ran.out


@pytest.mark.slow
def test_a_loss_that_is_not_finite_stops_the_training_and_keeps_nothing_of_it(fsseg, tmp_path):
    ran = fsseg("fit", *PMMS, "--model.optimizer.lr=1e30", "--model.lr_scheduler.max_lr=1e30", "--out", "run")
    assert ran.code == 2
    assert "at step" in ran.line
    assert "images shapes-" in ran.line
    assert "Lower --model.optimizer.lr" in ran.line
    assert not (tmp_path / "run/last.ckpt").exists()
