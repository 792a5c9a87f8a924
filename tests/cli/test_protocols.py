"""`--protocol` and `--protocols`, as a person uses them."""

import csv
import json
from pathlib import Path

import pytest
import torch
import yaml

from fsseg.datasets import Pascal
from fsseg.experiment.protocol_options import settle
from fsseg.protocols.presets import NAMES
from fsseg.protocols.protocol import Protocol
from tests.cli.conftest import QUICKSTART, TINY

QUICK = ("--protocol.runs", "1", "--protocol.episodes", "4", "--protocol.min_pixels", "1", "--protocol.size", "32")


@pytest.mark.slow
def test_every_row_and_the_table_carry_the_protocol_and_its_hash(fsseg, trained, tmp_path):
    ran = fsseg("test", "--ckpt_path", str(trained), "--protocol.name", "hsnet", *QUICK, "--out", "result")
    assert ran.code == 0, ran.err
    table = json.loads((tmp_path / "result/table.json").read_text())
    digest = table["protocol"]["digest"]
    assert Protocol(**{name: table["protocol"][name] for name in vars(Protocol())}).digest == digest
    assert f"[#{digest}]" in ran.out
    assert f"hsnet#{digest}" in (tmp_path / "result/table.md").read_text()
    rows = list(csv.DictReader((tmp_path / "result/rows.csv").read_text().splitlines()))
    assert {row["protocol"] for row in rows} == {f"hsnet#{digest}"}
    assert "note: the protocol tests the best on the novel classes; this checkpoint is the last one" in ran.out


@pytest.mark.slow
def test_list_files_are_tested_and_named(fsseg, fake_voc, tmp_path):
    (tmp_path / "lists/val").mkdir(parents=True)
    dataset = Pascal()
    dataset.open(fake_voc)
    shown = [(dataset.image_name(i), c) for c in range(1, 6) for i in dataset.index.images(c, dataset.numbers("val"))]
    (tmp_path / "lists/val/split0_val.txt").write_text("".join(f"{name}__{c:02d}\n" for name, c in shown[::-1]))
    options = (
        "--untrained",
        "--data.dataset",
        "Pascal",
        "--data.root",
        str(fake_voc),
        "--data.episodes.pairs_files",
        "lists",
    )
    test = ("test", "--config", "experiments/quickstart.yaml", *options, *QUICK, "--data.loading.workers", "0")
    ran = fsseg(*test, "--protocol.name", "pmms", "--out", "listed")
    assert ran.code == 0, ran.err
    assert f"{len(shown)} pairs (list files [" in ran.out
    assert "pairs are by rule" not in ran.out
    rows = list(csv.DictReader((tmp_path / "listed/rows.csv").read_text().splitlines()))
    assert list(dict.fromkeys(row["query"] for row in rows)) == [name for name, _ in shown[::-1]][:4]
    without = fsseg(*test, "--protocol.name", "panet", "--out", "without")
    assert (
        without.code,
        "give --data.episodes.pairs official, or --protocol.pairs official in a test" in without.line,
    ) == (
        2,
        True,
    )


@pytest.mark.slow
def test_one_checkpoint_under_all_protocols(fsseg, trained, tmp_path):
    ran = fsseg("test", "--ckpt_path", str(trained), "--protocols", "all", *QUICK, "--out", "all")
    assert ran.code == 0, ran.err
    lines = ran.out.splitlines()
    rows = {line.split()[0]: line for line in lines if line.startswith("  ") and line.split()[:1]}
    assert all(name in rows for name in NAMES)
    content = json.loads((tmp_path / "all/protocols.json").read_text())
    for name in NAMES:
        table = json.loads((tmp_path / "all" / name / "table.json").read_text())
        assert content[name] == table
        assert f"{table['mean_iou']['mean']:.1f}" in rows[name]
        assert f"#{table['protocol']['digest']}" in rows[name]
        assert f"| {name} |" in (tmp_path / "all/protocols.md").read_text()
    alone = fsseg("test", "--ckpt_path", str(trained), "--protocol.name", "pmms", *QUICK, "--out", "alone")
    assert alone.code == 0, alone.err
    assert (tmp_path / "alone/rows.csv").read_bytes() == (tmp_path / "all/pmms/rows.csv").read_bytes()


