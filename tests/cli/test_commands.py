"""fit, validate, test and help, as a person uses them."""

import csv
import json
import re
import signal
import subprocess
import sys
import time
from dataclasses import asdict
from itertools import pairwise
from pathlib import Path

import pytest
import torch
import yaml
from PIL import Image

from fsseg import methods
from fsseg.cli.help import COMMANDS, TRAINER, options_of
from fsseg.datasets import Shapes
from fsseg.encoders import ConvNet
from fsseg.experiment.files import experiment_folder, experiments
from fsseg.ops.em import Mixture
from fsseg.protocols.presets import protocol
from fsseg.protocols.protocol import OF_FILES
from fsseg.results.published import Setting, published
from tests.cli.conftest import QUICKSTART, TINY

LONG = ("--trainer.max_steps=100000", "--model.lr_scheduler.total_steps=100000")


def test_help_is_short_and_lists_everything(fsseg):
    ran = fsseg("--help")
    assert ran.code == 0
    assert all(command.split()[-1] in ran.out for command in COMMANDS)
    assert {name.partition("_")[0] for name in experiments()} <= set(ran.out.split())
    names = fsseg("fit", "--config", "no_such_experiment").err
    assert all(name in names for name in experiments())
    assert len(ran.out.splitlines()) <= 24
    assert max(map(len, ran.out.splitlines())) <= 100
    for command in COMMANDS:
        page = fsseg(*command.split(), "--help").out
        assert page.startswith(f"fsseg {command}  ")
        assert len(page.splitlines()) <= 24
        assert max(map(len, page.splitlines())) <= 100


def _listed(page: str) -> set[str]:
    """Options in the first column of a help page."""
    firsts = [line.strip().split("  ")[0] for line in page.splitlines()]
    return {first.split()[0] for first in firsts if first.startswith("--")}


@pytest.mark.parametrize("command", [name for name in COMMANDS if name not in TRAINER])
def test_help_lists_the_options_that_a_command_accepts_and_no_others(fsseg, command):
    options = options_of(command)
    passed = {option.split()[0] for option in options.others}
    assert _listed(fsseg(*command.split(), "--help").out) == {*options.names, *passed}


def test_short_help_of_a_training_lists_options_that_there_are(fsseg):
    for command in TRAINER:
        known = fsseg(command, "--help_all").out
        for option in _listed(fsseg(command, "--help").out) - {"--protocols", "--suite"}:  # read before the parser
            assert option.endswith("OPTION") or option.startswith("--model.method.") or option in known, option


@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        (("benchmark", "--config", "experiments/quickstart.yaml", "--dry-run"), "--dry_run"),
        (("sweep", "experiments/sweeps/quickstart.yaml", "--dry-run"), "--dry_run"),
        (("predict", "--long-side", "64"), "--long_side"),
        (("demo", "--max-mb", "5"), "--max_mb"),
        (("data", "info", "coco", "--fold-rule", "contiguous"), "--fold_rule"),
        (("fit", "--config", "experiments/quickstart.yaml", "--data.test-shot", "5"), "--data.test_shot"),
    ],
)
def test_a_dash_in_place_of_an_underscore_is_told(fsseg, wrong, right):
    ran = fsseg(*wrong)
    assert (ran.code, f"Did you mean {right}?" in ran.line) == (2, True), ran.line


def test_help_imports_no_torch():
    code = "import sys; from fsseg.cli import main; main(['--help']); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=False).returncode == 0


@pytest.mark.parametrize("name", sorted(experiments()))
def test_experiment_states_what_to_expect_and_parses(fsseg, name):
    header = [line for line in experiments()[name].read_text().splitlines() if line.startswith("#")]
    assert f"fsseg fit --config experiments/{name}.yaml" in "\n".join(header)
    assert any(digit.isdigit() for digit in header[0])
    assert "??" not in "".join(header)
    ran = fsseg("fit", "--config", f"experiments/{name}.yaml", "--print_config")
    assert ran.code == 0
    assert yaml.safe_load(ran.out)["trainer"]["max_steps"] > 0


def test_a_printed_configuration_has_the_values_of_the_protocol(fsseg, tmp_path):
    words = ("test", *QUICKSTART, "--untrained", "--protocol.name=panet", "--protocol.runs=7")
    ran = fsseg(*words, "--print_config")
    printed = yaml.safe_load(ran.out)["protocol"]
    expected = asdict(protocol({"name": "panet", "runs": 7, "episodes": printed["episodes"]}, ""))
    of_coco = {"release": 2017, "fold_rule": "interleaved"}  # shapes have neither
    assert printed == {name: value for name, value in (expected | of_coco).items() if name not in OF_FILES}
    (tmp_path / "printed.yaml").write_text(ran.out)
    again = fsseg("test", "--config", "printed.yaml", "--untrained", "--print_config")
    assert yaml.safe_load(again.out)["protocol"] == printed


