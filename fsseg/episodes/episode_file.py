"""Episodes in a file, with the names of images and classes, so that other frameworks can test on them too.

The file is JSON::

    {"format": "fsseg episodes 1", "dataset": "PASCAL-5i", "protocol": "fsseg#9dd814", "way": 1, "shot": 1, "query": 1,
     "runs": [[{"classes": ["bus"], "support": [["2007_000464"]], "query": ["2007_000663"], "query_way": [0]}, ...]]}

A run is a list of episodes. ``query_way`` has the position in ``classes`` that each query was drawn for, -1 for none.
"""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from fsseg.datasets.base import Dataset
from fsseg.episode import NO_WAY, Episode
from fsseg.errors import FssegError
from fsseg.untrusted.text import load_json

FORMAT = "fsseg episodes 1"

Runs = list[list[Episode]]


class EpisodeList(NamedTuple):
    """Episodes of a file.

    Attributes:
        runs: lists of episodes, all of the same length.
        digest: six hexadecimal digits of a hash of all episodes.
    """

    runs: Runs
    digest: str

    def images(self, classes: Sequence[int]) -> dict[int, npt.NDArray[np.int64]]:
        """Image numbers of each class id that the episodes use."""
        found: dict[int, set[int]] = {c: set() for c in classes}
        for episode in (episode for run in self.runs for episode in run):
            for class_id, shots in zip(episode.classes, episode.support, strict=True):
                found[class_id].update(shots)
            for number, way in zip(episode.query, episode.query_way, strict=True):
                if way != NO_WAY:
                    found[episode.classes[way]].add(number)
        return {c: np.array(sorted(images), dtype=np.int64) for c, images in found.items()}


def as_text(dataset: Dataset, runs: Sequence[Sequence[Episode]], protocol: str) -> str:
    """Episodes as the text of a file, one episode per line.

    Args:
        dataset: data set of the episodes.
        runs: lists of episodes with the same way, shot and number of queries.
        protocol: protocol of the draw, for people; `load` ignores it.
    """
    first = runs[0][0]
    head = {
        "format": FORMAT,
        "dataset": dataset.name,
        "protocol": protocol,
        "way": len(first.classes),
        "shot": len(first.support[0]),
        "query": len(first.query),
    }
    lines = [",\n".join(f"  {json.dumps(_named(dataset, episode))}" for episode in run) for run in runs]
    body = ",\n".join(f" [\n{run}\n ]" for run in lines)
    return f'{json.dumps(head)[:-1]}, "runs": [\n{body}\n]}}\n'


def _named(dataset: Dataset, episode: Episode) -> dict[str, Any]:
    return {
        "classes": [dataset.class_name(c) for c in episode.classes],
        "support": [[dataset.image_name(i) for i in shots] for shots in episode.support],
        "query": [dataset.image_name(i) for i in episode.query],
        "query_way": list(episode.query_way),
    }


def load(path: Path, dataset: Dataset, classes: Sequence[int], sizes: tuple[int, int, int]) -> EpisodeList:
    """Read and check the episodes of a file.

    Args:
        path: path of the file.
        dataset: opened data set; its name may differ from the file's if it has the images and classes.
        classes: class ids that may be tested.
        sizes: expected way, shot and query.

    Raises:
        FssegError: the file is missing or broken, its sizes differ, the data set lacks an image or a class, an image
            does not show its class, or an image may not be a query.
    """
    content = _read(path)
    written = tuple(content.get(name) for name in ("way", "shot", "query"))
    if not all(type(value) is int and value > 0 for value in written):
        raise FssegError(f'{path}: "way", "shot" and "query" are needed, as whole numbers.')
    if written != sizes:
        way, shot, query = written
        raise FssegError(
            f"{path} has {way}-way {shot}-shot episodes with {query} query; {sizes[0]}-way {sizes[1]}-shot with "
            f"{sizes[2]} is asked for. Give `data.way` {way} `data.shot` {shot} `data.query` {query}."
        )
    splits = [dataset.numbers("train"), dataset.numbers("val")]
    numbers = {dataset.image_name(i): i for split in splits for i in split}
    ids = {dataset.class_name(c): c for c in classes}
    runs = []
    for r, run in enumerate(content["runs"]):
        reader = _Reader(f"{path}, run {r}", dataset, numbers, ids, sizes)
        runs.append([reader.episode(i, item) for i, item in enumerate(run)])
    digest = hashlib.sha256(json.dumps([[_named(dataset, e) for e in run] for run in runs]).encode()).hexdigest()[:6]
    return EpisodeList(runs, digest)


