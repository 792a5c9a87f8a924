"""`fsseg tune`: fits a linear head to supports, and saves it where it segments left out supports better."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from fsseg.cli.learning import add_supports, add_tile, learn, read
from fsseg.cli.options import Options, add_segmenter
from fsseg.errors import FssegError
from fsseg.progress import tell
from fsseg.runs.library_errors import quieten

if TYPE_CHECKING:
    from fsseg.methods import Method
    from fsseg.segmenter import Segmenter
    from fsseg.segmenter.tuning import Labelled

_NAMED = 3  # classes without a left out support that a note names


def options() -> Options:
    """The command's options."""
    made = Options("tune")
    add_supports(made)
    made.option("--save", Path, "file for predict --ckpt_path and fsseg.Segmenter.load", metavar="FILE")
    kept = "what to save (better: decided by supports that are left out)"
    made.option("--choose", Literal["better", "tuned", "untuned"], kept, default="better")
    add_segmenter(made)
    add_tile(made)
    return made


def run(arguments: Sequence[str]) -> int:
    """Run ``tune``; return the exit code.

    Raises:
        FssegError: An option is wrong, a support or the checkpoint cannot be read, or the method cannot be tuned.
    """
    quieten()
    given, of_method = read(options(), arguments)
    if not (given.support and given.save):
        raise FssegError("tune needs --support IMAGE:MASK ... and --save FILE, e.g. --save cats.fsseg.")
    from fsseg.experiment import segmenter_options, support_arguments  # imports torch
    from fsseg.segmenter.persistence import check_place
    from fsseg.segmenter.tuning import candidates, use

    check_place(given.save)
    chosen = segmenter_options.read_method(given, of_method)
    supports = support_arguments.supports(given.support)
    rejected = support_arguments.rejected(given.negative, supports)
    engine = segmenter_options.engine(given, chosen)
    if engine.segmenter.classes:
        raise FssegError(f"{given.ckpt_path} has supports without their images: give the images again by --support.")
    tell(engine.described)
    methods = candidates(engine.segmenter.method)
    learnt = learn(engine.segmenter, supports, rejected)
    name, words = _choice(engine.segmenter, learnt, methods, given.choose)
    use(engine.segmenter, methods[name])
    engine.segmenter.save(given.save)
    print(f"{words}; {name} is saved: {given.save}")
    print(f"next: fsseg predict --ckpt_path {given.save} --query IMAGES")
    return 0


def _choice(
    segmenter: Segmenter, supports: Sequence[Labelled], methods: Mapping[str, Method], choose: str
) -> tuple[str, str]:
    """The name of the method to save, and the reason in words."""
    from fsseg.segmenter.tuning import best, held_out, mean, use

    values = {}
    for name, method in methods.items():
        use(segmenter, method)
        values[name] = held_out(segmenter, supports)
        if not values[name]:
            why = "no class has two supports, so that none can be left out to compare untuned and tuned"
            return (choose if choose == "tuned" else "untuned"), why
    shown = values["untuned"]
    if alone := [name for name in segmenter.classes if name not in shown]:
        more = f" and {len(alone) - _NAMED} more" if len(alone) > _NAMED else ""
        tell(f"note: {', '.join(alone[:_NAMED])}{more} not measured: a class needs two supports to leave one out.")
    means = {name: mean(each) for name, each in values.items()}
    tuned = max((name for name in means if name != "untuned"), key=means.__getitem__)
    kept = {"better": best(values), "tuned": tuned, "untuned": "untuned"}[choose]
    numbers = ", ".join(f"{name} {100 * value:.1f}" for name, value in means.items())
    return kept, f"IoU of {len(supports)} supports, each segmented by the others: {numbers}"
