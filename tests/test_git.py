"""The git commit in the record of a training, beside what git itself says."""

import json
import subprocess
from pathlib import Path

import pytest

from fsseg.cli import main
from fsseg.runs.git import commit, commit_of_package


def git(folder: Path, *words: str) -> str:
    who = ("-c", "user.name=A", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false")
    return subprocess.run(["git", *who, *words], cwd=folder, capture_output=True, text=True, check=True).stdout.strip()


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    git(tmp_path, "init", "-q")
    (tmp_path / "mine.py").write_text("one = 1\n")
    git(tmp_path, "add", "mine.py")
    git(tmp_path, "commit", "-q", "-m", "One")
    return tmp_path


def test_the_commit_and_changes_are_gits(repository: Path) -> None:
    sha = git(repository, "rev-parse", "HEAD")
    (repository / "runs").mkdir()
    (repository / "runs/new.txt").write_text("not tracked\n")
    assert commit(repository) == commit(repository / "runs") == sha
    (repository / "mine.py").write_text("one = 2\n")
    assert commit(repository) == f"{sha}+changes"


def test_without_a_commit_it_is_empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert commit(tmp_path) == commit(tmp_path / "missing") == ""
    git(tmp_path, "init", "-q")
    assert commit(tmp_path) == ""
    monkeypatch.setenv("PATH", str(tmp_path))
    assert commit(tmp_path) == ""


def test_an_installed_package_has_no_commit_of_the_repository_around_it(repository: Path) -> None:
    installed, checkout = repository / ".venv/lib/fsseg", repository / "fsseg"
    for folder in (installed, checkout):
        folder.mkdir(parents=True)
    assert commit_of_package(installed) == ""
    assert commit_of_package(checkout) == commit(repository) != ""


def test_a_repository_cannot_start_its_own_program(repository: Path) -> None:
    program = repository / "started.sh"
    program.write_text(f"#!/bin/sh\ntouch {repository}/started\n")
    program.chmod(0o755)
    git(repository, "config", "core.fsmonitor", str(program))
    assert commit(repository)
    assert not (repository / "started").exists()


@pytest.mark.slow
def test_a_training_records_the_commit_of_its_working_folder(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(repository)
    words = ["--trainer.max_steps=2", "--data.loading.workers=0", "--data.episodes.val=0", "--trainer.accelerator=cpu"]
    assert main(["fit", "--config", "quickstart", *words, "--out", "run"]) == 0
    assert json.loads((repository / "run/run.json").read_text())["commit"] == git(repository, "rev-parse", "HEAD")
