"""What `fsseg --help` and `fsseg COMMAND --help` print. Imports no torch."""

import fsseg
from fsseg.errors import FssegError
from fsseg.experiment.files import did_you_mean, experiments

COMMANDS = {
    "fit": "train a method",
    "validate": "a checkpoint on base classes",
    "test": "benchmark a checkpoint on novel classes",
    "benchmark": "all folds, shots and seeds",
    "table": "tables like the papers'",
    "sweep": "many trainings, compared",
    "compare": "two tests on the same episodes",
    "report": "one page with all of a run",
    "look": "pictures of a finished test",
    "curves": "training curves of several runs",
    "distance": "how far supports and queries lie apart",
    "predict": "your own pictures, from examples",
    "demo": "paint and see, in a browser",
    "export": "a method as ONNX or torch graphs",
}
_TEST_FOLDER = {
    "TEST_FOLDER": "that `fsseg test` wrote; its checkpoint and data are needed too",
    "--data.root DIR": "folder of the data set, where it has moved",
}
# Commands that are no experiments: module `fsseg.cli.<command>`, with options of its own.
OTHERS: dict[str, dict[str, str]] = {
    "benchmark": {
        "--config FILE": "experiment; several are merged",
        "--folds 0 1 2 3": "folds (default: all)",
        "--shots 1 5": "shots of the tests (default: the experiment's)",
        "--seeds 0 1 2": "seeds of the trainings (default: 0)",
        "--train_shot same|K": "trainings for each of the shots, or all with K (default: the experiment's way)",
        "--annotations A ...": "what supports of the tests are annotated with: mask scribble box",
        "--untrained": "test networks as they start",
        "--out DIR": "folder of it all; the same command goes on where it was (default: runs/EXPERIMENT)",
        "--dry-run": "say what would run, and what is done",
        "--workers N": "jobs at a time on this machine; GPUs are dealt out to them",
        "--threads N": "CPU threads of a job; a benchmark keeps the number it began with",
        "--engine local|ray|slurm": "here, on a Ray cluster (--address, --gpus, --retries), or a script for sbatch",
        "--OPTION VALUE": "any option of `fsseg fit`, for all trainings: --data.root DIR, --protocol.episodes 200 ...",
    },
    "table": {
        "RUNS ...": "folders with tests in them: of a benchmark, of runs",
        "--like PAPER-tableN": "panet-table1 .. 6, pmms-table1 .. 6: that table, our numbers beside the published ones",
        "--later": "with methods published later",
        "--format F": "text (default), markdown, latex, csv, html or json",
        "--classes": "a line for each class",
        "--out FILE": "write it there; the ending says the format",
        "--picture FILE": "draw IoU per class, and IoU against object size",
    },
    "sweep": {
        "FILE": "a sweep of W&B's form, e.g. experiments/sweeps/quickstart.yaml (grid or random)",
        "--local": "run it here; without a server, wandb sweep and wandb agent need one",
        "--count N": "points (default: the file's run_cap, or the whole grid)",
        "--seed N": "of random points (default: 0)",
        "--out DIR": "folder of it all; the same command goes on where it was (default: runs/sweeps/NAME)",
        "--workers N": "trainings at a time; GPUs are dealt out to them",
        "--dry-run": "say what would run, and what is done",
        "--OPTION VALUE": "any option of `fsseg fit`, for all points: --data.root DIR, --trainer.max_steps 20 ...",
    },
    "compare": {
        "A B": "two folders of tests on the same episodes",
        "--out DIR": "the episodes where they differ most, as pictures, and the numbers as JSON",
        "--count N": "episodes that are drawn (6)",
    },
    "report": {
        "RUN": "folder of a training, a test or a benchmark",
        "--out FILE": "page to write (RUN/report.html)",
        "--quick": "without building methods again: charts of rows and logs, episodes as the test drew them",
        "--data.root DIR": "folder of the data set, where it has moved",
    },
    "look": {
        **_TEST_FOLDER,
        "--count N": "best, median and worst episodes, each so many (3)",
        "--out DIR": "where pictures go (default: look/ in the test's folder)",
    },
    "distance": _TEST_FOLDER,
    "predict": {
        "--support [CLASS=]IMAGE:MASK ...": "examples; MASK: a picture, *.scribble.png, JSON, or a box: 10,20,90,80",
        "--query PICTURES ...": "files, folders or patterns",
        "--out DIR": "masks, overlays, scores, COCO's JSON; the same command goes on there (default: runs/predict)",
        "--ckpt_path FILE": "checkpoint, or a file of --save (default: PANet on ImageNet's VGG16, untrained)",
        "--config FILE": "the method of an experiment, untrained; --model.method.OPTION VALUE: its options",
        "--negative IMAGE[:MASK] ...": "pictures, or parts of them, that are not it",
        "--threshold T": "leave out a class whose score (0..1) is below; scores need two supports of a class (0)",
        "--size N": "pixels of a side that pictures are resized to (the checkpoint's, or 417)",
        "--long-side N": "resize the longer side, and keep proportions",
        "--tile N": "cut large pictures into squares of N pixels instead",
        "--probabilities": "write a map for each class, 0..255",
        "--save FILE": "keep what was learnt, for --ckpt_path and fsseg.Segmenter.load",
        "--device D": "cpu, cuda, cuda:1 (default: a GPU where there is one)",
    },
    "export": {
        "--ckpt_path FILE": "checkpoint of `fsseg fit`, or a file that Segmenter.save wrote, with what it has learnt",
        "--to onnx|torch": 'graphs for ONNX Runtime and others (pip install "fsseg[export]"), or torch.export\'s .pt2',
        "--out DIR": "where they go (default: export/ beside the checkpoint)",
        "--size N": "pixels of a side that images are shown at (default: the checkpoint's)",
        "--way N": "classes, for a method whose graphs need a fixed number (1)",
        "--shot N": "supports of a class, likewise (1), e.g. CANet's",
    },
    "curves": {
        "RUN ...": "folders of `fsseg fit`, with Lightning's logs in them",
        "--out FILE": "picture to write (curves.png)",
        "--metric NAME ...": "what to draw (train/segmentation where all runs have it, else train/loss; val/mean_iou)",
    },
    "demo": {
        "--ckpt_path FILE": "checkpoint, or a file of `predict --save` (default: PANet on ImageNet's VGG16, untrained)",
        "--config FILE": "the method of an experiment, untrained; --model.method.OPTION VALUE: its options",
        "--size N": "pixels of a side that pictures are resized to (the checkpoint's, or 417)",
        "--long-side N": "resize the longer side, and keep proportions",
        "--device D": "cpu, cuda, cuda:1 (default: a GPU where there is one)",
        "--host ADDRESS": "who can reach the page: 127.0.0.1 (default) is this machine alone",
        "--port N": "of the page (7860); 0 takes any that is free",
        "--max_mb N": "of a picture's file (20)",
        "--max_pixels N": "of a picture, by its header (40000000)",
    },
}

