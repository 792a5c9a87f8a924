"""Sweep files in W&B's format, and the points of grid and random sweeps, which need no server.

https://docs.wandb.ai/models/sweeps/sweep-config-keys describes the format. Point ``n`` of a random sweep is a pure
function of ``(seed, n)``, so that a sweep can be stopped, resumed and extended.
"""

import itertools
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from fsseg.errors import FssegError
from fsseg.untrusted.text import is_count, is_number, load_yaml

SweepPoint = dict[str, Any]  # value by option

_DISTRIBUTIONS = {
    "constant": ("value",),
    "categorical": ("values",),
    "categorical_w_probabilities": ("values", "probabilities"),
    "uniform": ("min", "max"),
    "int_uniform": ("min", "max"),
    "q_uniform": ("min", "max"),
    "log_uniform_values": ("min", "max"),
    "normal": (),
}
_OPTIONAL = {"categorical": {"probabilities"}, "q_uniform": {"q"}, "normal": {"mu", "sigma"}}
_MOST = 100_000  # largest number of points, so that a sweep fits into memory
_LARGEST, _SMALLEST = 1e15, 1e-12  # largest absolute value, below which floats have all whole numbers; smallest step
_DROPPED = ("${env}", "${interpreter}")  # words of a command that only W&B needs


@dataclass(frozen=True)
class Sweep:
    """A sweep file.

    Attributes:
        method: ``grid``: all combinations; ``random``: random draws.
        metric: name of the metric that ranks the points.
        goal: whether larger or smaller values are better.
        parameters: distribution of each option.
        command: words after ``fsseg``, with ``${args}`` in the place of a point's options.
        cap: number of points given by the file, ``run_cap``.
        left_out: keys of the file that need W&B's server and have no effect here.
    """

    method: Literal["grid", "random"]
    metric: str
    goal: Literal["maximize", "minimize"]
    parameters: dict[str, dict[str, Any]]
    command: tuple[str, ...]
    cap: int | None = None
    left_out: tuple[str, ...] = ()

    def arguments(self, point: SweepPoint) -> list[str]:
        """Words after ``fsseg`` for a point, with options in W&B's form."""
        options = [f"--{name}={'null' if value is None else value}" for name, value in point.items()]
        return [word for given in self.command for word in (options if given == "${args}" else [given])]

    def points(self, count: int | None, seed: int) -> list[SweepPoint]:
        """Points of the sweep.

        Args:
            count: number of points; None for the file's ``run_cap``, or for all points of a grid.
            seed: seed of random points.

        Raises:
            FssegError: the number of random points is missing, there are too many points, or a grid has a range.
        """
        count = self.cap if count is None else count
        if self.method == "grid":
            columns = [self._listed(name) for name in self.parameters]
            if math.prod(map(len, columns)) > _MOST and (count is None or count > _MOST):
                raise FssegError(f"the grid has more than {_MOST:,} points: remove values, or give --count N.")
            every = (dict(zip(self.parameters, values, strict=True)) for values in itertools.product(*columns))
            return list(itertools.islice(every, count))
        if count is not None and count > _MOST:
            raise FssegError(f"--count {count}: at most {_MOST:,} is needed.")
        if count is None:
            raise FssegError("a random sweep needs a number of points: give --count N, or `run_cap: N` in the file.")
        return [self._drawn(np.random.default_rng([seed, number])) for number in range(count)]

    def _listed(self, name: str) -> list[Any]:
        given = self.parameters[name]
        if given["distribution"] == "int_uniform":
            if given["max"] - given["min"] >= _MOST:
                raise FssegError(f"{name}: a grid over more than {_MOST:,} numbers: give `values`.")
            return list(range(given["min"], given["max"] + 1))
        if not {"value", "values"} & given.keys():
            raise FssegError(f"{name}: a grid needs `values`, or whole numbers from `min` to `max`.")
        return list(given["values"]) if "values" in given else [given["value"]]

    def _drawn(self, random: np.random.Generator) -> SweepPoint:
        return {name: _draw(given, random) for name, given in self.parameters.items()}


def _draw(given: dict[str, Any], random: np.random.Generator) -> Any:
    """Draw a value from a checked distribution."""
    match given["distribution"]:
        case "constant":
            return given["value"]
        case "categorical" | "categorical_w_probabilities":
            return given["values"][int(random.choice(len(given["values"]), p=given.get("probabilities")))]
        case "int_uniform":
            return int(random.integers(given["min"], given["max"], endpoint=True))
        case "log_uniform_values":
            return float(np.exp(random.uniform(np.log(given["min"]), np.log(given["max"]))))
        case "normal":
            return float(random.normal(given.get("mu", 0.0), given.get("sigma", 1.0)))
    value = random.uniform(given["min"], given["max"])
    if given["distribution"] == "q_uniform":
        q = given.get("q", 1)
        value = round(value / q) * q
        return int(value) if isinstance(q, int) else float(f"{value:.12g}")  # 0.3, not 0.30000000000000004
    return float(value)


