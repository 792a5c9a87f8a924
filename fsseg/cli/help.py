"""What `fsseg --help` and `fsseg COMMAND --help` print. Imports no torch."""

from importlib import import_module

import fsseg
from fsseg.cli.options import Options, table
from fsseg.errors import FssegError
from fsseg.experiment.files import did_you_mean, experiments

# Of each command: what it does, and an example.
COMMANDS = {
    "fit": ("train a method", "fsseg fit --config experiments/panet_voc_1shot.yaml --data.root DIR"),
    "validate": ("a checkpoint on base classes", "fsseg validate --ckpt_path runs/quickstart/fold0/last.ckpt"),
    "test": ("benchmark a checkpoint on novel classes", "fsseg test --ckpt_path runs/quickstart/fold0/last.ckpt"),
    "benchmark": (
        "all folds, shots and seeds",
        "fsseg benchmark --config experiments/panet_shapes_1shot.yaml --shots 1 5",
    ),
    "table": ("tables like the papers'", "fsseg table runs/panet_shapes_1shot --like panet-table1"),
    "sweep": ("many trainings, compared", "fsseg sweep experiments/sweeps/quickstart.yaml --local"),
    "compare": ("two tests on the same episodes", "fsseg compare runs/a/fold0/test runs/b/fold0/test"),
    "report": ("one page with all of a run", "fsseg report runs/quickstart/fold0"),
    "look": ("pictures of a finished test", "fsseg look runs/quickstart/fold0/test"),
    "curves": ("training curves of several runs", "fsseg curves runs/with_par runs/without_par --out curves.png"),
    "distance": ("how far supports and queries lie apart", "fsseg distance runs/quickstart/fold0/test"),
    "predict": (
        "your own pictures, from examples",
        "fsseg predict --support cat=a.jpg:a.png --query photos/ --out out",
    ),
    "demo": ("paint and see, in a browser", "fsseg demo --ckpt_path runs/quickstart/fold0/last.ckpt"),
    "export": (
        "a method as ONNX or torch graphs",
        "fsseg export --ckpt_path runs/quickstart/fold0/last.ckpt --to onnx",
    ),
    "data prepare": ("fetch, unpack and index a data set", "fsseg data prepare pascal --root DIR"),
    "data verify": (
        "read all of it and say what is wrong",
        "fsseg data verify coco --root DIR --report report.json",
    ),
    "data info": ("images per class, fold and split", "fsseg data info folder --root DIR --out info.png"),
    "data show": (
        "a picture of what the network sees",
        "fsseg data show --config experiments/panet_voc_1shot.yaml --data.root DIR",
    ),
    "data episodes": (
        "write a test's episodes to a file",
        "fsseg data episodes --config experiments/panet_voc_1shot.yaml --data.root DIR",
    ),
}
TRAINER = ("fit", "validate", "test")  # commands whose options are a configuration
OTHERS = tuple(name for name in COMMANDS if name not in TRAINER and not name.startswith("data "))
BARE = ("demo",)  # of these, what runs without an option too

_OPTIONS = {
    "--config FILE": "experiment; several are merged, flags win over files",
    "--ckpt_path FILE": "checkpoint; its configuration is used where --config is not given",
    "--out DIR": "where results go (default: below runs/, or beside the checkpoint)",
    "--resume": "continue in --out where a stopped command was, or begin there; does nothing where it is done",
    "--data.root DIR": "folder of the data set, or set FSSEG_DATA_ROOT",
    "--data.fold N": "which classes are novel: 0, 1, 2 ...",
    "--data.way N": "classes per episode",
    "--data.shot K": "supports per class (--data.test_shot where the test's differ)",
    "--data.images.support_annotation A": "mask, scribble or box",
    "--data.episodes.missing_classes skip": "leave out classes that have too few images",
    "--model.method.OPTION VALUE": "an option of the method, e.g. --model.method.align false",
    "--model.method.encoder.weights W": "imagenet, none, or a file",
    "--seed_everything N": "seed of weights and training episodes",
    "--trainer.OPTION VALUE": "any option of Lightning's Trainer: devices, precision, max_steps ...",
    "--print_config": "print the whole configuration and stop",
}
_ONLY = {
    "fit": {"--checkpoint.every_n_train_steps N": "how often to write a checkpoint"},
    "test": {
        "--untrained": "test without a checkpoint, e.g. PANet-init",
        "--protocol.name P": "fsseg (default), panet, pmms, pfenet or hsnet; any field: --protocol.episodes 200 ...",
        "--data.episodes.test_file FILE": "test the episodes of a file, e.g. of another test's episodes.json",
        "--data.episodes.pairs_files DIR": "list files of (image, class) pairs in place of PASCAL-5i's official ones",
        "--protocols all": "the same checkpoint under each protocol, side by side; or some: panet,pmms",
    },
}


def overview() -> str:
    """The first page."""
    commands = "\n".join(f"  {name:14}{what:42}{example}" for name, (what, example) in COMMANDS.items())
    names = "\n".join(_wrapped(sorted(experiments()), width=130))
    return (
        f"fsseg {fsseg.__version__}  few-shot segmentation experiments\n\n{commands}\n\n"
        f"experiments (fsseg fit --config experiments/NAME.yaml)\n{names}\n\nmore: fsseg COMMAND --help, or docs/"
    )


def options_of(command: str, dataset: str | None = None) -> Options:
    """The parser of a command that trains nothing, such as ``table`` or ``data info``.

    Args:
        command: its name.
        dataset: whose options a command on data has too.
    """
    module, *action = command.split()
    made: Options = import_module(f"fsseg.cli.{module}").options(*action, *[dataset] if dataset else [])
    return made


def command_help(command: str, dataset: str | None = None) -> str:
    """The page of a command: of fit, validate and test the options that people use, of the others all."""
    what, example = COMMANDS[command]
    if command in TRAINER:
        rows = {**_OPTIONS, **_ONLY.get(command, {})}
        more = f"\n\nall options: fsseg {command} --help_all    of a method: fsseg {command} --model.method.help PANet"
    else:
        rows, more = options_of(command, dataset).rows(), ""
    return f"fsseg {command}  {what}\n\n  {example}\n\n{table(rows)}{more}"


def data_help(arguments: list[str]) -> str:
    """The page of the commands on data, or of one of them."""
    names = [word for word in arguments if not word.startswith("-")]
    if names:
        check_data_command(names[0])
        return command_help(f"data {names[0]}", names[1] if len(names) > 1 else None)
    found = {name: value for name, value in COMMANDS.items() if name.startswith("data ")}
    lines = [f"  fsseg {name:16}{what:40}{example}" for name, (what, example) in found.items()]
    return "\n".join([*lines, "\nmore: fsseg data COMMAND --help, fsseg data COMMAND DATASET --help"])


def _wrapped(words: list[str], width: int) -> list[str]:
    lines = [" "]
    for word in words:
        if len(lines[-1]) + len(word) + 2 > width:
            lines.append(" ")
        lines[-1] += f" {word} "
    return lines


def check_data_command(command: str) -> None:
    """Refuse a word after ``fsseg data`` that is no command, before anything large is imported.

    Raises:
        FssegError: it is none.
    """
    known = [name.removeprefix("data ") for name in COMMANDS if name.startswith("data ")]
    if command not in known:
        raise FssegError(f"no command 'data {command}'.{did_you_mean(command, known)} Commands: {', '.join(known)}.")