BARE = ("demo",)  # of these, what runs without an option too

DATA_COMMANDS = {
    "data prepare": "fetch, unpack and index a data set",
    "data verify": "read all of it and say what is wrong",
    "data info": "images per class, fold and split",
    "data show": "a picture of what the network sees",
    "data episodes": "write a test's episodes to a file",
}

_EXAMPLES = {
    "fit": "fsseg fit --config experiments/panet_voc_1shot.yaml --data.root DIR",
    "validate": "fsseg validate --ckpt_path runs/quickstart/fold0/last.ckpt",
    "test": "fsseg test --ckpt_path runs/quickstart/fold0/last.ckpt",
    "benchmark": "fsseg benchmark --config experiments/panet_shapes_1shot.yaml --shots 1 5",
    "table": "fsseg table runs/panet_shapes_1shot --like panet-table1",
    "sweep": "fsseg sweep experiments/sweeps/quickstart.yaml --local",
    "compare": "fsseg compare runs/a/fold0/test runs/b/fold0/test",
    "report": "fsseg report runs/quickstart/fold0",
    "look": "fsseg look runs/quickstart/fold0/test",
    "distance": "fsseg distance runs/quickstart/fold0/test",
    "export": "fsseg export --ckpt_path runs/quickstart/fold0/last.ckpt --to onnx",
    "curves": "fsseg curves runs/with_par runs/without_par --out curves.png",
    "predict": "fsseg predict --support cat=a.jpg:a.png --query photos/ --out out",
    "demo": "fsseg demo --ckpt_path runs/quickstart/fold0/last.ckpt",
    "data prepare": "fsseg data prepare pascal --root DIR",
    "data verify": "fsseg data verify coco --root DIR --report report.json",
    "data info": "fsseg data info folder --root DIR --out info.png",
    "data show": "fsseg data show --config experiments/panet_voc_1shot.yaml --data.root DIR",
    "data episodes": "fsseg data episodes --config experiments/panet_voc_1shot.yaml --data.root DIR",
}

