"""The site of the docs: it builds without a warning, and its reference has all of the package and the command line."""

import os
import re
import subprocess
import sys
from html import unescape
from pathlib import Path

import pytest

from fsseg.cli.help import COMMANDS
from tests.conftest import needs

ROOT = Path(__file__).parents[1]
API = "reference/api"


def text_of(page: Path) -> str:
    return unescape(re.sub(r"<[^>]+>", "", page.read_text(encoding="utf-8")))


@pytest.mark.slow
def test_the_site_builds_and_its_reference_is_the_package(tmp_path):
    needs("mkdocs", "docs")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "-f", "docs/site/mkdocs.yml", "-d", str(tmp_path)]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    built = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=environment, check=False)
    assert built.returncode == 0, built.stderr
    modules = [path.relative_to(ROOT) for path in (ROOT / "fsseg").rglob("*.py")]
    wanted = {f"{API}/{path.with_suffix('.html').as_posix().replace('__init__', 'index')}" for path in modules
              if "cli" not in path.parts and path.name != "__main__.py"}  # fmt: skip
    wanted |= {f"reference/commands/{name.replace(' ', '-')}.html" for name in COMMANDS}
    wanted |= {f"{path.stem}.html" for path in (ROOT / "docs").glob("*.md")}
    made = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.html")}
    assert wanted <= made, sorted(wanted - made)
    assert "weight of the alignment loss" in text_of(tmp_path / API / "fsseg/methods/panet.html")
    options = text_of(tmp_path / "reference/configuration.html")
    assert {"align_weight", "optimizer", "batch_size", "evaluate_at", "weights"} <= set(re.findall(r"\w+", options))
    for page in tmp_path.rglob("*.html"):  # the pages fetch nothing from elsewhere
        assert not re.search(r"<(?:script|img|link)[^>]+(?:src|href)=\"?https?:", page.read_text(encoding="utf-8")), (
            page
        )
