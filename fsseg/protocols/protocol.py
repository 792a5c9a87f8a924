"""Protocol: everything that determines a test's number besides method, weights and data set, in one object.

Published numbers differ partly because their protocols differ, often without notice. `fsseg.protocols.presets` has the
protocols of five official codes and our own, with the source of each value.
"""

import hashlib
import json
from dataclasses import dataclass, fields, replace
from typing import Any, Literal, get_args, get_type_hints

from fsseg import limits
from fsseg.errors import FssegError

Name = Literal[
    "fsseg", "panet", "pmms", "pfenet", "hsnet", "oslsm", "fss1000", "cdfss", "lvis92i", "isaid5i", "matcher"
]
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
Nearest = Literal["centre", "corner"]
Draw = Literal["seeded", "panet", "pmms", "pfenet", "hsnet", "oslsm", "fss1000", "cdfss", "list"]
Absent = Literal["count", "drop"]
Seen = Literal["refuse", "note"]
Queries = Literal["any", "several"]
Selection = Literal["last", "base_val", "novel_val"]
Chosen = Literal["last", "base_val", "novel_val", "by hand"]  # how a tested checkpoint was chosen

_SEEDS = 2**32  # number of seeds that numpy's RandomState accepts
# Fields that determine the drawn episodes; they have no effect on episodes from a file.
DRAWING = ("split", "pairs", "min_pixels", "draw", "runs", "episodes", "seed", "repeat_supports", "queries",
           "absent_queries")  # fmt: skip
_DRAWN = {
    "seeded": "episodes seeded by number",
    "panet": "drawn as PANet's code does",
    "pmms": "drawn as PMMs' code does",
    "pfenet": "drawn as PFENet's code does",
    "hsnet": "drawn as HSNet's code does",
    "oslsm": "drawn as OSLSM's code does",
    "fss1000": "every image is a query in turn, as in HSNet's code for FSS-1000",
    "cdfss": "classes in turn, drawn as PATNet's code does",
    "list": "episodes from a file",
}
_ONE_WAY = ("pmms", "pfenet", "hsnet", "oslsm", "fss1000", "cdfss")  # draws with one class and one query


