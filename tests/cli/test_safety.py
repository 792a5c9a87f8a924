"""Files of strangers run no code and write nothing outside their folder: each attack would leave a marker behind."""

import base64
import json
import os
import pickle
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from tests.cli.conftest import Ran


@pytest.fixture
def marker(tmp_path: Path) -> Iterator[Path]:
    """A file that exists once an attack has worked."""
    path = tmp_path / "marker"
    yield path
    assert not path.exists(), "the attack has run code"


@pytest.fixture
def planted(tmp_path: Path, marker: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Name of a module that can be imported, and marks that it was; its classes are what a configuration wants."""
    folder = tmp_path / "site"
    folder.mkdir()
    (folder / "planted.py").write_text(
        f"open({str(marker)!r}, 'w').close()\n"
        "from fsseg.methods import PANet\nfrom fsseg.encoders import ConvNet\nfrom fsseg.datasets import Shapes\n"
        "from torch.optim import SGD\nfrom torch.optim.lr_scheduler import StepLR\nfrom lightning import Callback\n"
        "from lightning.pytorch.loggers import CSVLogger\nfrom albumentations import HorizontalFlip\n"
        "def build(*a, **k): return None\n"
    )
    monkeypatch.syspath_prepend(str(folder))
    yield "planted"
    sys.modules.pop("planted", None)


class Bomb:
    """Touches a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {self.path}",)


@pytest.fixture
def run(trained: Path, tmp_path: Path) -> Path:
    """The folder of a run that a stranger may change: its last.ckpt and config.yaml."""
    folder = tmp_path / "run"
    folder.mkdir()
    shutil.copy(trained, folder / "last.ckpt")
    shutil.copy(trained.parent / "config.yaml", folder / "config.yaml")
    return folder


@pytest.fixture
def finished(finished_test: Path, trained: Path, tmp_path: Path) -> Path:
    """The folder of a test below that of its run, both a stranger's."""
    folder = tmp_path / "theirs"
    folder.mkdir()
    shutil.copy(trained, folder / "last.ckpt")
    shutil.copytree(finished_test, folder / "test")
    table = json.loads((folder / "test/table.json").read_text())
    table["checkpoint"]["path"] = str(folder / "last.ckpt")
    (folder / "test/table.json").write_text(json.dumps(table))
    return folder / "test"


def change(path: Path, edit: Callable[[dict], Any]) -> None:
    """Change a configuration file."""
    content = yaml.safe_load(path.read_text())
    edit(content)
    path.write_text(yaml.safe_dump(content))


def change_card(path: Path, edit: Callable[[dict], Any]) -> None:
    """Change the configuration inside a checkpoint."""
    checkpoint = torch.load(path, weights_only=True)
    content = yaml.safe_load(checkpoint["fsseg"]["config"])
    edit(content)
    checkpoint["fsseg"]["config"] = yaml.safe_dump(content)
    torch.save(checkpoint, path)


def refused(ran: Ran, *words: str) -> None:
    """One line, exit code 2, that says what is wrong."""
    assert ran.code == 2, ran.err
    others = ("drawing", "note:", "training classes:", "validation:")
    lines = [line for line in ran.err.strip().splitlines() if not line.startswith(others)]
    assert len(lines) == 1, ran.err
    assert lines[0].startswith("fsseg: ")
    assert lines[0].isprintable()
    for word in words:
        assert word in lines[0], lines[0]


NAMED = {
    "method": lambda c, name: c["model"]["method"].update(class_path=f"{name}.PANet"),
    "method as text": lambda c, name: c["model"].update(method=f"{name}.PANet"),
    "encoder": lambda c, name: c["model"]["method"]["init_args"].update(encoder={"class_path": f"{name}.ConvNet"}),
    "encoder as text": lambda c, name: c["model"]["method"]["init_args"].update(encoder=f"{name}.ConvNet"),
    "optimizer": lambda c, name: c["model"].update(optimizer={"class_path": f"{name}.SGD"}),
    "optimizer as text": lambda c, name: c["model"].update(optimizer=f"{name}.build"),
    "schedule": lambda c, name: c["model"].update(lr_scheduler={"class_path": f"{name}.StepLR"}),
    "dataset": lambda c, name: c["data"].update(dataset={"class_path": f"{name}.Shapes"}),
    "dataset as text": lambda c, name: c["data"].update(dataset=f"{name}.Shapes"),
    "augment": lambda c, name: c["data"]["images"].update(augment=[{"class_path": f"{name}.HorizontalFlip"}]),
    "augment as text": lambda c, name: c["data"]["images"].update(augment=[f"{name}.HorizontalFlip"]),
    "callback": lambda c, name: c["trainer"].update(callbacks=[{"class_path": f"{name}.Callback"}]),
    "callback as text": lambda c, name: c["trainer"].update(callbacks=[f"{name}.Callback"]),
    "logger": lambda c, name: c["trainer"].update(logger={"class_path": f"{name}.CSVLogger"}),
    "profiler": lambda c, name: c["trainer"].update(profiler={"class_path": f"{name}.Profiler"}),
    "plugin": lambda c, name: c["trainer"].update(plugins=[f"{name}.build"]),
    "an option of any type": lambda c, name: c["trainer"].update(
        logger={"class_path": "lightning.pytorch.loggers.WandbLogger",
                "init_args": {"experiment": {"class_path": f"{name}.build"}}}
    ),
}  # fmt: skip


@pytest.mark.parametrize(
    ("place", "beside"),
    [*((place, True) for place in NAMED), *((place, False) for place in ("method", "optimizer as text", "augment"))],
)
def test_a_stored_configuration_imports_no_other_module(
    fsseg, run: Path, planted: str, marker: Path, place: str, beside: bool
) -> None:
    if beside:
        change(run / "config.yaml", lambda content: NAMED[place](content, planted))
    else:
        (run / "config.yaml").unlink()
        change_card(run / "last.ckpt", lambda content: NAMED[place](content, planted))
    refused(fsseg("test", "--ckpt_path", str(run / "last.ckpt")))


@pytest.mark.slow
def test_it_says_how_to_go_on_with_an_own_class(
    fsseg, run: Path, planted: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "site/planted.py").write_text("from fsseg.methods import PANet as Own\nclass Mine(Own):\n    pass\n")
    for edit in (change, change_card):
        path = run / ("config.yaml" if edit is change else "last.ckpt")
        edit(path, lambda content: content["model"]["method"].update(class_path="planted.Mine"))
    command = ["test", "--ckpt_path", str(run / "last.ckpt"), "--protocol.runs=1", "--protocol.episodes=2"]
    refused(fsseg(*command), "planted.Mine", "FSSEG_TRUST=planted", "--config")
    named = fsseg(*command, "--config", str(run / "config.yaml"))
    assert named.code == 0, named.err
    monkeypatch.setenv("FSSEG_TRUST", "other, planted")
    trusted = fsseg(*command)
    assert trusted.code == 0, trusted.err
    monkeypatch.setenv("FSSEG_TRUST", "no module")
    refused(fsseg(*command), "FSSEG_TRUST")


@pytest.mark.parametrize(
    "name", ["os.system", "fsseg.files.images.os.system", "fsseg.episodes.transforms.importlib.import_module",
             "torch.load", "builtins.eval", "fsseg.cli.main", "jsonargparse.set_parsing_settings",
             "lightning.pytorch.callbacks.os"],
)  # fmt: skip
@pytest.mark.parametrize("place", ["method", "optimizer as text", "augment as text"])
def test_nor_a_known_module_for_what_it_imports(fsseg, run: Path, name: str, place: str) -> None:
    change(run / "config.yaml", lambda content: NAMED[place](content, name.rpartition(".")[0]))
    content = (run / "config.yaml").read_text()
    for last in ("PANet", "build", "Callback", "HorizontalFlip"):
        content = content.replace(f"{name.rpartition('.')[0]}.{last}", name)
    (run / "config.yaml").write_text(content)
    refused(fsseg("test", "--ckpt_path", str(run / "last.ckpt")))


YAML = {
    "tag": ("!!python/object/apply:os.system ['touch {marker}']", "python"),
    "tag inside": ("model: !!python/object/new:os.system ['touch {marker}']", "python"),
    "deep": ("[" * 3000, "nested"),
    "aliases": (
        "a0: &a0 [x, x]\n" + "".join(f"a{i}: &a{i} [*a{i - 1}, *a{i - 1}]\n" for i in range(1, 60)), "aliases"
    ),
    "itself": ("model: &a {{method: *a}}", "aliases"),
    "long": ("model: " + "x" * (1 << 19), "characters"),
    "date": ("model: 2020-13-45", "month"),
    "no text": ("model: \x00", ""),
    "list": ("[1, 2]", "no options"),
    "alien option": ("ckpt_path: other.ckpt", "ckpt_path"),
    "unsafe loading": ("weights_only: false", "weights_only"),
    "section": ("model: /dev/zero", "model"),
}  # fmt: skip


@pytest.mark.parametrize("attack", YAML)
def test_yaml_of_a_run_builds_nothing_and_ends(fsseg, run: Path, marker: Path, attack: str) -> None:
    text, word = YAML[attack]
    (run / "config.yaml").write_text(text.format(marker=marker) if "marker" in text or "{{" in text else text)
    refused(fsseg("test", "--ckpt_path", str(run / "last.ckpt")), str(run / "config.yaml"), word)


@pytest.mark.parametrize("section", ["model", "data", "trainer", "checkpoint", "protocol", "seed_everything"])
@pytest.mark.parametrize("value", ["null", "5.5"])
def test_an_experiment_with_an_empty_section_is_one_line(fsseg, tmp_path: Path, section: str, value: str) -> None:
    from tests.cli.conftest import QUICKSTART

    (tmp_path / "more.yaml").write_text(f"{section}: {value}\n")
    refused(fsseg("fit", *QUICKSTART, "--config", "more.yaml"))


WRITES = {
    "checkpoints": lambda c, place: c["checkpoint"].update(dirpath=place),
    "names of checkpoints": lambda c, place: c["checkpoint"].update(filename=place),
    "default": lambda c, place: c["trainer"].update(default_root_dir=place),
    "logger": lambda c, place: c["trainer"].update(
        logger={"class_path": "lightning.pytorch.loggers.TensorBoardLogger", "init_args": {"save_dir": place}}
    ),
    "name of a logger": lambda c, place: c["trainer"].update(
        logger={"class_path": "lightning.pytorch.loggers.CSVLogger", "init_args": {"save_dir": ".", "name": place}}
    ),
}


@pytest.mark.parametrize(
    ("option", "place"),
    [
        *((option, "{out}") for option in WRITES),
        *(("logger", p) for p in ("../../outside", "file://{out}", "~/outside")),
    ],
)
def test_a_stored_configuration_writes_nowhere_else(
    fsseg, run: Path, tmp_path_factory, option: str, place: str
) -> None:
    out = tmp_path_factory.mktemp("outside") / "x"
    change(run / "config.yaml", lambda content: WRITES[option](content, place.format(out=out)))
    refused(fsseg("fit", "--ckpt_path", str(run / "last.ckpt"), "--trainer.max_steps=6"), "would write to")
    assert not out.exists()


def test_wandb_is_told_no_server_by_a_stranger(fsseg, run: Path) -> None:
    options = {"settings": {"base_url": "http://127.0.0.1:1"}}
    change(
        run / "config.yaml",
        lambda content: content["trainer"].update(
            logger={"class_path": "lightning.pytorch.loggers.WandbLogger", "init_args": options}
        ),
    )
    refused(fsseg("test", "--ckpt_path", str(run / "last.ckpt")), "settings")


PICKLES = {
    "checkpoint": lambda path, bomb: torch.save({"fsseg": bomb}, path),
    "checkpoint of old form": lambda path, bomb: torch.save(
        {"state_dict": bomb}, path, _use_new_zipfile_serialization=False
    ),
    "pickle": lambda path, bomb: path.write_bytes(pickle.dumps(bomb)),
}


@pytest.mark.parametrize("kind", PICKLES)
@pytest.mark.parametrize("command", ["test", "validate", "fit"])
def test_a_pickle_in_place_of_a_checkpoint_is_refused(fsseg, tmp_path, marker, kind: str, command: str) -> None:
    path = tmp_path / "theirs.ckpt"
    PICKLES[kind](path, Bomb(marker))
    refused(fsseg(command, "--ckpt_path", str(path)), "theirs.ckpt")
    refused(fsseg(command, "--ckpt_path", str(path), "--weights_only=false"), "theirs.ckpt")


def test_a_pickle_among_the_states_of_a_checkpoint_is_refused(fsseg, run: Path, marker: Path) -> None:
    checkpoint = torch.load(run / "last.ckpt", weights_only=True)
    torch.save({**checkpoint, "callbacks": {"x": Bomb(marker)}}, run / "last.ckpt")
    refused(fsseg("fit", "--ckpt_path", str(run / "last.ckpt"), "--weights_only=false"), "last.ckpt")


STATES = ("loops", "callbacks", "optimizer_states", "lr_schedulers", "random", "epoch", "pytorch-lightning_version",
          "state_dict", "global_step")  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("key", STATES)
@pytest.mark.parametrize("value", [None, {"x": 5}], ids=str)
def test_broken_states_of_a_checkpoint_are_one_line(fsseg, run: Path, key: str, value: object) -> None:
    checkpoint = torch.load(run / "last.ckpt", weights_only=True)
    torch.save({**checkpoint, key: value}, run / "last.ckpt")
    ran = fsseg("fit", "--ckpt_path", str(run / "last.ckpt"), "--trainer.max_steps=5", "--data.episodes.val=0")
    assert ran.code in (0, 2), ran.err  # 0: of callbacks that do not ask for theirs
    if ran.code:
        refused(ran, "checkpoint" if "checkpoint" in ran.line else "last.ckpt")


@pytest.mark.slow
@pytest.mark.parametrize("kind", PICKLES)
def test_pretrained_weights_run_no_code(fsseg, tmp_path: Path, marker: Path, kind: str) -> None:
    path = tmp_path / "weights.pth"
    PICKLES[kind](path, Bomb(marker))
    ran = fsseg("test", "--untrained", "--config", "experiments/panet_shapes_1shot.yaml",
                "--model.method.encoder=VGG16", f"--model.method.encoder.weights={path}")  # fmt: skip
    refused(ran, "weights.pth")


@pytest.mark.parametrize("command", ["look", "distance"])
@pytest.mark.parametrize("place", ["method", "augment"])
def test_the_folder_of_a_test_imports_no_other_module(
    fsseg, finished: Path, planted: str, marker: Path, command: str, place: str
) -> None:
    change(finished / "config.yaml", lambda content: NAMED[place](content, planted))
    refused(fsseg(command, str(finished)))


def test_the_folder_of_a_test_brings_no_pickle(fsseg, finished: Path, marker: Path) -> None:
    PICKLES["checkpoint"](finished.parent / "last.ckpt", Bomb(marker))
    refused(fsseg("look", str(finished)), "last.ckpt")


def test_a_report_shows_markup_of_a_stranger_as_text(fsseg, finished: Path, planted: str, marker: Path) -> None:
    change(finished / "config.yaml", lambda content: NAMED["method"](content, planted))
    script = "<script>alert(1)</script>"
    table = json.loads((finished / "table.json").read_text())
    table["classes"][0]["name"] = table["dataset"] = script
    table["notes"] = [script]
    (finished / "table.json").write_text(json.dumps(table))
    (finished / "config.yaml").write_text((finished / "config.yaml").read_text() + f"# {script}\n")
    (finished.parent / "run.json").write_text(json.dumps({script: script}))
    ran = fsseg("report", str(finished), "--out", "report.html")
    assert ran.code == 0, ran.err
    assert script not in Path("report.html").read_text()
    for command in (["table", str(finished)], ["table", str(finished), "--classes"]):
        assert fsseg(*command, "--out", "table.html").code == 0
        assert script not in Path("table.html").read_text()


def test_a_page_is_not_written_through_a_link_of_a_stranger(fsseg, finished: Path, tmp_path: Path) -> None:
    mine = tmp_path / "mine.txt"
    mine.write_text("mine")
    for name in ("report.html", ".report.html.part"):
        (finished / name).symlink_to(mine)
    assert fsseg("report", str(finished), "--quick").code == 0
    assert mine.read_text() == "mine"
    assert (finished / "report.html").is_file()
    assert not (finished / "report.html").is_symlink()


def test_a_page_does_not_show_what_a_link_of_a_stranger_leads_to(fsseg, finished: Path, tmp_path: Path) -> None:
    mine = tmp_path / "mine.txt"
    mine.write_text("my secret")
    for name in ("config.yaml", "episodes.png"):
        (finished / name).unlink()
        (finished / name).symlink_to(mine)
    assert fsseg("report", str(finished), "--quick", "--out", "report.html").code == 0
    page = Path("report.html").read_text()
    assert "my secret" not in page
    assert base64.b64encode(b"my secret").decode() not in page


def test_a_run_is_not_gone_on_with_through_links_that_lead_out(fsseg, run: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (run / "logs").symlink_to(tmp_path / "elsewhere")
    refused(fsseg("fit", "--ckpt_path", str(run / "last.ckpt"), "--trainer.max_steps=6"), "logs", "link")
    assert not any((tmp_path / "elsewhere").iterdir())


def test_text_of_a_stranger_does_not_reach_the_terminal_as_commands(fsseg, finished: Path) -> None:
    table = json.loads((finished / "table.json").read_text())
    (finished / "table.json").write_text(json.dumps({**table, "method": "\x1b]0;title\x07 PANet"}))
    refused(fsseg("table", str(finished)))


def test_a_cache_with_a_pickle_in_it_is_made_anew(tmp_path: Path, marker: Path, monkeypatch) -> None:
    from fsseg.disk_cache import cached

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    made = cached("kind", [], lambda: {"pixels": np.zeros((2, 3), np.int32)}, {"pixels": (2, 3)})
    assert made.cache is not None
    np.savez(made.cache, pixels=np.array([Bomb(marker)], dtype=object))
    again = cached("kind", [], lambda: {"pixels": np.zeros((2, 3), np.int32)}, {"pixels": (2, 3)})
    assert again.fresh
    assert again.arrays["pixels"].dtype == np.int32
