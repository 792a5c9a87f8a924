"""What commands import: the small ones little, and all of them in an order that decides what options mean."""

import subprocess
import sys

import pytest

from fsseg.cli.help import COMMANDS

LARGE = ("torch", "lightning", "torchvision", "torchmetrics", "jsonargparse", "albumentations", "skimage", "scipy",
         "matplotlib", "jaxtyping", "cv2", "wandb", "rich", "jinja2", "timm", "huggingface_hub",
         "safetensors")  # fmt: skip
STARTED = """
import sys
from fsseg.cli import main
code = main(sys.argv[2:])
print("imported", *sorted(set(sys.argv[1].split()) & set(sys.modules)), "code", code)
"""
SMALL = (
    ("--help",),
    ("table", "nowhere"),
    ("compare", "nowhere", "nowhere"),
    ("curves", "nowhere"),
    ("data", "info", "folder", "--root", "nowhere"),
    ("data", "info", "coco", "--help"),
    ("predict", "--treshold", "1"),
    ("zoo", "list"),
    ("zoo", "fetch", "panet", "--index", "nowhere"),
)

CODE = """
import fsseg.datasets, fsseg.episodes, inspect
from lightning import Trainer
print(inspect.signature(Trainer.__init__).parameters["limit_test_batches"].annotation)
"""


def imported(arguments: tuple[str, ...]) -> str:
    """Large libraries that a command has imported when it ends, and its exit code."""
    command = [sys.executable, "-c", STARTED, " ".join(LARGE), *arguments]
    ran = subprocess.run(command, capture_output=True, text=True, check=True)
    return ran.stdout.splitlines()[-1]


@pytest.mark.parametrize("arguments", SMALL, ids=" ".join)
def test_small_commands_import_no_large_library(arguments, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert imported(arguments) == f"imported code {0 if '--help' in arguments else 2}"


@pytest.mark.slow
@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_any_command_imports_no_large_library(command):
    assert imported((*command.split(), "--help")) == "imported code 0"


@pytest.mark.slow
def test_a_typing_error_is_refused_before_torch_once_the_options_are_known(fsseg, no_cache, trained):
    wrong = ("fit", "--config", "experiments/quickstart.yaml", "--data.shto", "5")
    first = fsseg(*wrong)
    assert (first.code, first.line) == (2, "fsseg: no option --data.shto. Did you mean --data.shot?")
    assert not no_cache.exists()
    assert imported(("validate", "--ckpt_path", str(trained))).endswith("code 0")  # a process with a new parser
    assert imported(wrong) == "imported code 2"
    assert fsseg(*wrong).line == first.line


@pytest.mark.slow
def test_a_number_of_batches_stays_a_number_of_batches_after_the_data_sets_are_imported() -> None:
    """With rich imported before Lightning it would be a share: 1 batch becomes 1.0, all of them."""
    ran = subprocess.run([sys.executable, "-W", "ignore", "-c", CODE], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "typing.Union[int, float, NoneType]"
