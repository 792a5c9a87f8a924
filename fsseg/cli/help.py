"""Help pages of `fsseg --help` and `fsseg COMMAND --help`. Imports no torch."""

import textwrap
from importlib import import_module
from types import ModuleType

import fsseg
from fsseg.cli.options import Options, table
from fsseg.errors import FssegError
from fsseg.experiment.files import did_you_mean, experiments

# Summary and example of each command.
COMMANDS = {
    "fit": ("train a method", "fsseg fit --config experiments/panet_voc_1shot.yaml --data.root DIR"),
    "validate": (
        "measure a checkpoint on the validation classes",
        "fsseg validate --ckpt_path runs/quickstart/fold0/last.ckpt",
    ),
    "test": ("test a checkpoint on novel classes", "fsseg test --ckpt_path runs/quickstart/fold0/last.ckpt"),
    "benchmark": (
        "train and test all folds, shots and seeds",
        "fsseg benchmark --config experiments/panet_shapes_1shot.yaml --shots 1 5",
    ),
    "table": ("print tables like the papers'", "fsseg table runs/panet_shapes_1shot --like panet-table1"),
    "sweep": ("run and compare many trainings", "fsseg sweep experiments/sweeps/quickstart.yaml --local"),
    "compare": ("compare two tests on the same episodes", "fsseg compare runs/a/fold0/test runs/b/fold0/test"),
    "supports": (
        "measure the spread over supports and shots",
        "fsseg supports --ckpt_path runs/quickstart/fold0/last.ckpt --shots 1 2 5 --draws 20",
    ),
    "report": ("write one page about a run", "fsseg report runs/quickstart/fold0"),
    "look": ("draw episodes of a finished test", "fsseg look runs/quickstart/fold0/test"),
    "curves": ("draw training curves of several runs", "fsseg curves runs/with_par runs/without_par --out curves.png"),
    "distance": ("measure distances of prototypes", "fsseg distance runs/quickstart/fold0/test"),
    "predict": (
        "segment your own images from examples",
        "fsseg predict --support cat=a.jpg:a.png --query photos/ --out out",
    ),
    "tune": (
        "fit a head to your examples, if it helps",
        "fsseg tune --support cat=a.jpg:a.png b.jpg:b.png --save cats.fsseg",
    ),
    "demo": ("paint and see, in a browser", "fsseg demo --ckpt_path runs/quickstart/fold0/last.ckpt"),
    "export": (
        "export a method as ONNX or torch graphs",
        "fsseg export --ckpt_path runs/quickstart/fold0/last.ckpt --to onnx",
    ),
    "import": ("make a checkpoint of published weights", "fsseg import best.pt --as hsnet --data.fold 0"),
    "card": ("publish a checkpoint with its facts", "fsseg card runs/quickstart/fold0/last.ckpt --licence apache-2.0"),
    "check": ("check your own method, encoder or data set", "fsseg check mine.Margin --scale 10 --encoder ResNet"),
    "data prepare": ("fetch, unpack and index a data set", "fsseg data prepare pascal --root DIR"),
    "data verify": (
        "check all files and list problems",
        "fsseg data verify coco --root DIR --report report.json",
    ),
    "data info": ("count images per class, fold and split", "fsseg data info folder --root DIR --out info.png"),
    "data show": (
        "draw the network's inputs",
        "fsseg data show --config experiments/panet_voc_1shot.yaml --data.root DIR",
    ),
    "data episodes": (
        "write a test's episodes to a file",
        "fsseg data episodes --config experiments/panet_voc_1shot.yaml --data.root DIR",
    ),
    "zoo list": ("list published checkpoints", "fsseg zoo list --index hf:OWNER/NAME"),
    "zoo fetch": ("fetch a published checkpoint", "fsseg zoo fetch NAME --index hf:OWNER/NAME"),
    "zoo index": ("make the index of your own zoo", "fsseg zoo index zoo"),
}
GROUPS = ("data", "zoo")  # first words of commands of two words
TRAINER = ("fit", "validate", "test")  # commands whose options are a configuration
OTHERS = tuple(name for name in COMMANDS if name not in TRAINER and " " not in name)
BARE = ("demo",)  # commands that run without an option
_MODULES = {"import": "import_checkpoint"}  # of commands whose name is a word of Python