@pytest.mark.slow
def test_a_protocol_that_is_not_possible_says_why_and_the_others_go_on(fsseg, trained, tmp_path):
    small = ("--protocol.runs=1", "--protocol.episodes=4", "--protocol.size=32")
    ran = fsseg("test", "--ckpt_path", str(trained), "--protocols", "panet,pfenet", *small, "--out", "two")
    assert ran.code == 0, ran.err
    assert (
        "pfenet    not possible: 1-way 1-shot with 1 query needs 2 val images a class; too few show (at least 2,0"
        in ran.out
    )
    assert json.loads((tmp_path / "two/protocols.json").read_text())["pfenet"]["refused"].startswith("1-way 1-shot")
    assert not (tmp_path / "two/pfenet").exists()
    assert (tmp_path / "two/panet/rows.csv").is_file()
    none = fsseg("test", "--ckpt_path", str(trained), "--protocols", "pfenet", "--out", "none")
    assert (none.code, "no protocol can be tested here. pfenet: 1-way" in none.line) == (2, True)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["fit", "--protocols", "all"], "--protocols is for `test`"),
        (["test", "--protocols", "all,panet"], "`all` stands alone"),
        (["test", "--protocol.fold_rule", "contiguous"], "--protocol.fold_rule is about COCO-20i; here, leave it out"),
        (["test", "--protocol.seed", "5000000000"], "--protocol.seed 5000000000: at most 4,294,967,29"),
        (
            ["fit", "--config", "experiments/quickstart.yaml", "--protocol.base_images", "drop"],
            "follows --data.episodes.drop_novel true",
        ),
        (["test", "--data.episodes.test_file", ""], "--data.episodes.test_file is empty"),
        (["test", "--protocols", "panet,pfnet"], "--protocols pfnet: `all`, or some of fsseg, panet, pmms"),
        (["test", "--protocols", ","], "--protocols: `all`, or some of"),
        (["test", "--protocols"], "--protocols needs a value."),
        (["test", "--protocols", "all", "--protocol.name", "panet"], "leave --protocol.name out"),
        (
            ["test", "--protocol.name", "voc"],
            "--protocol.name voc: one of fsseg, panet, pmms, pfenet, hsnet, oslsm, fss1000, cdfss, lvis92i, isaid5i, m",
        ),
        (
            ["test", "--protocol.split="],
            "--protocol.split '': one of train, val is needed.",
        ),
        (["test", "--protocol.runs", "many"], "--protocol.runs many: a whole number is needed."),
        (["test", "--protocol.size", "big"], "--protocol.size big: a whole number or one of trained, own is needed."),
        (["test", "--protocol.episode", "3"], "no option --protocol.episode. Did you mean --protocol.episodes?"),
        (["test", "--protocol.runs", "0"], "--protocol.runs 0: at least 1 is needed."),
        (["test", "--protocol.pairs", "official"], "official pairs exist for PASCAL-5i"),
        (["test", "--protocol.queries", "several"], "--protocol.queries several needs --data.way 2 or more"),
        (["test", "--protocol.draw", "panet", "--protocol.absent_queries", "0.5"], "goes with --protocol.draw seeded"),
        (["test", "--protocol.name", "pmms", "--data.way", "2"], "--protocol.draw pmms draws one class and one query"),
        (["test", "--protocol.min_pixels", "2000"], "1-way 1-shot with 1 query needs 2 val images a class"),
    ],
)
def test_one_line_and_exit_code_2(fsseg, trained, tmp_path, arguments, expected):
    checkpoint = () if arguments[0] == "fit" else ("--ckpt_path", str(trained))
    ran = fsseg(arguments[0], *checkpoint, *arguments[1:])
    assert (ran.code, expected in ran.line) == (2, True), ran.line
    assert "Traceback" not in ran.err
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_changes_in_a_file_belong_to_the_protocol_that_the_file_names():
    written = {"name": "panet", "runs": 3, "episodes": None}
    assert settle(written, set(), "").asked == {"name": "panet", "runs": 3}
    flags = {"--protocol.episodes"}
    assert settle(written | {"episodes": 9}, flags, "").asked == {"name": "panet", "runs": 3, "episodes": 9}
    named = settle(written | {"name": "pmms", "episodes": 9}, flags | {"--protocol.name"}, "")
    assert named.asked == {"name": "pmms", "episodes": 9}
    assert (named.protocol.runs, named.protocol.seed) == (1, 1385)


