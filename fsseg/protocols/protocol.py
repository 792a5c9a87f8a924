"""Protocol: how a number is made, once method and weights are given. Everything that decides it, in one object.

The field's numbers differ because its protocols differ, mostly without saying so. `fsseg.protocols.presets` has the
protocols of five codes by name, each field with its source.
"""

import hashlib
import json
from dataclasses import dataclass, fields, replace
from typing import Any, Literal, get_args, get_type_hints

from fsseg import limits
from fsseg.errors import FssegError

Name = Literal["fsseg", "panet", "pmms", "pfenet", "hsnet"]
Split = Literal["train", "val"]
SPLITS: tuple[Split, ...] = ("train", "val")
Pairs = Literal["official", "any"]
Year = Literal[2017, 2014]
FoldRule = Literal["interleaved", "contiguous"]
Masks = Literal["exact", "first_polygon_convex", "first_polygon_map"]
Crowds = Literal["include", "ignore"]
OtherWays = Literal["labelled", "background"]
BaseImages = Literal["keep", "drop"]
Void = Literal["background", "ignore"]
Resize = Literal["stretch", "pad"]
Truth = Literal["input", "original", "resampled"]
Draw = Literal["seeded", "panet", "pmms", "pfenet", "hsnet", "list"]
Absent = Literal["count", "drop"]
Queries = Literal["any", "several"]
Selection = Literal["last", "base_val", "novel_val"]
Chosen = Literal["last", "base_val", "novel_val", "by hand"]  # how a checkpoint was

_SEEDS = 2**32  # that numpy's generators take
# What decides which episodes are drawn; where they are given, none of these has a say.
DRAWING = ("split", "pairs", "min_pixels", "draw", "runs", "episodes", "seed", "repeat_supports", "queries",
           "absent_queries")  # fmt: skip
_DRAWN = {
    "seeded": "episodes seeded by number",
    "panet": "drawn as PANet's code does",
    "pmms": "drawn as PMMs' code does",
    "pfenet": "drawn as PFENet's code does",
    "hsnet": "drawn as HSNet's code does",
    "list": "episodes from a file",
}
_ONE_WAY = ("pmms", "pfenet", "hsnet")  # draws of one class and one query


