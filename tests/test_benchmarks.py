"""Scripts of benchmarks/ that need no data still run."""

import importlib
import subprocess
import sys
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parents[1]
GPU = [sys.executable, str(ROOT / "benchmarks/gpu.py")]


@pytest.mark.slow
def test_throughput_of_compiled_methods_with_the_results_of_plain_ones():
    small = ["--device=cpu", "--tiny", "--size=33", "--rounds=1", "--batch=2", "--precisions", "32", "--plain-format"]
    ran = subprocess.run([*GPU, *small, "--backend=eager"], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    head, _, *lines = [[cell.strip() for cell in line.split("|")[1:-1]] for line in ran.stdout.splitlines()[1:]]
    rows = [dict(zip(head, line, strict=True)) for line in lines]
    assert [row["method"] for row in rows] == ["PANet"] * 4 + ["RPMMs (K=1,2)"] * 4
    for row in rows:
        assert float(row["episodes/s"]) > 0
        assert float(row["differs"]) < 1e-5
    # A training step is one graph; a test asks for the sizes of its queries in between, three calls deep.
    assert [row["graphs"] for row in rows if row["compiled"] == "yes"] == ["1", "4", "1", "4"]


@pytest.mark.slow
def test_start_up_of_each_command_beside_the_libraries_it_needs():
    command = [sys.executable, str(ROOT / "benchmarks/startup.py"), "--rounds=1", "--only=small"]
    ran = subprocess.run(command, capture_output=True, text=True, check=True)
    head, _, *rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in ran.stdout.splitlines()]
    assert head == ["start", "baseline", "goal", "of the processor", "of the clock", "seconds"]
    assert {row[0].strip("`") for row in rows} >= {"fsseg table", "fsseg data info", "fsseg fit --help"}
    assert all(float(row[3].split()[0]) > 0 and float(row[5]) > 0 for row in rows)


@pytest.mark.skipif(torch.cuda.is_available(), reason="is about a machine without a GPU")
def test_without_a_gpu_the_script_says_so(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    monkeypatch.setattr(sys, "argv", ["gpu.py"])
    with pytest.raises(SystemExit, match=r"^no GPU here: give --device cpu"):
        importlib.import_module("gpu").main()