@dataclass(frozen=True)
class Protocol:
    """How episodes of a test are drawn, resized and compared.

    The defaults are the protocol ``fsseg`` on a custom data set.

    Attributes:
        name: named protocol that the values come from; a changed value changes the digest, not the name.
        split: split of the tested images. PANet's code tests on training images of the novel classes.
        pairs: rule by which an image counts for a class. ``any``: the image shows the class. ``official``: the pair is
            in the lists of PASCAL-5i that PMMs and HSNet share, nearly OSLSM's size rule (more than two pixels of the
            class on a grid of every 32nd pixel), or in list files (``data.episodes.pairs_files``).
        min_pixels: pixels of a class from which on an image counts for the class, at the image's own size.
        release: release of COCO.
        fold_rule: for COCO, see `fsseg.datasets.Coco`.
        masks: for COCO, see `fsseg.datasets.Coco`.
        crowds: for COCO, see `fsseg.datasets.Coco`.
        other_ways: for COCO, see `fsseg.datasets.Coco`.
        base_images: training images that show a novel class: ``keep`` them and label the object background, or
            ``drop`` them. A test cannot change this, but notes when a checkpoint's training differs.
        support_void: meaning of pixels labelled 255 in supports: ``background``, or ``ignore``.
        void: meaning of pixels labelled 255 in the evaluation.
        size: side of the square that images are resized to; ``own``: images keep their sizes; ``trained``: the size of
            the experiment (``data.images.test_size``, or ``data.images.size``).
        resize: ``stretch``: resize to the square without keeping the aspect ratio. ``pad``: resize the longer side, and
            pad with black, ignored pixels.
        mask_nearest: pixel of a mask that a pixel of the resized mask takes: the one at its ``centre`` (PIL's nearest),
            or the one at its upper left ``corner`` (torch's nearest).
        evaluate_at: ``input``: compare predictions with masks resized like the images. ``original``: with masks at
            their own sizes. ``resampled``: with masks resized to the input and back, as in PMMs' code.
        runs: R, number of runs; each has other episodes.
        episodes: E, episodes per run.
        seed: seed of the first run; run r has seed + r.
        draw: ``seeded``: draw each episode from its number. ``list``: take episodes from a file. Other values: draw as
            in an official code.
        repeat_supports: whether supports of an episode may repeat.
        absent: ``count`` false positives of a class that a query does not show, or ``drop`` them.
        queries: ``any``: a query shows a class of the episode. ``several``: a query shows two or more of them.
        absent_queries: share of episodes whose queries show no class of the episode. Their false positives are
            reported separately.
        seen_classes: ``refuse`` a checkpoint that was trained on a class with the name of a novel one, or test it and
            ``note`` such classes under the table. Cross-domain codes do not compare names.
        selection: checkpoint to test: ``last``, the best on the validation classes (``base_val``; base classes of the
            val images, or `fsseg.datasets.Dataset.validation`), or the best on the novel classes (``novel_val``).
        listed: digest of episodes from a file, see `of_list`.
        listed_pairs: digest of official pairs from list files; empty for the published lists.

    Raises:
        FssegError: a value is out of range, or two values exclude each other.
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
    mask_nearest: Nearest = "centre"
    evaluate_at: Truth = "original"
    runs: int = 5
    episodes: int = 1000
    seed: int = 1234
    draw: Draw = "seeded"
    repeat_supports: bool = False
    absent: Absent = "count"
    queries: Queries = "any"
    absent_queries: float = 0.0
    seen_classes: Seen = "refuse"
    selection: Selection = "last"
    listed: str = ""
    listed_pairs: str = ""

    def __post_init__(self) -> None:
        kinds = get_type_hints(Protocol)
        for field in fields(self):
            value, allowed = getattr(self, field.name), get_args(kinds[field.name])
            if allowed and int not in allowed and value not in allowed:
                raise FssegError(f"`protocol.{field.name}` {value!r}: one of {', '.join(map(str, allowed))} is needed.")
        limits.check(vars(self), limits.PROTOCOL, "`protocol.{}`")
        limits.check({"episodes": self.runs * self.episodes}, {"episodes": limits.EPISODES}, "`protocol.runs` x {}")
        if self.seed + self.runs > _SEEDS:
            raise FssegError(f"`protocol.seed` {self.seed}: below {_SEEDS - self.runs:,} is needed.")
        if not 0 <= self.absent_queries < 1:
            raise FssegError(f"`protocol.absent_queries` {self.absent_queries}: a share from 0 to below 1 is needed.")
        self._check_draw()

    def _check_draw(self) -> None:
        """Refuse options that the draw or the resizing does not support."""
        wanted = [
            ("`protocol.repeat_supports`", self.repeat_supports, ("seeded", "hsnet", "fss1000", "cdfss")),
            ("`protocol.queries` several", self.queries == "several", ("seeded",)),
            ("`protocol.absent_queries`", self.absent_queries > 0, ("seeded",)),
        ]
        for option, asked, draws in wanted:
            if asked and self.draw not in draws:
                raise FssegError(f"{option} goes with `protocol.draw` {draws[0]}, not {self.draw}.")
        if self.masks != "exact" and self.crowds == "ignore":
            raise FssegError(f"`protocol.crowds` ignore needs `protocol.masks` exact, not {self.masks}.")
        if self.resize == "pad" and self.evaluate_at == "resampled":
            raise FssegError("`protocol.evaluate_at` resampled goes with `protocol.resize` stretch, not pad.")
        if self.size == "own" and (self.resize == "pad" or self.evaluate_at == "resampled"):
            option = "`protocol.resize` pad" if self.resize == "pad" else "`protocol.evaluate_at` resampled"
            raise FssegError(f"{option} needs a `protocol.size` in pixels, not own.")

    def of_list(self, runs: int = 1, episodes: int = 1, digest: str = "") -> "Protocol":
        """This protocol with episodes from a file; all fields of the draw get their defaults.

        Args:
            runs: number of runs in the file.
            episodes: episodes per run.
            digest: digest of the episodes.
        """
        values: dict[str, Any] = {f.name: f.default for f in fields(self) if f.name in DRAWING}
        values |= {"draw": "list", "runs": runs, "episodes": episodes, "listed": digest}
        return replace(self, **values)

    @property
    def one_way(self) -> bool:
        """Whether the draw has one class and one query per episode."""
        return self.draw in _ONE_WAY

    @property
    def digest(self) -> str:
        """Six hexadecimal digits of a hash of all values but the name.

        The hash covers values that differ from the defaults, so that a new field does not change existing digests.
        """
        values = {f.name: getattr(self, f.name) for f in fields(self) if getattr(self, f.name) != f.default}
        values.pop("name", None)
        return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:6]

    def __str__(self) -> str:
        """Name and digest, as in rows and tables."""
        return f"{self.name}#{self.digest}"

    def in_words(self, pairs: int | None = None) -> str:
        """The protocol in words.

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
            *(["classes seen in training are tested too"] if self.seen_classes == "note" else []),
            *(["queries show several classes"] if self.queries == "several" else []),
            *([f"{self.absent_queries:.0%} of queries lack all classes"] if self.absent_queries else []),
        ]
        return ", ".join(parts)

    def _sizes(self) -> list[str]:
        named = {"trained": "resized as in training", "own": "photos at their own sizes"}
        size = named.get(str(self.size), f"{self.size}x{self.size}{' padded' if self.resize == 'pad' else ''}")
        truth = {"input": "masks resized alike", "original": "compared at the original size",
                 "resampled": "compared at the original size with masks resized to the input and back"}  # fmt: skip
        corner = ["masks resized by their corners"] if self.mask_nearest == "corner" else []
        return [size, *corner, truth[self.evaluate_at]]

    def _void(self) -> list[str]:
        if self.void == self.support_void:
            return [f"void {'ignored' if self.void == 'ignore' else 'is background'}"]
        where = {"ignore": "ignored", "background": "background"}
        return [f"void {where[self.void]}, in supports {where[self.support_void]}"]


# Fields that a test fills in from files; users cannot set them.
OF_FILES = ("listed", "listed_pairs")


def pair_rule(pairs: Pairs, min_pixels: int, digest: str = "") -> str:
    """Rule by which an image counts for a class, in words; empty if every image that shows the class counts.

    Args:
        pairs: see `Protocol`.
        min_pixels: see `Protocol`.
        digest: digest of list files.
    """
    lists = f"list files [{digest}]" if digest else "official lists"
    rule = [lists] if pairs == "official" else []
    return ", ".join([*rule, *([f"at least {min_pixels:,} pixels"] if min_pixels > 1 else [])])
