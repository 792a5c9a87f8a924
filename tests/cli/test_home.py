"""What the environment of a command may be: SLURM's variables, ~ in paths, no home, a backend of matplotlib's."""

import ast
import os
import subprocess
import sys
from argparse import Namespace
from importlib.util import find_spec
from pathlib import Path

import pytest

from fsseg.disk_cache import cache_folder
from fsseg.errors import FssegError
from fsseg.experiment.home_paths import at_home, expand_configuration
from fsseg.runs.ranks import settle_slurm
from tests.cli.conftest import QUICKSTART


@pytest.fixture
def slurm(monkeypatch):
    def variables(**values):
        for name in [name for name in os.environ if name.startswith("SLURM_")]:
            monkeypatch.delenv(name)
        for name, value in values.items():
            monkeypatch.setenv(f"SLURM_{name}", value)

    return variables


@pytest.mark.slow
def test_a_batch_script_without_srun_runs_one_process(fsseg, slurm):
    slurm(JOB_ID="7", JOB_NAME="train", NTASKS="4", NODELIST="localhost")
    ran = fsseg("test", *QUICKSTART, "--untrained", "--out", "tested")
    assert ran.code == 0, ran.err


@pytest.mark.parametrize(("tasks", "each"), [("4", "4"), ("2(x2)", "2")])
def test_tasks_of_srun_are_as_many_on_each_node(slurm, tasks, each):
    slurm(NTASKS="4", STEP_ID="0", TASKS_PER_NODE=tasks)
    settle_slurm()
    assert (os.environ["SLURM_NTASKS_PER_NODE"], os.environ["SLURM_NTASKS"]) == (each, "4")


def test_nodes_with_different_numbers_of_tasks_are_refused(slurm):
    slurm(NTASKS="3", STEP_ID="0", TASKS_PER_NODE="2,1")
    with pytest.raises(FssegError, match="SLURM runs 2,1 tasks"):
        settle_slurm()


def test_a_tilde_is_the_home_folder(monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    assert [at_home(word) for word in ("~/set", "--root=~/set", "~", "--a=b~/c", "a~/b", "--weights=~x/y")] == [
        "/home/me/set", "--root=/home/me/set", "/home/me", "--a=b~/c", "a~/b", "--weights=~x/y",
    ]  # fmt: skip
    config = Namespace(root="~/a", inner=Namespace(files=["~/b", 1, {"c": "~/c"}]), none=None)
    expand_configuration(config)
    assert config == Namespace(
        root="/home/me/a", inner=Namespace(files=["/home/me/b", 1, {"c": "/home/me/c"}]), none=None
    )


@pytest.mark.parametrize("given", ["option", "variable", "yaml"])
@pytest.mark.slow
def test_a_data_folder_at_home_is_found(fsseg, own_maps, tmp_path, monkeypatch, given):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "own.yaml").write_text("data: {root: ~/own_maps}\n")
    monkeypatch.setenv("FSSEG_DATA_ROOT", "~/own_maps" if given == "variable" else "")
    root = {"option": ["--data.root=~/own_maps"], "yaml": ["--config", "own.yaml"], "variable": []}[given]
    ran = fsseg("fit", *QUICKSTART[:2], *root, "--data.dataset=Folder", "--trainer.max_steps=1",
                "--data.images.size=16",
                "--data.loading.workers=0", "--data.episodes.val=0", "--data.batch_size=1",
                "--trainer.accelerator=cpu", "--out", "run")  # fmt: skip
    assert ran.code == 0, ran.err


def test_without_a_home_caches_lie_in_a_folder_of_ones_own(monkeypatch):
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)  # as where HOME is unset and the user has no entry
    place = cache_folder()
    assert (place.is_absolute(), place.stat().st_mode & 0o077) == (True, 0)


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["module://matplotlib_inline.backend_inline", "GTK9", "pdf"])
def test_a_backend_that_matplotlib_does_not_know_is_no_matter_and_one_that_it_knows_stays(backend):
    code = (
        "import fsseg.metrics, matplotlib as m, os; print(m.get_backend(auto_select=False), os.environ['MPLBACKEND'])"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"MPLBACKEND": backend},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    known = backend == "pdf" or (backend.startswith("module") and find_spec("matplotlib_inline") is not None)
    assert ran.stdout.split() == [backend if known else "None", backend]


def test_nothing_of_fsseg_draws_with_pyplot():
    package = Path(__file__).parents[2] / "fsseg"
    assert not [path for path in package.rglob("*.py") if "pyplot" in path.read_text(encoding="utf-8")]


@pytest.mark.slow
def test_output_lacks_characters_that_its_encoding_lacks():
    code = "import sys; from fsseg.cli import main; sys.argv = ['fsseg', '--help']; import fsseg.cli as cli\n"
    code += "cli.overview = lambda: 'bars \\u2588\\u2588'; sys.exit(main())"
    ran = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | {"PYTHONIOENCODING": "latin-1"}, capture_output=True, check=False
    )
    assert (ran.returncode, ran.stdout) == (0, b"bars ??\n"), ran.stderr


@pytest.mark.slow
def test_a_reader_that_has_gone_is_no_fault_of_the_disk():
    """As behind ``| head``: no line, and an exit code that a shell with pipefail sees."""
    code = "import fsseg.cli as cli; from fsseg.runs.library_errors import plain_errors\n"
    code += "def say(_):\n with plain_errors(): print('x' * 10**6, flush=True)\n"
    code += "import sys; cli._dispatch = say; sys.exit(cli.main([]))"
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as gone:
        ran = subprocess.run([sys.executable, "-c", code], stdout=gone, stderr=subprocess.PIPE, text=True, check=False)
    assert (ran.returncode, ran.stderr) == (141, "")


@pytest.mark.slow
def test_text_files_are_utf_8_whatever_the_locale():
    """Where nothing is said, Python reads and writes text as the locale has it."""
    for path in (Path(__file__).parents[2] / "fsseg").rglob("*.py"):
        for call in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute) and call.func.attr == "read_text":
                assert "encoding" in [word.arg for word in call.keywords], f"{path}:{call.lineno}"
