"""`fsseg data show` and `fsseg data episodes`: write the episodes of a configuration as a picture or as a file."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from itertools import islice, product
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from fsseg import atomic, class_paths, limits
from fsseg.cli.options import Options
from fsseg.errors import FssegError
from fsseg.experiment.arguments import files_first, flags
from fsseg.runs import folders

if TYPE_CHECKING:
    from fsseg.episode import Batch
    from fsseg.episodes import EpisodeData
    from fsseg.experiment.parser import Parser
    from fsseg.plots.episodes import Panel

_OTHERS = ("model", "trainer", "checkpoint")  # sections of a configuration that are ignored


def options(command: str) -> Options:
    """The options of ``show`` or ``episodes``, without those of a configuration."""
    made = Options(
        f"data {command}",
        {
            "--config FILE": "experiment; several are merged, flags override files",
            "--data.OPTION VALUE": "option of the data, as for fit and test: --data.root DIR",
            "--protocol.OPTION VALUE": "option of the protocol, as for test: --protocol.name hsnet",
            "--seed_everything N": "seed of training episodes (0)",
        },
    )
    default = Path("episodes.json" if command == "episodes" else "episodes.png")
    made.option("--out", Path, "file to write (%(default)s)", default=default, metavar="FILE")
    if command == "show":
        made.option("--stage", Literal["train", "val", "test"], "stage of the episodes (%(default)s)", default="train")
        made.option("--count", int, "number of episodes (%(default)s)", default=6)
    return made


def run(command: str, words: Sequence[str]) -> int:
    """Run ``show`` or ``episodes``; return the exit code.

    Raises:
        FssegError: An option or the data set is wrong.
    """
    files, words = files_first(words)
    names = flags(words)
    if not files and "--data.dataset" not in names:
        raise FssegError(f"data {command} needs --config FILE or --data.dataset NAME.")
    own, rest = options(command).read_known(words)
    from fsseg.experiment.parser import check_yaml  # imports torch

    for path in files:
        check_yaml(path)
    parser = _parser()
    given = parser.parse_args([*(f"--config={path}" for path in files), *rest])
    from fsseg.episodes.options import RANGES, flat

    limits.check(flat(given.data), RANGES, "--data.{}")
    if command == "show" and "--data.episodes.missing_classes" not in names:
        given.data.episodes.missing_classes = "skip"  # the command must not fail for a class with few images
    tested = command == "episodes" or own.stage == "test"
    data = _data(given, names, tested)
    if command == "episodes":
        return _write_list(data, own.out)
    return _show(data, own)


def _parser() -> Parser:
    from fsseg.episodes import EpisodeData
    from fsseg.experiment.parser import Parser
    from fsseg.experiment.protocol_options import Asked

    parser = Parser(allow_abbrev=False)
    parser.add_argument("--config", action="config")
    parser.add_argument("--seed_everything", type=int, default=0)
    parser.add_class_arguments(EpisodeData, "data", skip={"protocol"})
    parser.add_class_arguments(Asked, "protocol")
    for name in _OTHERS:
        parser.add_argument(f"--{name}", type=Any, default=None)
    return parser


def _data(given: Any, names: frozenset[str], tested: bool) -> EpisodeData:
    """The data module that `test` or `fit` would have."""
    from fsseg.experiment.data_alone import build_data
    from fsseg.experiment.protocol_options import settle_for

    kind = class_paths.load(given.data.dataset.class_path)
    folders.check_root(given.data.root, kind)
    settled = settle_for(kind.family, given.data, vars(given.protocol), names, tested)
    if given.data.episodes.seed is None:
        given.data.episodes.seed = given.seed_everything
    return build_data(given.data, settled.protocol)


def _write_list(data: EpisodeData, out: Path) -> int:
    """Write the episodes of a test."""
    from fsseg.episodes.episode_file import as_text
    from fsseg.episodes.sampler import Key

    data.setup("test")
    source = data.test_dataloader().dataset.source  # type: ignore[attr-defined]
    protocol = data.protocol
    runs = [[source.episode(Key(r, i)) for i in range(protocol.episodes)] for r in range(protocol.runs)]
    text = as_text(data.dataset, runs, str(protocol))
    with folders.named("--out", out):
        atomic.write_text(out, text)
    setting = f"{data.dataset.name} fold {data.fold}, {data.way}-way {data.test_shot}-shot"
    print(f"{setting}: {protocol.in_words(data.pair_count)}")
    print(f"  episodes: {out}")
    return 0


def _show(data: EpisodeData, given: Any) -> int:
    """Draw the first episodes of a stage."""
    from fsseg.plots.episodes import draw_episodes

    limits.check({"count": given.count}, {"count": limits.PICTURES}, "--{}")
    data.setup("test" if given.stage == "test" else "fit")
    loader = {"train": data.train_dataloader, "val": data.val_dataloader, "test": data.test_dataloader}[given.stage]()
    panels = list(islice(_panels(data, loader), given.count * data.query))  # one panel per query
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
    from fsseg.plots.episodes import panel_of

    batch: Batch
    for batch in batches:
        for b, q in product(range(len(batch.run)), range(data.query)):
            yield panel_of(batch, b, q, data.dataset.class_name, data.dataset.image_name)


def _format(path: Path) -> str:
    """Pillow's name of the format with the path's ending."""
    import PIL.Image

    form = PIL.Image.registered_extensions().get(path.suffix.lower())
    if form is None:
        raise ValueError(f"unknown ending {path.suffix!r}; use e.g. .png")
    return form
