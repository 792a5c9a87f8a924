"""`fsseg card`: facts of the checkpoint, numbers of its own tests, nothing of the machine."""

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from fsseg.checksum import content_digest, file_digest
from fsseg.zoo.anonymous import without_machine, without_paths
from fsseg.zoo.model_card import read_card

NAME = "panet-convnet-shapes-fold0-1shot"
FOLDER = Path("zoo") / NAME


@pytest.fixture
def run(finished_test: Path, tmp_path: Path) -> Path:
    """A run whose test is finished; a test may change it."""
    return Path(shutil.copytree(finished_test.parent, tmp_path / "run"))


def refused(ran: Any) -> str:
    assert (ran.code, len(ran.err.strip().splitlines())) == (2, 1), ran.err
    return ran.line


def front_matter() -> dict[str, Any]:
    return yaml.safe_load((FOLDER / "README.md").read_text().split("---\n")[1])


def change(checkpoint: Path, table: Path, edit: Callable[[dict[str, Any]], Any]) -> None:
    """Change a checkpoint, and let its test be one of the changed file."""
    content = torch.load(checkpoint, weights_only=True)
    edit(content)
    torch.save(content, checkpoint)
    record = json.loads(table.read_text())
    record["asked"]["weights"] = content_digest(checkpoint)
    table.write_text(json.dumps(record))


def test_a_card_has_the_facts_and_the_numbers_of_the_table(fsseg: Any, run: Path) -> None:
    table = json.loads((run / "finished/table.json").read_text())
    ran = fsseg("card", str(run / "last.ckpt"), "--table", str(run / "finished"), "--licence", "Apache-2.0")
    assert ran.code == 0, ran.err
    card = read_card(FOLDER / "card.json")
    file = FOLDER / card.file
    assert (card.name, card.file) == (NAME, f"{NAME}.ckpt")
    assert (card.sha256, card.size) == (hashlib.sha256(file.read_bytes()).hexdigest(), file.stat().st_size)
    assert (card.method, card.label) == ("fsseg.methods.panet.PANet", "PANet")
    assert (card.encoder.name, card.encoder.weights) == ("ConvNet", None)
    of = card.training
    assert (of.dataset, of.fold, of.way, of.shot, of.steps, of.seed) == ("Shapes", 0, 1, 1, 4, 0)
    assert (len(of.classes), of.selection) == (15, "last")
    (test,) = card.tests
    assert (test.protocol, test.digest) == ("fsseg", table["protocol"]["digest"])
    for name in ("mean_iou", "binary_iou"):
        assert {"mean": getattr(test, name).mean, "std": getattr(test, name).std} == table[name]
    front = front_matter()
    assert (front["license"], front["library_name"]) == ("apache-2.0", "fsseg")
    (result,) = front["model-index"][0]["results"]
    assert result["metrics"][0]["value"] == round(table["mean_iou"]["mean"], 2)
    lines = (FOLDER / "README.md").read_text().splitlines()
    assert any(f"| {table['mean_iou']['mean']:.1f} +- {table['mean_iou']['std']:.1f} |" in line for line in lines)
    options = "--protocol.name fsseg --protocol.runs 2 --protocol.episodes 10"
    assert f"fsseg test --ckpt_path {NAME}.ckpt {options}" in lines


def test_what_is_not_given_is_said_to_be_unknown(fsseg: Any, run: Path) -> None:
    ran = fsseg("card", str(run / "last.ckpt"))
    assert ran.code == 0, ran.err
    assert "no numbers: give tests of this checkpoint with --table" in ran.out
    assert "licence   not stated" in ran.out
    front = front_matter()
    assert front["license"] == "unknown"
    assert not {"metrics", "model-index"} & front.keys()
    readme = (FOLDER / "README.md").read_text()
    assert "| licence | not stated: ask the publisher" in readme
    assert "No test of this checkpoint was given." in readme
    card = json.loads((FOLDER / "card.json").read_text())
    assert (card["licence"], card["tests"]) == (None, [])