COCO = ("--config", "experiments/rpmm_coco_5shot.yaml", "--model.method.encoder", "ConvNet",
        *(flag for flag in TINY if "dataset." not in flag and "encoder" not in flag), "--model.method.channels=8",
        "--model.method.encoder.widths=[8,8]", "--model.method.encoder.strides=[2,2]",
        "--data.images.test_size=32", "--data.test_shot=1", "--data.episodes.missing_classes=skip")  # fmt: skip


@pytest.mark.slow
def test_a_protocol_chooses_cocos_folds_and_masks_in_a_test(fsseg, fake_coco):
    root = ("--data.root", str(fake_coco))
    assert fsseg("fit", *COCO, *root, "--out", "run").code == 0
    small = ("--protocol.runs=1", "--protocol.episodes=2", "--protocol.size=32")
    ran = fsseg("test", "--ckpt_path", "run/last.ckpt", "--protocol.name", "pmms", *small)
    assert ran.code == 0, ran.err
    assert "COCO masks first_polygon_convex, not the exact ones" in ran.out
    assert yaml.safe_load(Path("run/test/config.yaml").read_text())["data"]["dataset"]["init_args"]["masks"] != "exact"
    ran = fsseg("test", "--ckpt_path", "run/last.ckpt", "--protocols", "panet,fsseg", *small)
    assert ran.code == 0, ran.err
    assert "panet     not possible: " in ran.out
    assert "fold 0 of COCO-20i (2014, contiguous) would test classes it has seen" in ran.out
    ran = fsseg("test", "--ckpt_path", "run/last.ckpt", "--protocol.fold_rule", "contiguous", *small)
    assert (ran.code, "would test classes it has seen" in ran.line) == (2, True)
    ran = fsseg("test", "--ckpt_path", "run/last.ckpt", "--data.dataset.masks", "first_polygon_map", *small)
    assert ran.code == 2
    assert "protocol fsseg tests with exact. In a test, give --protocol.masks first_polygon_map" in ran.line


@pytest.mark.parametrize("rule", ["base_val", "novel_val"])
@pytest.mark.slow
def test_a_checkpoint_says_by_which_rule_it_was_chosen(fsseg, tmp_path, rule):
    every = ("--protocol.selection", rule, "--trainer.max_steps", "12", "--checkpoint.every_n_train_steps", "8")
    ran = fsseg("fit", *QUICKSTART, *every, "--data.episodes.val", "6", "--out", "run")
    assert ran.code == 0, ran.err
    assert f"best on the {'validation' if rule == 'base_val' else 'novel'} classes" in ran.out
    cards = {
        name: torch.load(tmp_path / f"run/{name}.ckpt", weights_only=True)["fsseg"]
        for name in ("last", "best", "step8")
    }
    assert {name: card["selection"] for name, card in cards.items()} == {
        "last": "last",
        "best": rule,
        "step8": "by hand",
    }
    metrics = list(csv.DictReader((tmp_path / "run/logs/version_0/metrics.csv").read_text().splitlines()))
    values = [(float(row["val/mean_iou"]), int(row["step"])) for row in metrics if row["val/mean_iou"]]
    best = torch.load(tmp_path / "run/best.ckpt", weights_only=True)["global_step"]
    assert best - 1 == max(values, key=lambda pair: (pair[0], -pair[1]))[1]
    tested = fsseg("test", "--ckpt_path", "run/best.ckpt", "--protocol.selection", rule)
    assert tested.code == 0, tested.err
    assert ("the checkpoint was chosen on the novel classes" in tested.out) == (rule == "novel_val")
    assert "this checkpoint is" not in tested.out, "it is what the protocol asks for"
    validated = fsseg("validate", "--ckpt_path", "run/best.ckpt")
    assert f"{'base' if rule == 'base_val' else 'novel'} classes, val images" in validated.out


