"""One checkpoint over several data sets: ``fsseg test --suite cdfss``."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from fsseg.errors import FssegError
from fsseg.experiment.arguments import flags, last, take
from fsseg.experiment.several import outcome_of, write
from fsseg.results.outcomes import Outcome
from fsseg.results.suite import suite_json, suite_markdown, suite_text
from fsseg.runs import folders


class Member(NamedTuple):
    """A data set of a suite.

    Attributes:
        dataset: class of the data set.
        protocol: protocol of its official code.
    """

    dataset: str
    protocol: str


# PATNet tests FSS-1000 by HSNet's rule (data/fss.py), the others by its own; SUIM is ABCDFSS' and INSID3's.
MEMBERS = {
    "deepglobe": Member("DeepGlobe", "cdfss"),
    "isic2018": Member("ISIC2018", "cdfss"),
    "chest_xray": Member("ChestXRay", "cdfss"),
    "fss1000": Member("FSS1000", "fss1000"),
    "suim": Member("SUIM", "cdfss"),
}
_SUITES = {"cdfss": tuple(MEMBERS)}
_DECIDED = ("--data.dataset", "--data.fold", "--protocols", "--resume")  # options that a suite decides, or lacks


def run_suite(words: Sequence[str], names: str) -> int:
    """Test over each data set of a suite, and show the results in one table with their mean.

    Args:
        words: Words of the command line without ``--suite``.
        names: Value of ``--suite``: suites or data sets, separated by commas, each with ``=DIR`` or without.

    Raises:
        FssegError: A name is unknown, an option contradicts the suite, or no data set can be tested.
    """
    roots = chosen(names)
    if wrong := [name for name in _DECIDED if name in flags(words)]:
        raise FssegError(f"--suite tests several data sets from the start: leave {wrong[0]} out.")
    given, words = take(words, "--out")
    ckpt_path = last(words, "--ckpt_path")
    beside = Path(ckpt_path).parent if ckpt_path else Path("runs") / "untrained"
    folder = folders.empty(Path(given[-1])) if given else folders.fresh(beside / "suite")
    outcomes = [_test_on(name, root, words, folder / name) for name, root in roots.items()]
    if not any(outcome.table for outcome in outcomes):
        raise FssegError(f"no data set can be tested here. {outcomes[0].name}: {outcomes[0].refused}")
    write(outcomes, folder, "suite", (suite_text(outcomes), suite_markdown(outcomes), suite_json(outcomes)))
    return 0


def chosen(names: str) -> dict[str, str]:
    """Data sets of ``--suite``, each with its own folder, or an empty text for ``--data.root``.

    Raises:
        FssegError: A name is unknown or given twice.
    """
    known = ", ".join([*_SUITES, *MEMBERS])
    found: dict[str, str] = {}
    for item in filter(None, map(str.strip, names.split(","))):
        name, equals, root = item.partition("=")
        if name not in MEMBERS and name not in _SUITES:
            raise FssegError(f"--suite {name}: some of {known}, separated by commas, each with =DIR or without.")
        if equals and (not root or name in _SUITES):
            raise FssegError(f"--suite {item}: the folder of one data set is needed, such as suim=DIR.")
        for member in _SUITES.get(name, (name,)):
            if root or member not in found:
                found[member] = root
    if not found:
        raise FssegError(f"--suite: some of {known}, separated by commas.")
    return found


def _test_on(name: str, root: str, words: Sequence[str], out: Path) -> Outcome:
    print(f"data set {name}", file=sys.stderr, flush=True)
    member = MEMBERS[name]
    more = [f"--data.dataset={member.dataset}", "--data.fold=0", f"--out={out}"]
    more += [] if "--protocol.name" in flags(words) else [f"--protocol.name={member.protocol}"]
    more += [f"--data.root={root}"] if root else []
    return outcome_of(name, [*words, *more])