_OPTIONS = {
    "--config FILE": "experiment; several are merged, flags override files",
    "--ckpt_path FILE": "checkpoint; without --config, its configuration is used",
    "--out DIR": "folder (default: below runs/, or beside the checkpoint)",
    "--resume": "resume a stopped command in --out, or begin there",
    "--data.root DIR": "folder of the data set, or set FSSEG_DATA_ROOT",
    "--data.fold N": "fold, which decides the novel classes: 0, 1, 2 ...",
    "--data.way N": "classes per episode",
    "--data.shot K": "supports per class (--data.test_shot for tests)",
    "--data.images.support_annotation A": "mask, scribble, box or points",
    "--data.episodes.missing_classes skip": "leave out classes that have too few images",
    "--model.method.OPTION VALUE": "option of the method: --model.method.align false",
    "--model.method.encoder.weights W": "pretrained, none, or a file",
    "--seed_everything N": "seed of weights and training episodes",
    "--trainer.OPTION VALUE": "option of Lightning's Trainer: devices, max_steps ...",
    "--print_config": "print the configuration and stop",
}
_ONLY = {
    "fit": {
        "--checkpoint.every_n_train_steps N": "steps between two checkpoints",
        "--model.weights FILE": "start from the weights of a checkpoint, with a new optimiser",
        "--data.episodes.min_images N": "leave out classes with fewer train images",
    },
    "test": {
        "--untrained": "test without a checkpoint, e.g. PANet-init",
        "--protocol.name P": "fsseg, panet, pmms, pfenet, hsnet, oslsm, or a suite's",
        "--data.episodes.test_file FILE": "test the episodes of a file, e.g. an episodes.json",
        "--protocols all": "test under all protocols, or some: panet,pmms",
        "--suite cdfss": "test several data sets, or some: suim,isic2018=DIR",
    },
}


def overview() -> str:
    """The first page: it fits 24 lines of 100 columns."""
    rows = {name: what for name, (what, _) in COMMANDS.items() if " " not in name}
    rows |= {group: ", ".join(actions(group)) for group in GROUPS}
    commands = "\n".join(f"  {name:14}{what}" for name, what in rows.items())
    methods = sorted({name.partition("_")[0] for name in experiments()})
    form = "experiments, as METHOD_{voc,coco,shapes}_{1,5}shot (a wrong name lists all):"
    names = textwrap.fill(" ".join([form, *methods]), 100)
    return (
        f"fsseg {fsseg.__version__}  few-shot segmentation experiments    more: fsseg COMMAND --help, or docs/\n"
        f"{commands}\n{names}"
    )


def module_of(command: str) -> ModuleType:
    """The module of a command other than fit, validate and test."""
    return import_module(f"fsseg.cli.{_MODULES.get(command, command)}")


def options_of(command: str, dataset: str | None = None) -> Options:
    """The parser of a command other than fit, validate and test.

    Args:
        command: Name of the command, e.g. ``table`` or ``data info``.
        dataset: Data set whose options a data command has too.
    """
    module, *action = command.split()
    made: Options = module_of(module).options(*action, *[dataset] if dataset else [])
    return made


def command_help(command: str, dataset: str | None = None) -> str:
    """The page of a command, with the common options of fit, validate and test, or all options of other commands."""
    what, example = COMMANDS[command]
    if command in TRAINER:
        rows = {**_OPTIONS, **_ONLY.get(command, {})}
        more = f"\nall options: fsseg {command} --help_all    of a method: fsseg {command} --model.method.help PANet"
    else:
        rows, more = options_of(command, dataset).rows(), ""
    return f"fsseg {command}  {what}\n  {example}\n\n{table(rows)}{more}"


def actions(group: str) -> list[str]:
    """Second words of the commands of a group."""
    return [name.removeprefix(f"{group} ") for name in COMMANDS if name.startswith(f"{group} ")]


def group_help(group: str, arguments: list[str]) -> str:
    """The page of all commands of a group, or of one of them."""
    names = [word for word in arguments if not word.startswith("-")]
    if names:
        check_action(group, names[0])
        return command_help(f"{group} {names[0]}", names[1] if group == "data" and len(names) > 1 else None)
    found = {name: COMMANDS[f"{group} {name}"] for name in actions(group)}
    lines = [f"  fsseg {f'{group} {name}':15}{what}\n    {example}" for name, (what, example) in found.items()]
    more = ", fsseg data COMMAND DATASET --help" if group == "data" else ""
    return "\n".join([*lines, f"\nmore: fsseg {group} COMMAND --help{more}"])


def check_action(group: str, command: str) -> None:
    """Refuse an unknown command of a group before anything large is imported.

    Raises:
        FssegError: The command is unknown.
    """
    known = actions(group)
    if command not in known:
        raise FssegError(f"no command '{group} {command}'.{did_you_mean(command, known)} Commands: {', '.join(known)}.")