@pytest.mark.slow
def test_the_published_checkpoint_gives_the_numbers_of_its_card_and_starts_trainings_only(
    fsseg: Any,
    run: Path,
) -> None:
    assert fsseg("card", str(run / "last.ckpt"), "--table", str(run / "finished/table.json")).code == 0
    assert fsseg("zoo", "index", "zoo").code == 0
    ran = fsseg("zoo", "fetch", NAME, "--index", "zoo", "--out", "theirs")
    command = next(line for line in ran.out.splitlines() if line.startswith("next: fsseg test")).split()[2:]
    ran = fsseg(*command, "--out", "again")
    assert ran.code == 0, ran.err
    before, after = (json.loads(path.read_text()) for path in (run / "finished/table.json", Path("again/table.json")))
    assert [after[name] for name in ("mean_iou", "binary_iou", "classes")] == [
        before[name] for name in ("mean_iou", "binary_iou", "classes")
    ]
    assert after["protocol"]["digest"] == before["protocol"]["digest"]
    checkpoint = f"theirs/{NAME}.ckpt"
    assert "without an optimiser: start a training with --model.weights" in fsseg("fit", "--ckpt_path", checkpoint).line
    ran = fsseg("card", checkpoint, "--table", "again", "--out", "third")
    assert ran.code == 0, ran.err
    assert content_digest(Path(checkpoint)) == content_digest(Path(f"third/{NAME}.ckpt"))


def test_nothing_of_the_machine_is_published(
    fsseg: Any,
    run: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HOME", "/home/alice")
    table = run / "finished/table.json"
    root = "/data/of alice/voc"
    notes = [f"images in {root}/JPEGImages are missing", "read from ~alice/x.txt"]

    def edit(content: dict[str, Any]) -> None:
        config = yaml.safe_load(content["fsseg"]["config"])
        config["data"]["root"] = root
        config["data"]["loading"]["cache_folder"] = "/scratch/alice/cache"
        config["data"]["episodes"]["pairs_files"] = "/home/alice/lists"
        config["model"]["weights"] = "/home/alice/runs/first/last.ckpt"
        config["trainer"]["default_root_dir"] = "C:\\Users\\alice\\runs"
        config["trainer"]["logger"] = {
            "class_path": "lightning.pytorch.loggers.CSVLogger",
            "init_args": {"save_dir": "alice"},
        }
        content["fsseg"]["config"] = yaml.safe_dump(config)

    change(run / "last.ckpt", table, edit)
    record = json.loads(table.read_text())
    record |= {"notes": notes, "details": ["episodes of /home/alice/list.json", f"in {tmp_path}/run"]}
    table.write_text(json.dumps(record))
    ran = fsseg("card", str(run / "last.ckpt"), "--table", str(table))
    assert ran.code == 0, ran.err
    for path in FOLDER.iterdir():
        content = path.read_bytes()
        for secret in (b"alice", bytes(tmp_path), b"/home", b"/scratch", str(run.resolve()).encode()):
            assert secret not in content, (path.name, secret)
    (test,) = read_card(FOLDER / "card.json").tests
    assert test.notes == ["images in JPEGImages are missing", "read from x.txt"]
    published = torch.load(FOLDER / f"{NAME}.ckpt", weights_only=True)
    assert set(published) == {"epoch", "global_step", "pytorch-lightning_version", "state_dict", "fsseg"}
    assert yaml.safe_load(published["fsseg"]["config"])["data"]["root"] is None


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("read /home/alice/a.txt, twice", "read a.txt, twice"),
        ("~/a.txt", "a.txt"),
        ("(~alice/b/c)", "(c)"),
        ("C:\\Users\\alice\\x y.pth", "x y.pth"),
        ("in C:\\Users\\alice\\x.pth", "in x.pth"),
        ("\\\\server\\alice\\x.pth", "x.pth"),
        ("from file:///home/alice/x", "from x"),
        ("/home/alice", "..."),
        ("in /Users/alice/", "in ..."),
        ("/", "..."),
        ("weights=/srv/alice/w.pth", "weights=w.pth"),
        ("'/srv/alice/w.pth'", "'w.pth'"),
        ("1/2 of a mean +- 3, and/or km/h", "1/2 of a mean +- 3, and/or km/h"),
        ("https://host/a/b", "https://host/a/b"),
        ("data/voc", "data/voc"),
    ],
)
def test_paths_are_reduced_to_their_last_part(text: str, shown: str) -> None:
    assert without_paths(text) == shown
    assert without_machine({"a": [text], "dirpath": text}) == {"a": [shown], "dirpath": None}