_OPTIONS = {
    "--config FILE": "experiment; several are merged, flags win over files",
    "--ckpt_path FILE": "checkpoint; its configuration is used where --config is not given",
    "--out DIR": "where results go (default: below runs/, or beside the checkpoint)",
    "--resume": "go on in --out where a stopped command was, or begin there; nothing where it is done",
    "--data.root DIR": "folder of the data set, or set FSSEG_DATA_ROOT",
    "--data.fold 0 .. 3": "which classes are novel",
    "--data.way N": "classes per episode",
    "--data.shot K": "supports per class (--data.test_shot where the test's differ)",
    "--data.images.support_annotation A": "mask, scribble or box",
    "--data.episodes.missing_classes skip": "go on without classes that have too few images",
    "--model.method.OPTION VALUE": "an option of the method, e.g. --model.method.align false",
    "--model.method.encoder.weights W": "imagenet, none, or a file",
    "--seed_everything N": "seed of weights and training episodes",
    "--trainer.OPTION VALUE": "any option of Lightning's Trainer: devices, precision, max_steps ...",
    "--print_config": "print the whole configuration and stop",
}
_ONLY = {
    "fit": {"--checkpoint.every_n_train_steps N": "how often to keep a checkpoint"},
    "test": {
        "--untrained": "test without a checkpoint, e.g. PANet-init",
        "--protocol.name P": "fsseg (default), panet, pmms, pfenet or hsnet; any field: --protocol.episodes 200 ...",
        "--data.episodes.test_file FILE": "test the episodes of a file, e.g. of another test's episodes.json",
        "--data.episodes.pairs_files DIR": "list files of (image, class) pairs in place of PASCAL-5i's official ones",
        "--protocols all": "the same checkpoint under each protocol, side by side; or some: panet,pmms",
    },
}
_DATA_OPTIONS = {
    "prepare|verify|info DATASET": "pascal, coco, folder, coco_json or shapes",
    "--root DIR": "its folder, or set FSSEG_DATA_ROOT",
    "--OPTION VALUE": "an option of the data set, e.g. --year 2014, --fold_rule contiguous, --folds 3",
    "--archives DIR": "prepare: where archives lie that are downloaded already",
    "--report FILE": "verify: all problems as JSON",
    "--workers N": "verify: processes that read",
    "--pairs any|official": "info: which images count for a class, and --min_pixels N",
    "--out FILE": "info: draw a picture; show, episodes: what to write (episodes.png, episodes.json)",
    "--config FILE": "show, episodes: experiment; --data.OPTION and --protocol.OPTION as for fit and test",
    "--stage train|val|test": "show: which episodes; --count N: how many (6)",
}


def overview() -> str:
    """The first page."""
    every = {**COMMANDS, **DATA_COMMANDS}
    commands = "\n".join(f"  {name:14}{what:42}{_EXAMPLES[name]}" for name, what in every.items())
    names = "\n".join(_wrapped(sorted(experiments()), width=130))
    return (
        f"fsseg {fsseg.__version__}  few-shot segmentation experiments\n\n{commands}\n\n"
        f"experiments (fsseg fit --config experiments/NAME.yaml)\n{names}\n\nmore: fsseg COMMAND --help, or docs/"
    )


def command_help(command: str) -> str:
    """The page of a command: the options that people use; all others are one flag away."""
    if command in OTHERS:
        return f"fsseg {command}  {COMMANDS[command]}\n\n  {_EXAMPLES[command]}\n\n{_table(OTHERS[command])}"
    lines = _table({**_OPTIONS, **_ONLY.get(command, {})})
    return (
        f"fsseg {command}  {COMMANDS[command]}\n\n  {_EXAMPLES[command]}\n\n{lines}\n\n"
        f"all options: fsseg {command} --help-all    those of a method: fsseg {command} --model.method.help PANet"
    )


def data_help() -> str:
    """The page of the commands on data."""
    width = max(map(len, DATA_COMMANDS)) + 8
    commands = "\n".join(
        f"  {f'fsseg {name}':{width}}{what:40}{_EXAMPLES[name]}" for name, what in DATA_COMMANDS.items()
    )
    return f"{commands}\n\n{_table(_DATA_OPTIONS)}"


def _table(options: dict[str, str]) -> str:
    width = max(map(len, options)) + 2
    return "\n".join(f"  {option:{width}}{what}" for option, what in options.items())


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
    known = [name.removeprefix("data ") for name in DATA_COMMANDS]
    if command not in known:
        raise FssegError(f"no command 'data {command}'.{did_you_mean(command, known)} Commands: {', '.join(known)}.")
