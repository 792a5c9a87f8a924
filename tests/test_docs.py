"""What README and docs show works: every Python block runs, every command parses."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from fsseg.cli import main

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def blocks(language: str) -> list:
    found = []
    for page in PAGES:
        texts = re.findall(rf"```{language}\n(.*?)```", page.read_text(), flags=re.DOTALL)
        found += [pytest.param(text, id=f"{page.stem}-{i}") for i, text in enumerate(texts)]
    return found


def commands() -> list[str]:
    """Lines of shell blocks, and commands between backticks in tables."""
    lines = [line for block in blocks("sh") for line in block.values[0].splitlines()]
    lines += [code for page in PAGES for code in re.findall(r"\| `(fsseg [^`]+)`", page.read_text())]
    return sorted({line.split("#")[0].strip() for line in lines if line.startswith("fsseg ")})


@pytest.mark.parametrize("code", blocks("python"))
def test_python_block_runs(code, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    exec(compile(code, "docs", "exec"), {"__name__": "docs"})


@pytest.mark.parametrize("text", blocks("yaml"))
def test_yaml_block_is_yaml(text):
    assert isinstance(yaml.safe_load(text), dict)


@pytest.mark.parametrize(
    "command",
    [c for c in commands() if "--ckpt_path" not in c and "--model.method.help" not in c and "fsseg data" not in c],
)
def test_command_parses(command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    arguments = [word for word in shlex.split(command)[1:] if word != "--print_config"]
    assert main([*arguments, "--print_config"]) == 0


def test_links_lead_somewhere():
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
            if not target.startswith("http"):
                assert (page.parent / target).exists(), f"{page.name}: {target}"


@pytest.mark.slow
def test_method_help(tmp_path):
    ran = subprocess.run(
        [sys.executable, "-m", "fsseg", "fit", "--model.method.help", "PANet"],
        capture_output=True, text=True, cwd=tmp_path, check=False,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    assert "factor of the cosine" in ran.stdout
