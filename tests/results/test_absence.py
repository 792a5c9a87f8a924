"""Numbers of queries that lack their classes, compared with torchmetrics and with plain loops over rows."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torchmetrics.functional.classification import binary_auroc

from fsseg.cli import main
from fsseg.plots.studies import roc
from fsseg.protocols.protocol import Protocol
from fsseg.results import test_facts
from fsseg.results.absence import ABSENCE, ALARMED, AUC, COUNTED, PIXELS, of_runs
from fsseg.results.intervals import replicates
from fsseg.results.published import Setting
from fsseg.results.results import read_result
from fsseg.results.rows import Row, read_rows, write_rows
from fsseg.results.table_file import table_text
from fsseg.results.tables import make_table

CLASSES = (3, 5, 8)
HALF = Protocol(runs=2, episodes=60, absent_queries=0.5)


def made_up(seed: int = 0, scores: bool = True) -> list[Row]:
    """Rows of two runs of 2-way episodes with two queries; presence scores of one decimal, so that many are equal."""
    random, rows = np.random.default_rng(seed), []
    for run in range(2):
        for episode in range(60):
            classes = random.choice(CLASSES, 2, replace=False).tolist()
            lacks = random.random() < 0.5
            for query in range(2):
                shown = 0 if lacks else classes[query]
                counts = []
                for class_id in classes:
                    truth = int(random.integers(10, 50)) if class_id == shown else 0
                    false = int(random.integers(0, 30)) * int(random.random() < 0.6)
                    score = round(float(random.random()) * 0.7 + 0.2 * (class_id == shown), 1) if scores else None
                    counts.append((class_id, int(random.integers(0, truth + 1)), truth + false, truth, score))
                found, union = 100 - sum(c[2] for c in counts), 100 - sum(c[1] for c in counts)
                shot, name = "s", f"q{query}"
                rows.append(Row(run, episode, 0, shown, found, union, 100 - sum(c[3] for c in counts), 100, shot, name))
                for class_id, found, union, truth, score in counts:
                    own = Row(run, episode, class_id, shown, found, union, truth, 100, shot, name)
                    rows.append(own._replace(presence=score))
    return rows


def plain(rows: list[Row], run: int, times: dict[int, int]) -> dict[str, float]:
    """The four numbers of one run, by loops over rows that are repeated as often as their episode is drawn."""
    drawn = [row for row in rows if row.run == run and row.class_id for _ in range(times.get(row.episode, 0))]
    ious, areas = [], []
    for class_id in CLASSES:
        own = [row for row in drawn if row.class_id == class_id]
        ious.append(sum(row.intersection for row in own) / sum(row.union for row in own))
        shown = torch.tensor([row.truth > 0 for row in own])
        areas.append(float(binary_auroc(torch.tensor([row.presence for row in own]), shown)))
    called: dict[tuple[int, str], list[Row]] = {}
    for row in rows:
        if row.run == run and row.class_id and not row.query_class:
            called.setdefault((row.episode, row.query), []).append(row)
    weight = {key: times.get(key[0], 0) for key in called}
    queries = sum(weight.values())
    return {
        COUNTED: float(np.mean(ious)),
        AUC: float(np.mean(areas)),
        ALARMED: sum(weight[k] for k, found in called.items() if any(row.union for row in found)) / queries,
        PIXELS: sum(weight[k] * sum(row.union for row in found) for k, found in called.items()) / (100 * queries),
    }


@pytest.mark.parametrize("seed", range(3))
def test_each_number_is_that_of_a_plain_loop(seed: int) -> None:
    rows = made_up(seed)
    for number, run in enumerate(of_runs(CLASSES, rows)):
        once = plain(rows, number, dict.fromkeys(range(60), 1))
        assert {name: float(metric(run, run.equal)[0]) for name, metric in ABSENCE.items()} == pytest.approx(once)


def test_a_bootstrap_draw_is_the_number_of_repeated_episodes() -> None:
    rows, random = made_up(), np.random.default_rng(1)
    run = of_runs(CLASSES, rows)[1]
    weight = random.multinomial(60, np.full(60, 1 / 60), size=3).astype(float)
    for draw, times in enumerate(weight):
        expected = plain(rows, 1, {episode: int(count) for episode, count in enumerate(times)})
        found = {name: float(metric(run, weight)[draw]) for name, metric in ABSENCE.items()}
        assert found == pytest.approx(expected)


def test_the_area_under_the_drawn_curve_is_the_auc() -> None:
    random = np.random.default_rng(0)
    score, shown = random.random(4000), random.random(4000) < 0.4
    score[shown] += 0.3
    rows = [
        Row(0, n, 1, int(s), 0, int(s), int(s), 9, "s", "q", presence=float(p))
        for n, (p, s) in enumerate(zip(score, shown, strict=True))
    ]
    found = roc(of_runs((1,), rows)[0].scored[0])
    expected = float(binary_auroc(torch.from_numpy(score), torch.from_numpy(shown)))
    assert np.trapezoid(found, dx=1 / 200) == pytest.approx(expected, abs=0.005)  # half a step of the grid
    one_kind = of_runs((1,), [Row(0, 0, 1, 1, 0, 1, 1, 9, "s", "q", presence=0.5)])[0]
    assert np.isnan(roc(one_kind.scored[0])).all()
    assert np.isnan(ABSENCE[AUC](one_kind, one_kind.equal)).all()


def finished(folder: Path, rows: list[Row], method: str = "PANet", protocol: Protocol = HALF) -> Path:
    folder.mkdir()
    setting = Setting(method, "VGG16", "PASCAL-5i", 2, 1, "mask", {})
    tested = test_facts.Tested(setting, 0, {c: f"class {c}" for c in CLASSES}, None, protocol, 100, seed=0)
    write_rows(rows, folder / "rows.csv", tested.columns)
    (folder / "table.json").write_text(table_text(make_table(tested, rows)))
    return folder


def test_scores_are_written_and_read(tmp_path: Path) -> None:
    rows = made_up()
    assert read_rows(finished(tmp_path / "a", rows) / "rows.csv") == rows
    lines = (tmp_path / "a/rows.csv").read_text().splitlines()
    place = lines[0].split(",").index("presence")
    older = [",".join(cell for n, cell in enumerate(line.split(",")) if n != place) for line in lines]
    (tmp_path / "a/rows.csv").write_text("\n".join(older) + "\n")
    assert read_rows(tmp_path / "a/rows.csv") == [row._replace(presence=None) for row in rows]


def test_intervals_are_of_the_same_numbers(tmp_path: Path) -> None:
    result = read_result(finished(tmp_path / "a", made_up()))
    for metric in ABSENCE:
        values = replicates([result], metric, number=400)
        score = result.table.score(metric).mean
        assert np.nanpercentile(values, 2) < score < np.nanpercentile(values, 98)


def test_a_table_and_a_picture_of_false_alarms(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folders = [finished(tmp_path / "a", made_up()), finished(tmp_path / "b", made_up(1, scores=False), "RPMMs")]
    words = ["table", *map(str, folders), "--absent", "--intervals", "--picture", str(tmp_path / "p.png")]
    assert main(words) == 0
    text = capsys.readouterr().out
    table = read_result(folders[0]).table
    assert table.false_alarms is not None
    for score in (table.mean_iou, table.false_alarms.counted, table.false_alarms.auc, table.false_alarms.alarmed):
        assert f"{score.mean:.1f} [" in text
    assert "presence AUC" in text
    assert "published" not in text.replace("not published", "")  # the papers' tests have no such queries
    assert (tmp_path / "p.png").stat().st_size > 10_000


def test_tests_without_such_queries_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shown = [row for row in made_up() if row.query_class]
    folder = finished(tmp_path / "a", shown, protocol=Protocol(runs=2, episodes=60))
    assert main(["table", str(folder), "--absent"]) == 2
    assert "shows a class. Test with --protocol.absent_queries 0.5." in capsys.readouterr().err
    assert main(["table", str(folder), "--absent", "--classes"]) == 2
    assert "--classes and --absent are two tables: give one of them." in capsys.readouterr().err