def test_printing_that_fails_leaves_nothing_for_the_next_command(fsseg):
    assert fsseg("fit", *QUICKSTART, "--print_config", "--protocol.name=unknown").code == 2
    assert fsseg("fit", *QUICKSTART, "--print_config", "--data.fold=one").code == 2
    assert "no option" in fsseg("fit", *QUICKSTART, "--data.folt=1").err


@pytest.mark.parametrize("name", sorted(set(experiments()) - {"quickstart"}))
@pytest.mark.slow
def test_experiment_runs_on_built_in_data(fsseg, tmp_path, name):
    small = [flag for flag in TINY if "encoder" not in flag]
    without = ("panet", "mlc", "fgbg", "finetune", "cofcn", "guided", "oslsm", "fwb", "pl", "hsnet")
    small += [] if name.startswith(without) else ["--model.method.channels=16"]
    small += ["--data.images.support_annotation=mask"] if name.startswith("guided") else []  # points need large images
    ran = fsseg(
        "fit", "--config", f"experiments/{name}.yaml", "--data.dataset", "Shapes", *small, "--data.images.augment",
        "[]",
        "--model.method.encoder", "ConvNet", "--model.method.encoder.widths", "[8,8]",
        "--model.method.encoder.strides", "[2,2]", "--trainer.max_steps", "1", "--data.episodes.pairs", "any",
        "--data.episodes.min_pixels", "1", "--out", "run",
    )  # fmt: skip
    assert ran.code == 0, ran.err
    assert (tmp_path / "run/last.ckpt").is_file()


_plain: dict[str, dict] = {}


def _printed(file: str, fsseg) -> dict:
    """A file's whole configuration; parsed once, since several ablations start from one experiment."""
    if file not in _plain:
        _plain[file] = yaml.safe_load(fsseg("fit", "--config", file, "--print_config").out)
    return _plain[file]


@pytest.mark.parametrize("path", sorted((experiment_folder() / "ablations").glob("*.yaml")), ids=lambda path: path.stem)
def test_ablation_changes_only_what_it_says_of_the_experiment_in_its_header(fsseg, path):
    header = [line for line in path.read_text().splitlines() if line.startswith("#")]
    words = next(line for line in header if "fsseg fit" in line).split()
    files = [after for before, after in pairwise(words) if before == "--config"]
    assert files[1:] == [f"experiments/ablations/{path.name}"]
    assert any(digit.isdigit() for line in header[:2] for digit in line)
    plain = _printed(files[0], fsseg)
    after = fsseg("fit", *(f"--config={file}" for file in files), "--print_config")
    assert after.code == 0, after.err
    changed = yaml.safe_load(after.out)
    asked = yaml.safe_load(path.read_text())["model"]["method"]["init_args"]
    method = changed["model"]["method"]["init_args"]
    for key, value in asked.items():  # of a group, the options that are asked for
        found = {k: method[key][k] for k in value} if key == "mixture" else method[key]
        assert key == "encoder" or found == value
    assert all(method[key] == value for key, value in plain["model"]["method"]["init_args"].items() if key not in asked)
    free = {"model": None, "data": None}
    assert plain | free == changed | free
    assert changed["data"] == plain["data"] | (yaml.safe_load(path.read_text()).get("data") or {})


def test_ablations_have_names_of_their_own_in_tables():
    """Else a number of another setting would stand beside them as published."""
    names: dict[str, str] = {}
    for path in (experiment_folder() / "ablations").glob("*.yaml"):
        method = yaml.safe_load(path.read_text())["model"]["method"]
        arguments = {k: v for k, v in method["init_args"].items() if k != "encoder"}
        arguments |= {"mixture": Mixture(**arguments["mixture"])} if "mixture" in arguments else {}
        names[path.stem] = getattr(methods, method["class_path"])(ConvNet(), channels=8, **arguments).name
    assert names.pop("pmm_plus") == names.pop("pmm_k3") == "PMMs+"
    assert names.pop("rpmm_vgg16") == "RPMMs"  # its encoder is another
    assert names.pop("canet_iterative") == "CANet"
    assert len(set(names.values())) == len(names)
    assert all("(" in name for name in names.values())
    beside = {n: published(Setting(name, "ResNet50", "PASCAL-5i", 1, 1), "mean-IoU", None) for n, name in names.items()}
    assert {name: number.value for name, number in beside.items() if number} == {
        "pmm_k1": 53.69, "pmm_k2": 54.41, "pmm_k4": 54.53, "pmm_k5": 54.09, "pmm_gaussian": 54.04,
    }  # fmt: skip


