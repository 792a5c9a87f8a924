"""Classes in the working folder: found for the user, never for a stored configuration without FSSEG_TRUST."""

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from fsseg import class_paths
from fsseg.untrusted.configuration import names_own_classes
from tests.cli.conftest import ENVIRONMENT, QUICKSTART

SCRIPT = [sys.executable, "-c", "import sys; sys.path.remove(''); from fsseg.cli import main; sys.exit(main())"]
OWN = "from fsseg.methods import PANet\nfrom beside import SCALE\n\n\nclass Own(PANet):\n    scale_of_file = SCALE\n"
UNANNOTATED = """

class Bare(PANet):
    def __init__(self, encoder, way_of_file=1):
        made = PANet.__mro__[1]
        made.__init__(self, encoder)


class Half(PANet.__mro__[1]):
    def adapt(self, support, mask):
        return ()
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A working folder with an own method, and a Python that searches it only if the code under test says so."""
    (tmp_path / "ownmethod.py").write_text(OWN)
    (tmp_path / "beside.py").write_text("SCALE = 3\n")
    monkeypatch.setattr(sys, "path", [path for path in sys.path if path])
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    for name in ("ownmethod", "beside"):
        sys.modules.pop(name, None)


def fit(fsseg, *more: str):
    return fsseg("fit", *QUICKSTART, "--model.method", "ownmethod.Own", "--trainer.max_steps=1", "--out", "run", *more)


@pytest.mark.slow
def test_an_own_method_is_trained_and_the_printed_command_tests_it(fsseg, folder: Path, monkeypatch) -> None:
    ran = fit(fsseg)
    assert ran.code == 0, ran.err
    following = next(line for line in ran.out.splitlines() if line.startswith("next: "))
    assert following == "next: fsseg test --config run/config.yaml --ckpt_path run/last.ckpt"
    words = following.removeprefix("next: fsseg ").split()
    tested = fsseg(*words, "--protocol.runs=1", "--protocol.episodes=2")
    assert tested.code == 0, tested.err
    monkeypatch.setattr(sys, "path", [path for path in sys.path if path != str(folder)])
    stored = fsseg("test", "--ckpt_path", "run/last.ckpt")
    assert (stored.code, "set FSSEG_TRUST=ownmethod" in stored.line) == (2, True)
    assert str(folder) not in sys.path
    monkeypatch.setenv("FSSEG_TRUST", "ownmethod")
    del sys.modules["ownmethod"]
    trusted = fsseg("test", "--ckpt_path", "run/last.ckpt", "--protocol.runs=1", "--protocol.episodes=2")
    assert trusted.code == 0, trusted.err


@pytest.mark.slow
def test_a_process_finds_the_own_method_and_no_file_hides_a_library(folder: Path) -> None:
    """Among the files are one of an optional library that Lightning looks for, and the name of a library in use."""
    for name in ("numpy", "torch", "lightning", "comet_ml", "yaml"):
        (folder / f"{name}.py").write_text(f"open('{name}-ran', 'w').close()\nraise SystemExit('hidden')\n")
    words = ["fit", *QUICKSTART, "--trainer.max_steps=1", "--out"]
    for out, method in (("plain", []), ("own", ["--model.method", "ownmethod.Own"])):
        ran = subprocess.run(
            [*SCRIPT, *words, out, *method], cwd=folder, env=ENVIRONMENT, capture_output=True, text=True
        )
        assert ran.returncode == 0, ran.stderr
        assert not list(folder.glob("*-ran"))


def test_a_class_of_no_file_does_not_open_the_folder(fsseg, folder: Path) -> None:
    ran = fsseg("fit", *QUICKSTART, "--model.method", "nowhere.Own", "--out", "run")
    assert ran.line == "fsseg: --model.method: nowhere.Own cannot be imported: No module named 'nowhere'."
    assert str(folder) not in sys.path


def test_a_file_with_a_library_s_name_is_explained(fsseg, folder: Path) -> None:
    shutil.copy(folder / "ownmethod.py", folder / "yaml.py")
    ran = fsseg("fit", *QUICKSTART, "--model.method", "yaml.Own", "--out", "run")
    assert ran.line.endswith("Python's or a library's module yaml hides your yaml; rename yours.")


def test_the_folder_comes_last_and_once(folder: Path) -> None:
    for _ in range(2):
        class_paths.find_here("ownmethod.Own", folder)
    assert sys.path[-1] == str(folder)
    assert sys.path.count(str(folder)) == 1


@pytest.mark.parametrize(
    ("path", "own"), [("fsseg.methods.PANet", False), ("mine.Net", True), ("fsseg.methodsother.X", True)]
)
def test_own_classes_are_known_at_any_depth(path: str, own: bool) -> None:
    config = {"model": {"method": {"class_path": "fsseg.methods.PANet", "init_args": {"x": [{"class_path": path}]}}}}
    assert names_own_classes(config) is own


@pytest.mark.slow
def test_an_encoder_without_annotation_is_explained(folder: Path) -> None:
    """In a process without the tests' checks of types, which refuse the argument first."""
    (folder / "ownmethod.py").write_text(OWN + UNANNOTATED)
    words = ["fit", *QUICKSTART[:2], "--model.method=ownmethod.Bare", "--model.method.encoder=ConvNet"]
    ran = subprocess.run([*SCRIPT, *words], cwd=folder, env=ENVIRONMENT, capture_output=True, text=True)
    assert ran.returncode == 2
    assert "Annotate encoder: Encoder in the constructor" in ran.stderr


def test_an_incomplete_method_is_explained(fsseg, folder: Path) -> None:
    (folder / "ownmethod.py").write_text(OWN + UNANNOTATED)
    ran = fsseg("fit", *QUICKSTART[:2], "--model.method", "ownmethod.Half")
    assert ran.line == ("fsseg: --model.method: ownmethod.Half cannot be built, because it lacks losses, predict.")


def test_help_lists_the_classes_of_an_option(fsseg) -> None:
    page = fsseg("fit", "--model.method.help").out
    assert {line.split()[0] for line in page.splitlines() if line.startswith("  ")} >= {"PANet", "RPMMs", "CANet"}
    assert "RPMMs" in fsseg("fit", "--config", "quickstart", "--model.method.help").out
    assert "dinov2_s" in fsseg("fit", "--model.method.encoder.help").out
    assert "Shapes" in fsseg("fit", "--data.dataset.help").out


def test_help_of_an_encoder_needs_no_method(fsseg) -> None:
    assert "--encoder.architecture" in fsseg("fit", "--model.method.encoder.help", "ResNet").out


@pytest.mark.parametrize(
    "method", [[], ["--model.method", "RPMMs"], ["--model.method", "RPMMs", "--model.method.encoder", "ConvNet"]]
)
def test_a_mistyped_option_of_an_encoder_is_the_encoder_s(fsseg, method: list[str]) -> None:
    ran = fsseg("fit", "--config", "quickstart", *method, "--model.method.encoder.widhts", "[8]")
    assert ran.line.startswith("fsseg: ConvNet has no option widhts. Did you mean widths?")