def test_a_table_of_another_checkpoint_is_refused(fsseg: Any, run: Path) -> None:
    content = torch.load(run / "last.ckpt", weights_only=True)
    name = next(iter(content["state_dict"]))
    content["state_dict"][name] += 1
    torch.save(content, run / "other.ckpt")
    line = refused(fsseg("card", str(run / "other.ckpt"), "--table", str(run / "finished/table.json")))
    assert f"is of {run.parent}" not in line or "last.ckpt (step 4, last), not of" in line
    assert "other.ckpt, step 4: a card has the tests of its own checkpoint only" in line
    assert not Path("zoo").exists()


@pytest.mark.slow
def test_refined_numbers_are_refused(fsseg: Any, run: Path) -> None:
    checkpoint = str(run / "last.ckpt")
    assert fsseg("test", "--ckpt_path", checkpoint, "--model.refine", "true", "--out", "refined").code == 0
    line = refused(fsseg("card", checkpoint, "--table", "refined/table.json"))
    assert line.endswith(
        "refined/table.json is of PANet (refined): a card has the numbers of the checkpoint alone. Test without "
        "--model.refine."
    )


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda table: table["mean_iou"].update(mean=99.0), "has other numbers than rows.csv beside it"),
        (lambda table: table["mean_iou"].update(mean="99"), "has no numbers of a test"),
        (lambda table: table["binary_iou"].update(mean=101.0), "has no numbers of a test"),
        (lambda table: table.update(asked={}), "a card has the tests of its own checkpoint only"),
        (lambda table: table.update(checkpoint=None, asked={"weights": "untrained"}), "is of untrained, not of"),
        (lambda table: table.pop("protocol"), "is broken, or another version of fsseg wrote it"),
        (lambda table: table.update(notes=["\x1b[2J"]), "is broken, or another version of fsseg wrote it"),
    ],
)
def test_tables_that_were_changed_are_refused(
    fsseg: Any,
    run: Path,
    edit: Callable[[dict[str, Any]], Any],
    message: str,
) -> None:
    table = run / "finished/table.json"
    content = json.loads(table.read_text())
    edit(content)
    table.write_text(json.dumps(content))
    assert message in refused(fsseg("card", str(run / "last.ckpt"), "--table", str(table)))


def test_wrong_words_are_one_line(fsseg: Any, run: Path) -> None:
    checkpoint = str(run / "last.ckpt")
    Path("text.ckpt").write_text("no checkpoint")
    for words, message in (
        (("gone.ckpt",), "gone.ckpt: no such file"),
        (("text.ckpt",), "cannot be read"),
        ((checkpoint, "--table", "gone"), "gone: no such folder"),
        ((checkpoint, "--table", str(run / "finished/rows.csv")), "is no test: give a table.json"),
        ((checkpoint, "--name", "../x"), "name ../x: up to 100 letters"),
        ((checkpoint, "--licence", "a\nb"), "licence: a name of up to 100 characters"),
        ((checkpoint, "--lisence", "mit"), "Did you mean --licence?"),
        ((checkpoint, "--out", "text.ckpt"), "--out text.ckpt is no folder"),
    ):
        assert message in refused(fsseg("card", *words)), words
    assert not Path("zoo").exists()


def test_files_of_others_are_not_overwritten(fsseg: Any, run: Path) -> None:
    checkpoint = str(run / "last.ckpt")
    Path("project").mkdir()
    Path("project/README.md").write_text("mine")
    assert "--out project holds files of something else" in refused(fsseg("card", checkpoint, "--out", "project"))
    assert Path("project/README.md").read_text() == "mine"
    assert fsseg("card", checkpoint).code == 0
    before = file_digest(FOLDER / f"{NAME}.ckpt")
    assert fsseg("card", checkpoint, "--licence", "mit").code == 0  # again, with more facts
    assert file_digest(FOLDER / f"{NAME}.ckpt") == before
    assert read_card(FOLDER / "card.json").licence == "mit"
    assert f"holds {NAME}, not b" in refused(fsseg("card", checkpoint, "--name", "b", "--out", str(FOLDER)))
    readme = FOLDER / "README.md"
    readme.write_text(readme.read_text() + "More.\n")
    assert "was changed by hand and would be lost" in refused(fsseg("card", checkpoint))
    readme.unlink()
    again = refused(fsseg("card", str(FOLDER / f"{NAME}.ckpt")))
    assert "would be overwritten" in again