def _small(name: str) -> list[str]:
    """An experiment on the built-in data with a tiny network."""
    return [
        "--config", f"experiments/{name}.yaml", "--data.dataset", "Shapes", "--data.episodes.pairs", "any",
        "--model.method.encoder", "ConvNet", *TINY,
        "--model.method.channels", "8", "--data.images.test_size", "32", "--data.episodes.drop_novel", "false",
    ]  # fmt: skip


@pytest.mark.slow
def test_a_training_as_published_runs_with_its_crop_groups_and_schedule_and_resumes_exactly(fsseg, tmp_path):
    """With a crop that often loses the object, and with dropout."""
    options = [
        *_small("pmm_voc_1shot"),
        "--data.images.augment",
        "[{class_path: fsseg.episodes.legacy_crop.OldRandomResizedCrop, init_args: {scale: [0.01, 0.05]}}]",
    ]
    assert fsseg("fit", *options, "--out", "whole", "--trainer.max_steps=6").code == 0
    assert fsseg("fit", *options, "--out", "half", "--trainer.max_steps=3").code == 0
    ran = fsseg("fit", "--ckpt_path", "half/last.ckpt", "--trainer.max_steps=6")
    assert ran.code == 0, ran.err
    whole, half = (torch.load(tmp_path / run / "last.ckpt", weights_only=True) for run in ("whole", "half"))
    assert all(torch.equal(whole["state_dict"][k], half["state_dict"][k]) for k in whole["state_dict"])
    rates = [[group["lr"] for group in run["optimizer_states"][0]["param_groups"]] for run in (whole, half)]
    assert rates[0] == rates[1] == pytest.approx([3.5e-4 * f * (1 - 7 / 200_001) ** 0.9 for f in (1, 2, 10, 20)])


@pytest.mark.slow
def test_shots_and_ways_of_a_test_are_those_asked_for(fsseg, tmp_path):
    options = [*_small("rpmm_voc_5shot"), "--data.images.augment", "[]", "--trainer.max_steps=1"]
    assert fsseg("fit", *options, "--out", "run").code == 0
    for flags, setting in (
        ((), "1-way 5-shot"),
        (("--data.shot", "1"), "1-way 1-shot"),
        (("--data.test_shot", "2", "--data.way", "2"), "2-way 2-shot"),
    ):
        ran = fsseg("test", "--ckpt_path", "run/last.ckpt", *flags)
        assert ran.code == 0, ran.err
        assert setting in ran.out


@pytest.mark.slow
def test_fit_then_test_writes_what_it_says(fsseg, trained, tmp_path):
    ran = fsseg("test", "--ckpt_path", str(trained), "--out", "result")
    assert ran.code == 0, ran.err
    result = tmp_path / "result"
    for name in ("rows.csv", "table.md", "table.json", "episodes.png", "config.yaml"):
        assert (result / name).is_file()
        assert name == "config.yaml" or f"result/{name}" in ran.out
    rows = list(csv.DictReader((result / "rows.csv").read_text().splitlines()))
    assert len(rows) == 2 * 10 * 2  # runs, episodes, background and class
    table = json.loads((result / "table.json").read_text())
    wanted = {"name": str(trained), "path": str(trained.resolve()), "step": 4, "selection": "last", "imported": ""}
    assert table["checkpoint"] == wanted
    assert f"{trained} (step 4, last)" in ran.out
    assert f"{table['mean_iou']['mean']:.1f} +- {table['mean_iou']['std']:.1f}" in ran.out
    with Image.open(result / "episodes.png") as picture:
        assert min(picture.size) > 200


@pytest.mark.slow
def test_configuration_beside_a_checkpoint_survives_tests(fsseg, trained):
    before = (trained.parent / "config.yaml").read_bytes()
    folders = [fsseg("test", "--ckpt_path", str(trained)).out for _ in range(2)]
    assert f"{trained.parent / 'test'}/rows.csv" in folders[0]
    assert f"{trained.parent / 'test-2'}/rows.csv" in folders[1], "a second test must not overwrite the first"
    assert (trained.parent / "config.yaml").read_bytes() == before
    tables = [(trained.parent / name / "rows.csv").read_bytes() for name in ("test", "test-2")]
    assert tables[0] == tables[1]


