"""`fsseg data show` and `fsseg data episodes`: the episodes of a configuration, as a picture and as a file."""

from collections.abc import Iterator, Sequence
from functools import partial
from itertools import islice, pairwise, product
from pathlib import Path
from typing import Any

import PIL.Image

from fsseg import atomic, limits
from fsseg.episode import Batch
from fsseg.episodes import EpisodeData
from fsseg.episodes.episode_file import as_text
from fsseg.episodes.loading import Episodes
from fsseg.episodes.options import RANGES, flat
from fsseg.episodes.sampler import Key
from fsseg.errors import FssegError
from fsseg.experiment.parser import Parser, check_yaml
from fsseg.experiment.protocol_options import Asked, settle_for
from fsseg.plots.episodes import Panel, draw_episodes, panel_of
from fsseg.runs import folders
from fsseg.runs.library_errors import building

_OTHERS = ("model", "trainer", "checkpoint")  # what a configuration says of other things


def run(command: str, options: Sequence[str]) -> int:
    """Run ``show`` or ``episodes``; returns the exit code.

    Raises:
        FssegError: an option or the data set is wrong.
    """
    flags = {word.partition("=")[0] for word in options}
    if not {"--config", "--data.dataset"} & flags:
        raise FssegError(f"data {command} needs --config FILE or --data.dataset NAME.")
    parser = _parser(command)
    for before, word in pairwise(options):
        if before == "--config":
            check_yaml(word)
    given = parser.parse_args(list(options))
    limits.check(flat(given.data), RANGES, "--data.")
    if command == "show" and "--data.episodes.missing_classes" not in flags:
        given.data.episodes.missing_classes = "skip"  # whoever looks at data need not have enough of each class
    data = _data(command, parser, given, flags)
    if command == "episodes":
        return _write_list(data, given)
    return _show(data, given)


def _parser(command: str) -> Parser:
    parser = Parser(allow_abbrev=False)
    parser.add_argument("--config", action="config")
    parser.add_argument("--seed_everything", type=int, default=0)
    parser.add_class_arguments(EpisodeData, "data")
    parser.add_class_arguments(Asked, "protocol")
    for name in _OTHERS:
        parser.add_argument(f"--{name}", type=Any, default=None)
    parser.add_argument("--out", type=Path, default=Path("episodes.json" if command == "episodes" else "episodes.png"))
    if command == "show":
        parser.add_argument("--stage", type=str, default="train")
        parser.add_argument("--count", type=int, default=6)
    return parser


def _data(command: str, parser: Parser, given: Any, flags: set[str]) -> EpisodeData:
    """The data module of the configuration, as `fit` or `test` would have it."""
    kind = folders.named_class(given.data.dataset.class_path)
    folders.check_root(given.data.root, kind)
    test = command == "episodes" or given.stage == "test"
    settled = settle_for(kind.family, given.data, vars(given.protocol), flags, test)
    if given.data.episodes.seed is None:
        given.data.episodes.seed = given.seed_everything
    given.data.loading.workers = 0
    for name in _OTHERS:  # the parser would build whatever class they name
        given[name] = None
    with building("the configuration"):
        # `instantiate_classes` up to jsonargparse 4.48, deprecated since
        build: Any = getattr(parser, "instantiate", None) or parser.instantiate_classes
        data: EpisodeData = build(given).data
    data.protocol = settled.protocol
    return data


def _write_list(data: EpisodeData, given: Any) -> int:
    """Write the episodes of a test."""
    data.setup("test")
    source: Episodes = data.test_dataloader().dataset.source  # type: ignore[attr-defined]
    protocol = data.protocol
    runs = [[source.episode(Key(r, i)) for i in range(protocol.episodes)] for r in range(protocol.runs)]
    text = as_text(data.dataset, runs, str(protocol))
    with folders.named("--out", given.out):
        atomic.write_text(given.out, text)
    setting = f"{data.dataset.name} fold {data.fold}, {data.way}-way {data.test_shot}-shot"
    print(f"{setting}: {protocol.in_words(data.pair_count)}")
    print(f"  episodes: {given.out}")
    return 0


def _show(data: EpisodeData, given: Any) -> int:
    """Draw the first episodes of a stage."""
    stages = ("train", "val", "test")
    if given.stage not in stages:
        raise FssegError(f"--stage {given.stage}: one of {', '.join(stages)} is needed.")
    limits.check({"count": given.count}, {"count": limits.PICTURES})
    data.setup("test" if given.stage == "test" else "fit")
    loader = {"train": data.train_dataloader, "val": data.val_dataloader, "test": data.test_dataloader}[given.stage]()
    panels = list(islice(_panels(data, loader), given.count * data.query))  # one for each query
    if not panels:
        raise FssegError(
            f"--stage {given.stage} has no episodes: --data.episodes.val is 0, or no class has enough images."
        )
    with folders.named("--out", given.out):
        atomic.save(given.out, partial(draw_episodes(panels).save, format=_format(given.out)))
    changed = ", augmented" if given.stage == "train" and data.images.augment else ""
    print(
        f"{data.dataset.name} fold {data.fold}, {given.stage} episodes as the network sees them{changed}: {given.out}"
    )
    return 0


def _panels(data: EpisodeData, batches: Any) -> Iterator[Panel]:
    batch: Batch
    for batch in batches:
        for b, q in product(range(len(batch.run)), range(data.query)):
            yield panel_of(batch, b, q, data.dataset.class_name, data.dataset.image_name)


def _format(path: Path) -> str:
    """Pillow's name of the format of an ending."""
    form = PIL.Image.registered_extensions().get(path.suffix.lower())
    if form is None:
        raise ValueError(f"unknown ending {path.suffix!r}; .png is one of many")
    return form
