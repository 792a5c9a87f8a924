"""Sweep files and their points."""

import json
from collections import Counter
from pathlib import Path

import jsonschema
import pytest
import yaml

from fsseg.errors import FssegError
from fsseg.jobs.sweep import read_sweep

SCHEMA = json.loads((Path(__file__).parent / "sweeps/schema.json").read_text())
SWEEPS = sorted((Path(__file__).parents[2] / "experiments/sweeps").glob("*.yaml"))
HEAD = """
method: random
metric: {name: val/mean_iou, goal: maximize}
command: ["${env}", fsseg, fit, "${args}"]
"""


def validate(content: dict) -> None:
    jsonschema.validate(content, SCHEMA, jsonschema.Draft7Validator, format_checker=jsonschema.FormatChecker())


def sweep_of(tmp_path, text: str):
    path = tmp_path / "sweep.yaml"
    path.write_text(text)
    validate(yaml.safe_load(text))
    return read_sweep(path)


def drawn(tmp_path, parameter: str, count: int = 400) -> list:
    sweep = sweep_of(tmp_path, f"{HEAD}parameters: {{x: {parameter}}}")
    return [point["x"] for point in sweep.points(count, seed=0)]


@pytest.mark.parametrize("path", SWEEPS, ids=lambda path: path.stem)
def test_wandb_takes_the_sweep(path):
    content = yaml.safe_load(path.read_text())
    validate(content)
    assert content["metric"] == {"name": "val/mean_iou", "goal": "maximize"}
    header = "\n".join(line for line in path.read_text().splitlines() if line.startswith("#"))
    assert f"wandb sweep experiments/sweeps/{path.name}" in header
    assert f"fsseg sweep experiments/sweeps/{path.name} --local" in header
    assert f"{len(read_sweep(path).points(None, 0))} trainings" in header


@pytest.mark.parametrize(
    "change",
    [
        {"method": "gird"},
        {"metric": {"name": "val/mean_iou", "goal": "most"}},
        {"parameters": {}},
        {"parameters": {"model.method.scale": {"values": []}}},
        {"parameters": {"model.method.scale": {"value": 1, "min": 0}}},
        {"parameters": {"model.method.scale": {"distribution": "log_uniform_values", "min": 0, "max": 1}}},
        {"parameters": {"--model.method.scale": {"values": [1]}}},
        {"steps": 3},
        {"run_cap": 0},
    ],
)
def test_the_schema_refuses_what_is_wrong(change):
    with pytest.raises(jsonschema.ValidationError):
        validate({**yaml.safe_load(SWEEPS[0].read_text()), **change})


def test_a_grid_is_all_combinations_in_order(tmp_path):
    text = HEAD.replace("random", "grid") + "parameters: {a: {values: [1, 2]}, b: {value: x}, c: {min: 3, max: 5}}"
    sweep = sweep_of(tmp_path, text)
    points = sweep.points(None, 0)
    assert [tuple(point.values()) for point in points] == [(a, "x", c) for a in (1, 2) for c in (3, 4, 5)]
    assert sweep.points(2, 0) == points[:2]
    assert sweep.arguments(points[0]) == ["fit", "--a=1", "--b=x", "--c=3"]


def test_points_are_a_function_of_seed_and_number(tmp_path):
    sweep = sweep_of(tmp_path, HEAD + "run_cap: 3\nparameters: {a: {min: 0.0, max: 1.0}, b: {values: [1, 2, 3]}}")
    assert sweep.points(9, 7)[:3] == sweep.points(None, 7)
    assert sweep.points(3, 7) != sweep.points(3, 8)


def test_distributions(tmp_path):
    logs = sorted(drawn(tmp_path, "{distribution: log_uniform_values, min: 0.0001, max: 0.01}"))
    assert 0.0001 <= logs[0] < logs[-1] <= 0.01
    assert logs[200] == pytest.approx(0.001, rel=0.3)
    assert set(drawn(tmp_path, "{min: 1, max: 3}")) == {1, 2, 3}
    assert set(drawn(tmp_path, "{distribution: q_uniform, min: 0.1, max: 0.4, q: 0.1}")) == {0.1, 0.2, 0.3, 0.4}
    assert set(drawn(tmp_path, "{distribution: q_uniform, min: 0, max: 8, q: 4}")) == {0, 4, 8}
    normal = drawn(tmp_path, "{distribution: normal, mu: 5, sigma: 0.1}")
    assert sum(normal) / 400 == pytest.approx(5, abs=0.02)
    assert sum(drawn(tmp_path, "{min: 0.0, max: 2.0}")) / 400 == pytest.approx(1, abs=0.1)
    shares = Counter(drawn(tmp_path, "{values: [a, b], probabilities: [0.9, 0.1]}"))
    assert shares["a"] == pytest.approx(360, abs=20)
    assert set(drawn(tmp_path, "{value: null}", 2)) == {None}


@pytest.mark.parametrize(
    ("parameters", "said"),
    [
        ("{x: {distribution: beta, a: 1, b: 2}}", "distribution beta needs W&B's server; here: constant, cat"),
        ("{x: {distribution: log_uniform_values, min: 1e-4, max: 1e-2}}", "'1e-4': a number is needed"),
        ("{x: {min: 2, max: 1}}", "x: min 2 must be below max 1"),
        ("{x: {values: [1], q: 3}}", "takes values and maybe probabilities; given are values, q"),
        ("{x: {values: [1, 2], probabilities: [0.5]}}", "x: probabilities: one per value, of sum 1, are needed"),
        ("{x: {parameters: {y: {value: 1}}}}", "x: `values: [...]`, `value: ...`, or `min` and `max` are needed"),
        ("{x: 3}", "x: `values: [...]`"),
        ("{x: {distribution: log_uniform_values, min: 0, max: 1}}", "needs a min above 0"),
    ],
)  # fmt: skip
def test_a_wrong_parameter_is_one_line(tmp_path, parameters, said):
    path = tmp_path / "sweep.yaml"
    path.write_text(f"{HEAD}parameters: {parameters}")
    with pytest.raises(FssegError, match=r"^x: ") as refused:
        read_sweep(path)
    assert said in str(refused.value)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("random", "bayes", "method bayes needs W&B's server: wandb sweep"),
        ("maximize", "most", "goal most: maximize or minimize is needed"),
        ("name: val/mean_iou, ", "", "`metric: {name: val/mean_iou, goal: maximize}` is needed"),
        ('fsseg, fit, "${args}"', "python, train.py", "`command: [${env}, fsseg, fit, --config, FILE, ${args}]`"),
        ("method", "- method", "cannot be read as YAML"),
    ],
)  # fmt: skip
def test_a_wrong_file_is_one_line(tmp_path, old, new, said):
    path = tmp_path / "sweep.yaml"
    path.write_text(HEAD.replace(old, new) + "parameters: {x: {value: 1}}")
    with pytest.raises(FssegError) as refused:
        read_sweep(path)
    assert said in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_random_sweep_needs_an_end_and_a_grid_needs_values(tmp_path):
    with pytest.raises(FssegError, match="give --count N, or `run_cap: N` in the file"):
        sweep_of(tmp_path, HEAD + "parameters: {x: {min: 0.0, max: 1.0}}").points(None, 0)
    with pytest.raises(FssegError, match="x: a grid needs `values`, or whole numbers"):
        sweep_of(tmp_path, HEAD.replace("random", "grid") + "parameters: {x: {min: 0.0, max: 1.0}}").points(None, 0)