@pytest.mark.slow
def test_configuration_inside_a_checkpoint_serves_where_the_file_is_gone(fsseg, trained, tmp_path):
    (tmp_path / "moved.ckpt").write_bytes(trained.read_bytes())
    ran = fsseg("test", "--ckpt_path", "moved.ckpt", "--out", "result")
    assert ran.code == 0, ran.err


@pytest.mark.slow
def test_inference_options_and_shots_may_differ_from_training(fsseg, trained):
    ran = fsseg(
        "test", "--ckpt_path", str(trained), "--model.method.scale", "10", "--data.shot", "2", "--out", "result"
    )
    assert ran.code == 0, ran.err
    assert "1-way 2-shot" in ran.out


def test_a_flag_before_the_configuration_wins_all_the_same(fsseg):
    ran = fsseg("fit", "--data.fold", "2", *QUICKSTART, "--print_config")
    assert yaml.safe_load(ran.out)["data"]["fold"] == 2


@pytest.mark.slow
def test_untrained_is_called_init_and_has_its_own_folder(fsseg, tmp_path):
    ran = fsseg("test", *QUICKSTART, "--untrained")
    assert ran.code == 0, ran.err
    assert "PANet-init" in ran.out
    assert (tmp_path / "runs/quickstart/fold0/test-untrained/table.md").is_file()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("method", "options", "label"),
    [
        ("KernelDensityRatio", (), "kernel density ratio"),
        ("MixtureClassifier", ("--model.method.components", "5"), "mixture classifier (K=5)"),
        ("PMMs", ("--model.method.channels", "8"), "PMMs-init"),
    ],
)
def test_only_methods_that_are_made_for_training_are_named_init(fsseg, method, options, label):
    data = [word for word in QUICKSTART[2:] if word.startswith(("--data", "--protocol", "--trainer"))]
    words = ("--model.method", method, "--model.method.encoder", "ConvNet", *options, "--data.dataset", "Shapes", *data)
    ran = fsseg("test", *words, "--untrained", "--out", "r")
    assert ran.code == 0, ran.err
    assert ran.out.strip().startswith(label)


def test_validate_measures_base_classes(fsseg, trained):
    ran = fsseg("validate", "--ckpt_path", str(trained))
    assert ran.code == 0, ran.err
    assert "base classes" in ran.out
    assert "mean-IoU" in ran.out


@pytest.mark.slow
def test_resumed_training_equals_an_uninterrupted_one(fsseg, tmp_path):
    """Stopped in the middle of an epoch (4 batches): episodes, optimiser and schedule go on where they were."""
    assert fsseg("fit", *QUICKSTART, "--trainer.max_steps", "7", "--out", "whole").code == 0
    assert fsseg("fit", *QUICKSTART, "--trainer.max_steps", "3", "--out", "parts").code == 0
    assert fsseg("fit", "--ckpt_path", "parts/last.ckpt", "--trainer.max_steps", "7").code == 0
    whole, parts = (torch.load(tmp_path / f"{n}/last.ckpt", weights_only=True) for n in ("whole", "parts"))
    assert whole["global_step"] == parts["global_step"] == 7
    for name, tensor in whole["state_dict"].items():
        assert torch.equal(tensor, parts["state_dict"][name]), name


@pytest.mark.slow
def test_encoder_is_called_by_where_its_training_began(fsseg, tmp_path):
    voc = ("--config", "experiments/panet_voc_1shot.yaml", "--data.dataset", "Shapes", "--data.dataset.val", "40")
    tiny = ("--data.images.size", "16", "--data.images.augment", "[]", "--data.episodes.val", "0",
            "--data.loading.workers", "0",
            "--protocol.runs", "1", "--protocol.episodes", "2")  # fmt: skip
    random = ("--model.method.encoder.weights", "none", "--trainer.max_steps", "1", "--out", "run")
    assert fsseg("fit", *voc, *tiny, *random).code == 0
    ran = fsseg("test", *voc, *tiny, "--ckpt_path", "run/last.ckpt")
    assert ran.code == 0, ran.err
    assert "VGG16 (random start)" in ran.out


@pytest.mark.slow
def test_partial_test_is_said_to_be_one(fsseg, trained):
    ran = fsseg("test", "--ckpt_path", str(trained), "--trainer.limit_test_batches", "1", "--out", "part")
    assert "note: only" in ran.out
    assert "classes have queries" not in ran.out
    ran = fsseg("test", "--ckpt_path", str(trained), "--protocol.runs", "1", "--protocol.episodes", "2")
    assert "2 of 5 classes have queries; the mean is over these" in ran.out