@dataclass(frozen=True)
class Protocol:
    """How episodes of a test are drawn, shown, and compared.

    The defaults are the protocol ``fsseg`` on a data set of one's own.

    Attributes:
        name: of the protocol that the values come from; a value that is not its own changes the hash, not the name.
        split: whose images are tested on. PANet's code tests on training images of the novel classes.
        pairs: which images count for a class. ``any``: all that show it. ``official``: those of the lists of PASCAL-5i
            that PMMs and HSNet share, nearly OSLSM's size rule (more than two pixels of the class on a grid of every
            32nd pixel); or those of list files (--data.episodes.pairs_files).
        min_pixels: an image counts for a class from this many pixels on, at the image's own size.
        release: of COCO.
        fold_rule: of COCO, see `fsseg.datasets.Coco`.
        masks: of COCO, see `fsseg.datasets.Coco`.
        crowds: of COCO, see `fsseg.datasets.Coco`.
        other_ways: of COCO, see `fsseg.datasets.Coco`.
        base_images: what the training does with images that show a novel class: ``keep`` them, the object as
            background, or ``drop`` them. A test cannot change it, and says where a checkpoint's training differs.
        support_void: what pixels labelled 255 are in a support: ``background``, or ``ignore``.
        void: what pixels labelled 255 are in the evaluation.
        size: side of the square that images are resized to; ``own``: they keep their sizes; ``trained``: as the
            experiment says (--data.images.test_size, or --data.images.size).
        resize: ``stretch``: to the square, aspect ratio not kept. ``pad``: the longer side to the square's, the rest is
            black and ignored.
        evaluate_at: ``input``: predictions are compared with masks resized like the images. ``original``: with the
            masks at their own sizes. ``resampled``: with masks resized to the input and back, as PMMs' code does.
        runs: R, runs, each with its own episodes.
        episodes: E, episodes per run.
        seed: of the first run; run r has seed + r.
        draw: how episodes are drawn: ``seeded`` by their number, or as a code does it; ``list``: from a file.
        repeat_supports: whether supports of an episode may repeat.
        absent: false positives of a class that a query lacks ``count``, or ``drop`` out.
        queries: ``any`` query that shows a class of the episode, or one that shows ``several`` of them.
        absent_queries: share of episodes whose query shows none of their classes. They are reported apart, by their
            false positives.
        selection: which checkpoint is tested: the ``last``, the best on base classes of the val images
            (``base_val``), or the best on the novel classes themselves (``novel_val``).
        listed: digest of the episodes, where they are those of a file; see `of_list`.
        listed_pairs: digest of the official pairs, where they are those of list files that are not the published ones.

    Raises:
        FssegError: a value is out of range, or two don't go together.
    """

    name: Name = "fsseg"
    split: Split = "val"
    pairs: Pairs = "any"
    min_pixels: int = 1
    release: Year = 2017
    fold_rule: FoldRule = "interleaved"
    masks: Masks = "exact"
    crowds: Crowds = "include"
    other_ways: OtherWays = "labelled"
    base_images: BaseImages = "keep"
    support_void: Void = "ignore"
    void: Void = "ignore"
    size: int | Literal["trained", "own"] = "trained"
    resize: Resize = "stretch"
    evaluate_at: Truth = "original"
    runs: int = 5
    episodes: int = 1000
    seed: int = 1234
    draw: Draw = "seeded"
    repeat_supports: bool = False
    absent: Absent = "count"
    queries: Queries = "any"
    absent_queries: float = 0.0
    selection: Selection = "last"
    listed: str = ""
    listed_pairs: str = ""

    def __post_init__(self) -> None:
        kinds = get_type_hints(Protocol)
        for field in fields(self):
            value, allowed = getattr(self, field.name), get_args(kinds[field.name])
            if allowed and int not in allowed and value not in allowed:
                raise FssegError(f"--protocol.{field.name} {value!r}: one of {', '.join(map(str, allowed))} is needed.")
        limits.check(vars(self), limits.PROTOCOL, "--protocol.")
        limits.check(
            {"runs x episodes": self.runs * self.episodes}, {"runs x episodes": limits.EPISODES}, "--protocol."
        )
        if self.seed + self.runs > _SEEDS:
            raise FssegError(f"--protocol.seed {self.seed}: below {_SEEDS - self.runs:,} is needed.")
        if not 0 <= self.absent_queries < 1:
            raise FssegError(f"--protocol.absent_queries {self.absent_queries}: a share from 0 to below 1 is needed.")
        self._check_draw()

    def _check_draw(self) -> None:
        """A code's draw is that code's: what it cannot do is refused, not done otherwise."""
        wanted = [
            ("repeat_supports", self.repeat_supports, ("seeded", "hsnet")),
            ("queries several", self.queries == "several", ("seeded",)),
            ("absent_queries", self.absent_queries > 0, ("seeded",)),
        ]
        for option, asked, draws in wanted:
            if asked and self.draw not in draws:
                raise FssegError(f"--protocol.{option} goes with --protocol.draw {draws[0]}, not {self.draw}.")
        if self.masks != "exact" and self.crowds == "ignore":
            raise FssegError(f"--protocol.crowds ignore needs --protocol.masks exact, not {self.masks}.")
        if self.resize == "pad" and self.evaluate_at == "resampled":
            raise FssegError("--protocol.evaluate_at resampled goes with --protocol.resize stretch, not pad.")
        if self.size == "own" and (self.resize == "pad" or self.evaluate_at == "resampled"):
            option = "resize pad" if self.resize == "pad" else "evaluate_at resampled"
            raise FssegError(f"--protocol.{option} needs a --protocol.size in pixels, not own.")

    def of_list(self, runs: int = 1, episodes: int = 1, digest: str = "") -> "Protocol":
        """This protocol on the episodes of a file; what decides the drawing of others is at its defaults.

        Args:
            runs: of the file.
            episodes: per run.
            digest: of the episodes.
        """
        values: dict[str, Any] = {f.name: f.default for f in fields(self) if f.name in DRAWING}
        values |= {"draw": "list", "runs": runs, "episodes": episodes, "listed": digest}
        return replace(self, **values)

    @property
    def one_way(self) -> bool:
        """Its draw knows one class and one query an episode."""
        return self.draw in _ONE_WAY

    @property
    def digest(self) -> str:
        """Six digits that differ wherever a value differs; the name is none.

        Of what departs from the defaults, so that a field of a later version changes no digest of before.
        """
        values = {f.name: getattr(self, f.name) for f in fields(self) if getattr(self, f.name) != f.default}
        values.pop("name", None)
        return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:6]

    def __str__(self) -> str:
        """Name and digest, as rows carry them."""
        return f"{self.name}#{self.digest}"

    def in_words(self, pairs: int | None = None) -> str:
        """What decides a number besides method, weights and data set.

        Args:
            pairs: number of (image, class) pairs that episodes are drawn from.
        """
        counted = f"{pairs:,} pairs" if pairs is not None else "pairs"
        rule = pair_rule(self.pairs, self.min_pixels, self.listed_pairs)
        last = self.seed + self.runs - 1
        seeds = f"seed {last}" if self.runs == 1 else f"seeds {self.seed}-{last}"
        images = [f"{self.split} images", f"{counted} ({rule})" if rule else counted]
        drawn = [_DRAWN[self.draw], seeds]
        if self.draw == "list":
            images, drawn = [], [f"{_DRAWN[self.draw]} [{self.listed}]", counted]
        parts = [
            *images,
            *self._sizes(),
            *self._void(),
            f"{self.runs:,} x {self.episodes:,} episodes",
            *drawn,
            *(["supports may repeat"] if self.repeat_supports else []),
            f"absent classes {'counted' if self.absent == 'count' else 'dropped'}",
            *(["queries show several classes"] if self.queries == "several" else []),
            *([f"{self.absent_queries:.0%} of queries lack all classes"] if self.absent_queries else []),
        ]
        return ", ".join(parts)

    def _sizes(self) -> list[str]:
        named = {"trained": "resized as in training", "own": "photos at their own sizes"}
        size = named.get(str(self.size), f"{self.size}x{self.size}{' padded' if self.resize == 'pad' else ''}")
        truth = {"input": "masks resized alike", "original": "compared at the original size",
                 "resampled": "compared at the original size with masks resized to the input and back"}  # fmt: skip
        return [size, truth[self.evaluate_at]]

    def _void(self) -> list[str]:
        if self.void == self.support_void:
            return [f"void {'ignored' if self.void == 'ignore' else 'is background'}"]
        where = {"ignore": "ignored", "background": "background"}
        return [f"void {where[self.void]}, in supports {where[self.support_void]}"]


# Fields that a test fills in from files; they are no options.
OF_FILES = ("listed", "listed_pairs")


def pair_rule(pairs: Pairs, min_pixels: int, digest: str = "") -> str:
    """Which images count for a class, in words; empty where all do that show it.

    Args:
        pairs: see `Protocol`.
        min_pixels: see `Protocol`.
        digest: of list files.
    """
    lists = f"list files [{digest}]" if digest else "official lists"
    rule = [lists] if pairs == "official" else []
    return ", ".join([*rule, *([f"at least {min_pixels:,} pixels"] if min_pixels > 1 else [])])
