"""`fsseg export`, on the checkpoint of a tiny training."""

import json
import re
import shutil
from pathlib import Path

import jaxtyping
import pytest

from tests.cli.conftest import small_files


@pytest.fixture
def _unchecked_shapes(monkeypatch):
    """Sizes are symbols while a graph is traced, and no int; the checks are of the tests alone."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@pytest.mark.slow
@pytest.mark.usefixtures("_unchecked_shapes")
def test_a_checkpoint_is_exported(fsseg, trained):
    """As ONNX, and of a segmenter with what it has learnt: tests/test_export.py."""
    shutil.copy(trained, "last.ckpt")
    ran = fsseg("export", "--ckpt_path", "last.ckpt", "--to", "torch", "--size", "48")
    assert ran.code == 0, ran.err
    assert ran.err == ""
    assert ran.out.splitlines()[0].startswith("PANet in export, largest differences")
    assert "encoder.pt2" in ran.out
    assert "way shot queries rows columns" in ran.out
    assert {path.name for path in Path("export").iterdir()} == {
        "encoder.pt2", "learner.pt2", "matcher.pt2", "export.json",
    }  # fmt: skip
    assert json.loads(Path("export/export.json").read_text())["size"] == 48


@pytest.mark.slow
def test_mistakes_are_one_line_and_leave_nothing(fsseg, trained, tmp_path):
    Path("text.ckpt").write_text("no checkpoint")
    Path("full").mkdir()
    Path("full/mine.txt").write_text("keep")
    before = sorted(tmp_path.rglob("*"))
    checkpoint = ("--ckpt_path", str(trained))
    for arguments, said in (
        (("--to", "onnx"), "export needs --ckpt_path FILE and --to onnx or --to torch."),
        (checkpoint, "export needs --ckpt_path FILE and --to onnx or --to torch."),
        ((*checkpoint, "--to", "tensorrt"), "--to tensorrt: one of onnx, torch is needed."),
        (("--ckpt_path", "gone.ckpt", "--to", "torch"), "gone.ckpt: no such file."),
        (("--ckpt_path", "full", "--to", "torch"), "full is a folder"),
        (("--ckpt_path", "text.ckpt", "--to", "torch"), "text.ckpt cannot be read: it is truncated, or neither"),
        ((*checkpoint, "--to", "torch", "--out", "full"), "--out full already holds files. Choose another folder."),
        ((*checkpoint, "--to", "torch", "--out", "text.ckpt/x"), "results cannot be written to text.ckpt"),
        ((*checkpoint, "--to", "torch", "--out", "new", "--size", "8"), "size 8: at least 32 is needed."),
        ((*checkpoint, "--to", "torch", "--out", "new", "--way", "0"), "--way 0: at least 1 is needed."),
        ((*checkpoint, "--to", "torch", "--out", "new", "--shot", "x"), "--shot"),
        ((*checkpoint, "--to", "torch", "--sise", "64"), "no option --sise. Did you mean --size?"),
    ):
        ran = fsseg("export", *arguments)
        assert ran.code == 2, arguments
        assert said in ran.line
        assert len(ran.err.strip().splitlines()) == 1
    assert sorted(tmp_path.rglob("*")) == before
    assert not (trained.parent / "export").exists()


@pytest.mark.slow
@pytest.mark.usefixtures("_unchecked_shapes")
@pytest.mark.parametrize("kind", ["onnx", "torch"])
def test_a_full_disk_is_one_line_and_leaves_nothing(fsseg, trained, tmp_path, kind):
    """Torch's own writer would abort the process."""
    with small_files(5_000):
        ran = fsseg("export", "--ckpt_path", str(trained), "--to", kind, "--out", "graphs", "--size", "48")
    assert ran.code == 1
    assert re.fullmatch(r"fsseg: .*/encoder\.\w+ cannot be written: File too large\. Make room\.", ran.err.strip())
    assert not list(tmp_path.iterdir())
