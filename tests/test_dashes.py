"""The library names its arguments, e.g. `data.way`; only the command line writes --data.way."""

import ast
import re
from pathlib import Path

import pytest

from fsseg.cli.dashes import with_dashes

PACKAGE = Path(__file__).parents[1] / "fsseg"
FILES = sorted(PACKAGE.rglob("*.py"))
# Files outside of cli/ that read or write words of a command line.
COMMAND_LINE = {
    "experiment/checks.py", "experiment/class_help.py", "experiment/commands.py", "experiment/configuration.py",
    "experiment/option_names.py", "experiment/protocol_options.py",
    "experiment/suite.py", "experiment/replay.py",
    "experiment/segmenter_options.py",
    "jobs/plan.py",
    "zoo/readme.py",  # commands for a reader
    "runs/prediction_files.py",  # of `fsseg predict` alone
}  # fmt: skip
OPTION = re.compile(r"--(data|model|trainer|protocol|checkpoint)\.")


def dashed(source: str) -> list[int]:
    """Lines of the texts that name an option with its dashes, also of docstrings and of parts of f-strings."""
    nodes = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Constant)]
    return sorted({node.lineno for node in nodes if isinstance(node.value, str) and OPTION.search(node.value)})


def name_of(path: Path) -> str:
    return path.relative_to(PACKAGE).as_posix()


def test_options_are_found_in_every_kind_of_text() -> None:
    source = '"""A --data.way."""\n\n# --data.way\nf"--data.{name}", "`data.way`"\n"a" "--model.x"\n'
    assert dashed(source) == [1, 4, 5]


@pytest.mark.parametrize("path", [path for path in FILES if not name_of(path).startswith("cli/")], ids=name_of)
def test_texts_of_the_library_name_arguments(path: Path) -> None:
    lines = dashed(path.read_text(encoding="utf-8"))
    assert bool(lines) == (name_of(path) in COMMAND_LINE), f"lines {lines}: write `data.way` in place of --data.way"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("`data.way` 9: a fold tests on 5.", "--data.way 9: a fold tests on 5."),
        ("no option `protocol.episode`. Did you mean `protocol.episodes`?",
         "no option --protocol.episode. Did you mean --protocol.episodes?"),
        ("`trainer`: no. `model.method.encoder.options.drop-path` 2.",
         "--trainer: no. --model.method.encoder.options.drop-path 2."),
        ("`resume` needs `out` DIR, for `fit` and `test`.", "--resume needs --out DIR, for `fit` and `test`."),
        ("a is written by `fsseg fit --out a`: choose `all`, a `dataset` or `outside`.",
         "a is written by `fsseg fit --out a`: choose `all`, a `dataset` or `outside`."),
        ("`checkpoint.filename`, `ckpt_path`, `untrained`, `config`, `seed_everything`; data.way, ``",
         "--checkpoint.filename, --ckpt_path, --untrained, --config, --seed_everything; data.way, ``"),
    ],
)  # fmt: skip
def test_only_names_of_options_get_dashes(text: str, shown: str) -> None:
    assert with_dashes(text) == shown