def _read(path: Path) -> dict[str, Any]:
    try:
        content = load_json(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError as error:
        raise FssegError(f"`data.episodes.test_file` {path}: no such file.") from error
    except OSError as error:
        raise FssegError(f"`data.episodes.test_file` {path} cannot be read: {error.strerror}.") from error
    except ValueError as error:
        raise FssegError(f"`data.episodes.test_file` {path} is no complete JSON file: {error}.") from error
    runs = content.get("runs") if isinstance(content, dict) else None
    listed = isinstance(runs, list) and runs and all(isinstance(run, list) and run for run in runs)
    if not listed or content.get("format") != FORMAT:
        needed = f'"format": "{FORMAT}" and lists of "runs" are needed'
        raise FssegError(f"{path} is no list of episodes: {needed}.")
    if len({len(run) for run in content["runs"]}) > 1:
        lengths = sorted({len(run) for run in content["runs"]})
        raise FssegError(f"{path} has runs of {lengths} episodes; one length only.")
    return dict(content)


class _Reader(NamedTuple):
    """Makes episodes from the items of a file; errors name run and episode."""

    where: str
    dataset: Dataset
    numbers: dict[str, int]
    ids: dict[str, int]
    sizes: tuple[int, int, int]

    def episode(self, place: int, item: Any) -> Episode:
        where = f"{self.where}, episode {place}"
        try:
            names = (item["classes"], *item["support"], item["query"])
            ways = tuple(item["query_way"])
            sizes = (len(names[0]), {len(shots) for shots in item["support"]}, len(names[-1]), len(ways))
        except (KeyError, TypeError, ValueError) as error:
            raise FssegError(f"{where}: classes, support, query and query_way are needed, as lists.") from error
        way, shot, query = self.sizes
        if (
            sizes != (way, {shot}, query, query)
            or len(item["support"]) != way
            or any(type(w) is not int or not (w == NO_WAY or 0 <= w < way) for w in ways)
        ):
            raise FssegError(f"{where} is no {way}-way {shot}-shot episode with {query} query.")
        classes = tuple(self._known(where, "novel class", self.ids, name) for name in names[0])
        if len(set(classes)) < way:
            raise FssegError(f"{where} names a class twice.")
        support = tuple(tuple(self._known(where, "image", self.numbers, n) for n in shots) for shots in item["support"])
        found = tuple(self._known(where, "image", self.numbers, name) for name in item["query"])
        self._check_images(where, classes, support, found, ways)
        return Episode(classes, support, found, ways)

    def _known(self, where: str, what: str, known: dict[str, int], name: object) -> int:
        if not isinstance(name, str) or name not in known:
            raise FssegError(f"{where}: {name} is no {what} of {self.dataset.name}.")
        return known[name]

    def _check_images(
        self, where: str, classes: Sequence[int], support: Sequence[Sequence[int]], query: Sequence[int],
        ways: Sequence[int],
    ) -> None:  # fmt: skip
        supports = {number for shots in support for number in shots}
        for number in query:
            name = self.dataset.image_name(number)
            if number in supports:
                raise FssegError(f"{where}: image {name} is support and query; a query must be another one.")
            if number in self.dataset.weak:
                raise FssegError(
                    f"{where}: image {name} has a weak mask and may be a support only; another query is needed."
                )
        pairs = [(number, c) for c, shots in zip(classes, support, strict=True) for number in shots]
        pairs += [(number, classes[way]) for number, way in zip(query, ways, strict=True) if way != NO_WAY]
        for number, class_id in pairs:
            if not self.dataset.index.pixels[number, class_id]:
                name = self.dataset.image_name(number)
                raise FssegError(f"{where}: image {name} shows no {self.dataset.class_name(class_id)}.")