@pytest.mark.slow
def test_resume_goes_on_in_the_same_folder(fsseg, tmp_path):
    assert fsseg("fit", *QUICKSTART, "--out", "run").code == 0
    ran = fsseg("fit", "--ckpt_path", "run/last.ckpt", "--trainer.max_steps", "6")
    assert ran.code == 0, ran.err
    assert torch.load(tmp_path / "run/last.ckpt", weights_only=True)["global_step"] == 6
    assert yaml.safe_load((tmp_path / "run/config.yaml").read_text())["trainer"]["max_steps"] == 6


@pytest.mark.slow
def test_runs_never_share_a_folder(fsseg, tmp_path):
    for _ in range(2):
        assert fsseg("fit", *QUICKSTART, "--trainer.max_steps", "1").code == 0
    assert {path.parent.name for path in tmp_path.rglob("last.ckpt")} == {"fold0", "fold0-2"}
    assert "already holds a run" in fsseg("fit", *QUICKSTART, "--out", "runs/quickstart/fold0").line


@pytest.mark.slow
def test_missing_classes_are_refused_by_name_or_skipped_and_said(fsseg, trained):
    dataset = Shapes(size=32, train=200, val=120)
    dataset.open(None)
    images = {dataset.class_name(c): len(dataset.index.images(c, dataset.numbers("val"))) for c in dataset.novel(0)}
    rarest = min(images, key=images.__getitem__)
    assert images[rarest] < max(images.values())
    flags = ("--ckpt_path", str(trained), "--data.shot", str(images[rarest]), "--protocol.episodes", "3", "--out", "r")
    refused = fsseg("test", *flags)
    assert refused.code == 2
    assert f"{rarest} ({images[rarest]})" in refused.line
    ran = fsseg("test", *flags, "--data.episodes.missing_classes", "skip")
    assert ran.code == 0, ran.err
    assert "too few images, left out: " in ran.out
    assert rarest in ran.out.split("left out: ")[1].splitlines()[0]


@pytest.mark.slow
def test_ctrl_c_leaves_a_usable_checkpoint(fsseg, begin, tmp_path):
    command = ["fit", *QUICKSTART, *LONG, "--out", str(tmp_path / "run")]
    process = begin(command)
    logs = tmp_path / "run/logs"
    while process.poll() is None and not list(logs.rglob("metrics.csv")):  # however slow the machine is
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "Traceback" not in err
    step = torch.load(tmp_path / "run/last.ckpt", weights_only=True)["global_step"]
    assert fsseg("fit", "--ckpt_path", "run/last.ckpt", f"--trainer.max_steps={step + 2}").code == 0


@pytest.mark.slow
def test_ctrl_c_in_a_validation_and_in_a_test(trained, begin, tmp_path):
    long = ["--data.episodes.val=1000000", "--trainer.num_sanity_val_steps=0"]
    process = begin(["fit", *QUICKSTART, *long, "--out", str(tmp_path / "run")])
    read_until(process, "training 4/4")
    time.sleep(1)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert torch.load(tmp_path / "run/last.ckpt", weights_only=True)["global_step"] == 4
    options = ["--protocol.episodes=5000", "--out", str(tmp_path / "test")]
    process = begin(["test", "--ckpt_path", str(trained), *options])
    read_until(process, "test ")
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert (process.returncode, err.strip().splitlines()[-1]) == (130, "fsseg: stopped.")
    assert re.search(r"of 10,000 episodes are saved; the same command with --resume --out \S+ resumes there", err)
    (left,) = tmp_path.glob("*test*")
    assert (left.name[0], (left / "rows.part").stat().st_size > 0) == (".", True)


def read_until(process, text):
    for line in process.stderr:
        if text in line:
            return
    raise AssertionError(f"ended without {text!r}")


def test_training_writes_metrics_as_csv(trained):
    metrics = trained.parent / "logs/version_0/metrics.csv"
    assert "val/mean_iou" in metrics.read_text().splitlines()[0]


def test_experiments_hold_only_what_differs():
    for path in map(Path, experiments().values()):
        assert len(path.read_text().splitlines()) < 32, path


def test_an_experiment_is_found_by_its_name(fsseg):
    ran = fsseg("fit", "--config", "rpmm_coco_5shot", "--print_config")
    assert ran.code == 0, ran.err
    assert "class_path: fsseg.methods.RPMMs" in ran.out
