"""fit, validate and test, as functions for Python and as commands."""

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fsseg.errors import INTERRUPTED, FssegError
from fsseg.experiment.arguments import flags, last, take
from fsseg.experiment.class_help import listing
from fsseg.experiment.configuration import Configuration
from fsseg.experiment.protocol_options import chosen
from fsseg.experiment.session import settled
from fsseg.experiment.several import outcome_of, write
from fsseg.experiment.suite import run_suite
from fsseg.experiment.testing import Validated, evaluate, measure
from fsseg.experiment.training import Trained, train
from fsseg.progress import as_shown
from fsseg.results.outcomes import Outcome
from fsseg.results.tables import Table
from fsseg.results.texts import side_by_side, side_by_side_json, side_by_side_markdown
from fsseg.runs import folders
from fsseg.runs.ranks import leads
from fsseg.untrusted.configuration import names_own_classes

_CHOSEN = {"base_val": "the validation classes", "novel_val": "the novel classes"}
Files = str | Path | Sequence[str | Path]


def fit(config: Files = (), options: Mapping[str, Any] | None = None) -> Trained:
    """Train a method, as ``fsseg fit`` does.

    Args:
        config: Experiment file, or several files, which are merged; none if ``options`` have a ``ckpt_path``.
        options: Options by their command line names, e.g. ``{"data.fold": 1, "out": "runs/one"}``.

    Returns:
        The run's folder, its step and its checkpoints.

    Raises:
        FssegError: The experiment is refused, or the training fails.
    """
    with settled("fit", _words(config, options)) as c:
        return train(c)


def validate(config: Files = (), options: Mapping[str, Any] | None = None) -> Validated:
    """Measure a checkpoint on validation episodes, as ``fsseg validate`` does.

    Args:
        config: See `fit`.
        options: See `fit`; ``ckpt_path`` or ``untrained`` is needed.

    Returns:
        Mean-IoU and binary-IoU.

    Raises:
        FssegError: See `fit`.
    """
    with settled("validate", _words(config, options)) as c:
        return measure(c)


def test(config: Files = (), options: Mapping[str, Any] | None = None) -> Table:  # noqa: PT028 - pytest does not collect this function
    """Test a checkpoint on the novel classes, as ``fsseg test`` does.

    Args:
        config: See `fit`.
        options: See `fit`; ``ckpt_path`` or ``untrained`` is needed.

    Returns:
        The table; the folder of the results holds rows.csv, episodes.json and the other files.

    Raises:
        FssegError: See `fit`; also if this is not the first process, or if ``resume`` finds a finished test.
    """
    with settled("test", _words(config, options)) as c:
        found = evaluate(c)
    if found.table is None:
        raise FssegError(found.text or "only the first process has the table.")
    return found.table


def run(arguments: Sequence[str]) -> int:
    """Run ``fit``, ``validate`` or ``test`` with the words of a command line; return the exit code.

    Raises:
        FssegError: See `fit`.
    """
    command, *words = arguments
    names, words = take(words, "--protocols")
    if names and command != "test":
        raise FssegError("--protocols is for `test`; fit and validate take one --protocol.name.")
    if names and "--resume" in words:
        raise FssegError("--resume is for a test under one protocol: give --protocol.name in place of --protocols.")
    if names and "--suite" in flags(words):
        raise FssegError("--protocols tests one data set: leave --suite out, or give --protocol.name in its place.")
    if names:
        return _test_under_each(words, chosen(names[-1]))
    suite, words = take(words, "--suite")
    if suite and command != "test":
        raise FssegError("--suite is for `test`: fit and validate take one --data.dataset.")
    if suite:
        return run_suite(words, suite[-1])
    if classes := listing(words):
        print(classes)
        return 0
    with settled(command, words) as c:
        if command == "fit":
            return _show_trained(c, train(c))
        text = _validation(measure(c)) if command == "validate" else evaluate(c).text
        if leads() and text:
            print(as_shown(text))
    return 0


def _words(config: Files, options: Mapping[str, Any] | None) -> list[str]:
    """Equivalent words of the command line."""
    files = [config] if isinstance(config, str | Path) else config
    given = dict(options or {})
    switches = [f"--{name}" for name in ("resume", "untrained") if given.pop(name, False)]
    texts = {name: value if isinstance(value, str | Path) else json.dumps(value) for name, value in given.items()}
    return [*(f"--config={path}" for path in files), *switches, *(f"--{name}={text}" for name, text in texts.items())]


def _show_trained(c: Configuration, trained: Trained) -> int:
    if leads() and trained.before:
        print(f"already trained: {trained.last}")
    elif leads() and trained.last:
        done, following = ("stopped at", "fit") if trained.interrupted else ("trained to", "test")
        if not (trained.interrupted or trained.testable):
            following = "predict --support [CLASS=]IMAGE:MASK --query IMAGES"
        print(f"\n{done} step {trained.step:,}: {trained.last}")
        if trained.val is not None and trained.untrained is not None:
            val, before = 100 * trained.val, 100 * trained.untrained
            print(f"val mean-IoU {val:.1f}, untrained prototypes of the encoder {before:.1f}: {val - before:+.1f}")
        named = f"--config {trained.last.parent / 'config.yaml'} " if names_own_classes(c.saved) else ""
        print(f"next: fsseg {following} {named}--ckpt_path {trained.last}")
        if trained.best:
            print(f"best on {_CHOSEN.get(c.protocol.selection, _CHOSEN['base_val'])}: {trained.best}")
    return INTERRUPTED if trained.interrupted else 0


def _validation(found: Validated) -> str:
    lines = {"mean-IoU": found.mean_iou, "binary-IoU": found.binary_iou}
    return "\n".join([found.heading, *(f"  {name:12}{100 * value:.1f}" for name, value in lines.items())])


def _test_under_each(words: list[str], names: Sequence[str]) -> int:
    """Test under several protocols and show the results side by side, with the reason for each refused protocol."""
    given, words = take(words, "--out")
    if "--protocol.name" in flags(words):
        raise FssegError("--protocols names the protocols; leave --protocol.name out.")
    ckpt_path = last(words, "--ckpt_path")
    files, _ = take(words, "-c", "--config")
    beside = Path(ckpt_path).parent if ckpt_path else Path("runs") / Path([*files, "untrained"][0]).stem
    folder = folders.empty(Path(given[-1])) if given else folders.fresh(beside / "protocols")
    outcomes = [_test_under(name, words, folder / name) for name in names]
    if not any(outcome.table for outcome in outcomes):
        raise FssegError(f"no protocol can be tested here. {names[0]}: {outcomes[0].refused}")
    texts = side_by_side(outcomes), side_by_side_markdown(outcomes), side_by_side_json(outcomes)
    write(outcomes, folder, "protocols", texts)
    return 0


def _test_under(name: str, words: Sequence[str], out: Path) -> Outcome:
    print(f"protocol {name}", file=sys.stderr, flush=True)
    return outcome_of(name, [*words, f"--protocol.name={name}", f"--out={out}"])