@pytest.mark.slow
def test_a_resumed_training_remembers_the_best(fsseg, tmp_path):
    every = ("--protocol.selection", "base_val", "--data.episodes.val", "4")
    assert fsseg("fit", *QUICKSTART, *every, "--trainer.max_steps", "8", "--out", "run").code == 0
    checkpoint = torch.load(tmp_path / "run/last.ckpt", weights_only=True)
    state = checkpoint["callbacks"]["KeptCheckpoints"]
    assert 0 < state["best"] < 1
    state["best"] = 2.0  # no later value can be better
    torch.save(checkpoint, tmp_path / "run/last.ckpt")
    (tmp_path / "run/best.ckpt").unlink()
    assert fsseg("fit", "--ckpt_path", "run/last.ckpt", "--trainer.max_steps", "16").code == 0
    assert not (tmp_path / "run/best.ckpt").exists()


@pytest.mark.slow
def test_absent_queries_are_reported_apart(fsseg, trained, tmp_path):
    flags = ("--protocol.absent_queries", "0.5", "--protocol.episodes", "20", "--data.way", "2")
    ran = fsseg("test", "--ckpt_path", str(trained), *flags, "--out", "r")
    assert ran.code == 0, ran.err
    assert "50% of queries lack all classes" in " ".join(ran.out.split())
    rows = list(csv.DictReader((tmp_path / "r/rows.csv").read_text().splitlines()))
    absent = [row for row in rows if row["query_class"] == "0"]
    assert {row["truth"] for row in absent if row["class_id"] != "0"} == {"0"}
    table = json.loads((tmp_path / "r/table.json").read_text())
    assert table["false_alarms"]["queries"] == len(absent) / 3
    assert f"queries that show none of the classes, not counted above: {len(absent) // 3}" in ran.out
    counted = sum(line["queries"] for line in table["classes"])
    assert counted == 2 * (40 - len(absent) // 3)


@pytest.mark.slow
def test_the_episodes_of_a_test_are_saved_and_can_be_tested_again(fsseg, trained, tmp_path):
    flags = ("--ckpt_path", str(trained), "--data.way", "2", "--protocol.absent_queries", "0.3")
    assert fsseg("test", *flags, "--out", "first").code == 0
    again = fsseg("test", *flags[:4], "--data.episodes.test_file", "first/episodes.json", "--out", "again")
    assert again.code == 0, again.err
    assert "2 x 10 episodes, episodes from a file [" in " ".join(again.out.split())
    rows = [
        list(csv.DictReader((tmp_path / name / "rows.csv").read_text().splitlines())) for name in ("first", "again")
    ]
    for first, second in zip(*rows, strict=True):
        assert first | {"protocol": ""} == second | {"protocol": ""}
    lists = [json.loads((tmp_path / name / "episodes.json").read_text()) for name in ("first", "again")]
    assert lists[0]["runs"] == lists[1]["runs"]
    assert [f"fsseg#{json.loads((tmp_path / name / 'table.json').read_text())['protocol']['digest']}"
            for name in ("first", "again")] == [found["protocol"] for found in lists]  # fmt: skip
    for flag in ("split=train", "runs=1", "absent_queries=0.5", "draw=pmms", "min_pixels=9"):
        ran = fsseg("test", *flags[:4], "--data.episodes.test_file", "first/episodes.json", f"--protocol.{flag}")
        assert (ran.code, "--data.episodes.test_file lists them. Leave one out" in ran.line) == (2, True), ran.line
    wrong = fsseg("test", "--ckpt_path", str(trained), "--data.episodes.test_file", "first/episodes.json")
    assert wrong.code == 2
    assert "has 2-way 1-shot episodes with 1 query; 1-way 1-shot with 1 is asked for" in wrong.line