def read_sweep(path: Path) -> Sweep:
    """Read a sweep file.

    Raises:
        FssegError: the file is no sweep, or the sweep needs W&B's server.
    """
    try:
        content = load_yaml(path.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise FssegError(f"{path} cannot be read as YAML: {' '.join(str(error).split())}.") from error
    if not isinstance(content, dict) or not isinstance(content.get("parameters"), dict):
        raise FssegError(f"{path} is no sweep: `method` and `parameters` are needed; see experiments/sweeps/.")
    method, metric = content.get("method"), content.get("metric") or {}
    if method not in ("grid", "random"):
        raise FssegError(f"method {method} needs W&B's server: wandb sweep {path}; grid and random run here.")
    if not isinstance(metric, dict) or not isinstance(metric.get("name"), str):
        raise FssegError(f"{path}: `metric: {{name: val/mean_iou, goal: maximize}}` is needed to compare points.")
    goal = metric.get("goal", "minimize")  # W&B's default
    if goal not in ("maximize", "minimize"):
        raise FssegError(f"{path}: goal {goal}: maximize or minimize is needed.")
    cap = content.get("run_cap")
    if cap is not None and not (is_count(cap, 1) and cap <= _MOST):
        raise FssegError(f"{path}: run_cap {cap}: a number from 1 to {_MOST:,} is needed.")
    return Sweep(
        method,
        str(metric["name"]),
        goal,
        {str(name): _checked(str(name), given) for name, given in content["parameters"].items()},
        _command(path, content),
        cap,
        tuple(key for key in ("early_terminate",) if key in content),
    )


def _command(path: Path, content: dict[str, Any]) -> tuple[str, ...]:
    """The command's words after ``fsseg``."""
    default = ["${env}", "${interpreter}", "${program}", "${args}"]
    listed = content.get("command", default)
    listed = listed if isinstance(listed, list) and all(isinstance(word, str) for word in listed) else []
    given = [content.get("program", "") if w == "${program}" else w for w in listed]
    words = [str(word) for word in given if word not in _DROPPED]
    if words[:2] != ["fsseg", "fit"] or words.count("${args}") != 1:
        raise FssegError(
            f"{path}: `command: [${{env}}, fsseg, fit, --config, FILE, ${{args}}]` is needed; its own is {words}."
        )
    return tuple(words[1:])


def _checked(name: str, given: Any) -> dict[str, Any]:
    """A parameter with its distribution, which is inferred from the other keys as in W&B.

    Raises:
        FssegError: the distribution needs W&B's server, or the keys do not fit the distribution.
    """
    if not isinstance(given, dict) or "parameters" in given:
        raise FssegError(f"{name}: `values: [...]`, `value: ...`, or `min` and `max` are needed.")
    kind = given.get("distribution") or _inferred(given)
    if not isinstance(kind, str) or kind not in _DISTRIBUTIONS:
        raise FssegError(
            f"{name}: distribution {kind} needs W&B's server; here: {', '.join(_DISTRIBUTIONS)}."
            if kind
            else f"{name}: `values: [...]`, `value: ...`, or `min` and `max` are needed."
        )
    needed, known = set(_DISTRIBUTIONS[kind]), {"distribution", *_OPTIONAL.get(kind, ())}
    if not needed <= given.keys() <= needed | known:
        wanted = " and ".join([*_DISTRIBUTIONS[kind], *(f"maybe {key}" for key in sorted(known - {"distribution"}))])
        raise FssegError(f"{name}: distribution {kind} takes {wanted}; given are {', '.join(given)}.")
    _check_numbers(name, kind, given)
    return {**given, "distribution": kind}


def _inferred(given: dict[str, Any]) -> str | None:
    if "value" in given:
        return "constant"
    if "values" in given:
        return "categorical"
    if {"min", "max"} <= given.keys():
        return "int_uniform" if all(isinstance(given[key], int) for key in ("min", "max")) else "uniform"
    return None


def _check_numbers(name: str, kind: str, given: dict[str, Any]) -> None:
    for key in [key for key in ("min", "max", "q", "mu", "sigma") if key in given]:
        if not is_number(given[key]) or abs(given[key]) > _LARGEST:
            raise FssegError(
                f"{name}: {key} {given[key]!r}: a number is needed; YAML reads 1e-3 as text, write 1.0e-3."
            )
    if "min" in given and given["min"] >= given["max"]:
        raise FssegError(f"{name}: min {given['min']} must be below max {given['max']}.")
    if kind == "int_uniform" and not all(isinstance(given[key], int) for key in ("min", "max")):
        raise FssegError(f"{name}: int_uniform needs whole numbers as min and max.")
    if kind == "log_uniform_values" and given["min"] <= 0:
        raise FssegError(f"{name}: log_uniform_values needs a min above 0.")
    if given.get("q", 1) < _SMALLEST or given.get("sigma", 1) < 0:
        raise FssegError(f"{name}: q above 0 and sigma from 0 on are needed.")
    if "values" in given and not (isinstance(given["values"], list) and given["values"]):
        raise FssegError(f"{name}: values: a list of one or more is needed.")
    shares = given.get("probabilities")
    numbers = isinstance(shares, list) and all(is_number(share) and share >= 0 for share in shares)
    if shares is not None and not (numbers and len(shares) == len(given["values"]) and abs(sum(shares) - 1) <= 1e-6):
        raise FssegError(f"{name}: probabilities: one per value, of sum 1, are needed.")
