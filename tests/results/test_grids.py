import csv
import io
import json

import numpy as np
import pytest

from fsseg.errors import FssegError
from fsseg.results.classes import make_class_grid
from fsseg.results.formats import FORMATS, groups, shown
from fsseg.results.grids import make_grid
from fsseg.results.papers import FOLDS, LAYOUTS, own_layout
from fsseg.results.published import Setting, published
from fsseg.results.results import find_results, read_result
from tests.results.folders import made_up_rows, make_test


def brute_mean_iou(rows) -> float:
    """Mean over runs of the mean over classes, in percent."""
    runs = []
    for run in {row.run for row in rows}:
        classes = []
        for class_id in {row.class_id for row in rows if row.run == run} - {0}:
            own = [row for row in rows if (row.run, row.class_id) == (run, class_id)]
            classes.append(sum(r.intersection for r in own) / sum(r.union for r in own))
        runs.append(100 * np.mean(classes))
    return float(np.mean(runs))


def grid_of(folder, name, **more):
    return make_grid(LAYOUTS[name], find_results([folder]), intervals=False, **more)


def line(grid, kind, method):
    return next(x for x in grid.lines if x.kind == kind and x.line.method == method)


@pytest.fixture
def panet(tmp_path):
    """PANet as in its paper: all folds, 1 and 5 shots, two seeds; fold 3 of seed 1 at five shots is missing."""
    for fold in FOLDS:
        for shot in (1, 5):
            for seed in (0, 1):
                if (fold, shot, seed) != (3, 5, 1):
                    folder = tmp_path / f"fold{fold}-{shot}shot-seed{seed}/test"
                    make_test(folder, fold=fold, shot=shot, seed=seed, trained_shot=shot, number=10 * shot + seed)
    return tmp_path


def test_folds_means_and_spreads_are_those_of_the_rows(panet):
    ours = line(grid_of(panet, "panet-table1"), "ours", "PANet")
    own = {(f, k, s): brute_mean_iou(made_up_rows(f, 10 * k + s)) for f in FOLDS for k in (1, 5) for s in (0, 1)}
    for place, fold in enumerate(FOLDS):
        cell = ours.cells[place]
        assert cell.value == pytest.approx(np.mean([own[fold, 1, 0], own[fold, 1, 1]]))
        assert cell.seed_std == pytest.approx(np.std([own[fold, 1, 0], own[fold, 1, 1]]))
        assert (cell.seeds, cell.episodes) == ((0, 1), 48)
    means = [np.mean([own[fold, 1, seed] for fold in FOLDS]) for seed in (0, 1)]
    assert ours.cells[4].value == pytest.approx(np.mean(means))
    assert ours.cells[4].seed_std == pytest.approx(np.std(means))


def test_a_mean_is_over_the_seeds_that_have_all_folds(panet):
    ours = line(grid_of(panet, "panet-table1"), "ours", "PANet")
    assert ours.cells[8].seeds == (0,)  # fold 3, 5 shots
    assert ours.cells[9].seeds == (0,)
    assert np.isnan(ours.cells[9].seed_std)


def test_a_missing_fold_leaves_the_mean_missing(tmp_path):
    for fold in (0, 1, 2):
        make_test(tmp_path / f"fold{fold}", fold=fold)
    grid = grid_of(tmp_path, "panet-table1")
    ours = line(grid, "ours", "PANet")
    assert [cell is None for cell in ours.cells] == [False, False, False, True, True, *[True] * 5]
    assert any("a mean of ours needs all folds" in note for note in grid.notes)
    assert line(grid, "ours", "SG-One").label == "not run"


def test_the_difference_is_to_the_same_fold_and_has_the_spread(panet):
    grid = grid_of(panet, "panet-table1")
    ours, difference = (line(grid, kind, "PANet") for kind in ("ours", "difference"))
    for cell, above, number in zip(ours.cells, difference.cells, [42.3, 58.0, 51.1, 41.2, 48.1], strict=False):
        assert above.value == pytest.approx(cell.value - number)
        assert above.seed_std == cell.seed_std


@pytest.mark.parametrize("other", [{"dataset": "Shapes"}, {"encoder": "ConvNet"}, {"departures": {"width": "wider"}}])
def test_no_difference_to_another_data_set_encoder_or_method(tmp_path, other):
    for fold in FOLDS:
        make_test(tmp_path / f"fold{fold}", fold=fold, **other)
    grid = grid_of(tmp_path, "panet-table1")
    assert not [x for x in grid.lines if x.kind == "difference"]
    assert any("no difference is taken" in note for note in grid.notes)
    assert all(cell is not None for cell in line(grid, "ours", "PANet").cells[:5])


def test_another_protocol_than_the_published_number_s_is_said(tmp_path):
    from fsseg.protocols.protocol import Protocol

    for fold in FOLDS:
        make_test(tmp_path / f"fold{fold}", fold=fold, protocol=Protocol(runs=2, episodes=12))
    assert any(
        "published under protocol panet, ours under fsseg" in note for note in grid_of(tmp_path, "panet-table1").notes
    )


def test_weak_annotations_have_lines_of_their_own(tmp_path):
    for fold in FOLDS:
        for annotation in ("mask", "box"):
            make_test(tmp_path / f"{fold}{annotation}", fold=fold, annotation=annotation, number=len(annotation))
    grid = grid_of(tmp_path, "panet-table6")
    found = {x.line.annotation: x for x in grid.lines if x.kind == "ours"}
    assert found["box"].cells[0].value != found["mask"].cells[0].value
    assert found["scribble"].label == "not run"


def test_components_and_kernels_find_their_lines(tmp_path):
    k1, k5 = {"components": "K=1"}, {"components": "K=5", "em_gradient": "EM trained"}
    for number, departures in enumerate([{}, k1, k5, {"kernel": "Gaussian"}]):
        make_test(tmp_path / str(number), method="PMMs+", departures=departures, encoder="ResNet50", number=number)
    make_test(tmp_path / "4", method="PMMs", encoder="ResNet50", number=4)
    of = {x.line.label: x for x in grid_of(tmp_path, "pmms-table2").lines if x.kind == "ours"}
    assert of["PMMs+, K = 1"].cells[0].value == pytest.approx(brute_mean_iou(made_up_rows(0, 1)))
    assert of["PMMs+, K = 3"].cells[0].value == pytest.approx(brute_mean_iou(made_up_rows(0, 0)))
    assert of["PMMs+, K = 5"].label == "ours, EM trained, ResNet50, PASCAL-5i"
    assert of["PMMs+, K = 4"].label == "not run"
    kernels = {x.line.label: x for x in grid_of(tmp_path, "pmms-table3").lines if x.kind == "ours"}
    assert kernels["PMMs+, Gaussian kernel"].cells[0].value == pytest.approx(brute_mean_iou(made_up_rows(0, 3)))


def test_trained_with_one_shot_and_with_five_are_two_lines(tmp_path):
    for fold in FOLDS:
        make_test(tmp_path / f"{fold}a", fold=fold, trained_shot=1, shot=1, number=1)
        make_test(tmp_path / f"{fold}b", fold=fold, trained_shot=1, shot=5, number=2)
        make_test(tmp_path / f"{fold}c", fold=fold, trained_shot=5, shot=5, number=3)
    found = [x for x in grid_of(tmp_path, "panet-table1").lines if x.kind == "ours" and x.line.method == "PANet"]
    assert [x.of.trained for x in found] == ["", "trained with 1-shot"]
    assert all(x.cells[4] is not None and x.cells[9] is not None for x in found)
    assert found[0].cells[9].value == pytest.approx(np.mean([brute_mean_iou(made_up_rows(f, 3)) for f in FOLDS]))
    assert found[1].cells[9].value == pytest.approx(np.mean([brute_mean_iou(made_up_rows(f, 2)) for f in FOLDS]))


def test_two_recipes_are_not_averaged(tmp_path):
    make_test(tmp_path / "a", training="aaaaaa", number=1)
    make_test(tmp_path / "b", training="bbbbbb", number=2, seed=1)
    lines = [x for x in grid_of(tmp_path, "panet-table1").lines if x.kind == "ours" and x.of]
    assert {x.of.trained for x in lines} == {"recipe #aaaaaa", "recipe #bbbbbb"}


def test_the_same_test_twice_is_refused(tmp_path):
    make_test(tmp_path / "a")
    make_test(tmp_path / "b")
    with pytest.raises(FssegError, match="give only one of them"):
        grid_of(tmp_path, "panet-table1")


def test_a_folder_given_twice_counts_once(tmp_path):
    make_test(tmp_path / "a")
    assert len(find_results([tmp_path, tmp_path / "a"])) == 1


@pytest.mark.parametrize("name", LAYOUTS)
def test_every_layout_has_published_numbers_and_every_format(name, panet):
    grid = grid_of(panet, name, later=True)
    assert any(cell for x in grid.lines if x.kind == "published" for cell in x.cells), name
    assert sum(count for _, count in groups(grid.layout.columns)) == len(grid.layout.columns)
    for form, text in ((form, function(grid, True)) for form, function in FORMATS.items()):
        assert text.endswith("\n"), form
        assert "nan" not in text.lower(), form


def test_later_methods_are_all_in_some_layout():
    """So that no published number is without a table."""
    from fsseg.results import published as module

    shown = set()
    for layout in LAYOUTS.values():
        for of in (*layout.lines, *layout.later):
            for column in layout.columns:
                if published(layout.setting(of, column), column.metric, column.fold):
                    shown.add((layout.setting(of, column).label, of.encoder))
    assert {(setting.method, setting.encoder) for setting, _, _ in module._numbers()} == shown


def test_formats_show_the_same_numbers(panet):
    grid = grid_of(panet, "panet-table1")
    ours = line(grid, "ours", "PANet").cells[0]
    number = f"{ours.value:.1f}"
    assert f"{number} +- {ours.seed_std:.1f}" in FORMATS["text"](grid, False)
    assert f"{number} ± {ours.seed_std:.1f}" in FORMATS["markdown"](grid, False)
    assert rf"{number} $\pm$ {ours.seed_std:.1f}" in FORMATS["latex"](grid, False)
    assert f"{number} ± {ours.seed_std:.1f}</td>" in FORMATS["html"](grid, False)
    for name, sign in (("text", "+-"), ("markdown", "±"), ("latex", r"$\pm$"), ("html", "±")):
        assert f"{sign}: standard deviation over trainings of seeds " in FORMATS[name](grid, False)
    records = list(csv.DictReader(io.StringIO(FORMATS["csv"](grid, False))))
    own = next(r for r in records if (r["kind"], r["method"], r["shot"], r["fold"]) == ("ours", "PANet", "1", "0"))
    assert float(own["value"]) == pytest.approx(ours.value)
    assert own["seeds"] == "0 1"
    theirs = next(r for r in records if (r["kind"], r["method"], r["fold"]) == ("published", "OSLSM", "mean"))
    assert (theirs["value"], theirs["source"], theirs["encoder"]) == ("40.8", "PANet table 1", "VGG16")
    content = json.loads(FORMATS["json"](grid, False))
    assert len(content["numbers"]) == len(records)
    table = FORMATS["markdown"](grid, False).splitlines()
    assert len({text.count("|") for text in table if text.startswith("|")}) == 1


def test_html_needs_no_network(panet):
    page = FORMATS["html"](grid_of(panet, "pmms-table4", later=True), False)
    assert "http" not in page
    assert "<script" not in page


def test_a_table_of_our_own_has_all_that_was_tested(panet, tmp_path):
    make_test(tmp_path / "other/test", method="PMMs", encoder="ConvNet", dataset="Shapes", number=3)
    results = find_results([tmp_path])
    grid = make_grid(own_layout([r.tested.setting for r in results], FOLDS, 4), results, intervals=False)
    ours = [x for x in grid.lines if x.kind == "ours"]
    assert {(x.line.method, x.of.setting.dataset) for x in ours} == {("PANet", "PASCAL-5i"), ("PMMs", "Shapes")}
    assert [c.metric for c in grid.layout.columns].count("binary-IoU") == 2
    assert line(grid, "difference", "PANet")


def test_a_mean_is_over_the_folds_that_were_tested_and_says_so(tmp_path):
    for fold in (1, 3):
        make_test(tmp_path / f"{fold}/test", method="PANet", encoder="ConvNet", fold=fold, number=fold)
    results = find_results([tmp_path])
    grid = make_grid(own_layout([r.tested.setting for r in results], (1, 3), 4), results, intervals=False)
    assert [column.head for column in grid.layout.columns] == ["fold 1", "fold 3", "mean of 1, 3", "mean of 1, 3"]
    (ours,) = (x for x in grid.lines if x.kind == "ours")
    first, third, mean, _ = (cell.value for cell in ours.cells)
    assert mean == pytest.approx((first + third) / 2)


def test_classes_have_their_iou_and_spread(panet):
    grid = make_class_grid(find_results([panet]))
    assert len(grid.lines) == 20
    first = grid.lines[0]
    assert (first.line.method, first.label) == ("class 1", "PASCAL-5i fold 0")
    values = []
    for seed in (0, 1):
        rows = [r for r in made_up_rows(0, 10 + seed) if r.class_id == 1]
        runs = [[r for r in rows if r.run == run] for run in (0, 1)]
        ratios = [sum(r.intersection for r in run) / sum(r.union for r in run) for run in runs if run]
        values.append(100 * np.mean(ratios))
    assert first.cells[0].value == pytest.approx(np.mean(values))
    assert first.cells[0].seed_std == pytest.approx(np.std(values))


def test_a_result_is_read_as_it_was_written(tmp_path):
    folder = make_test(tmp_path / "a", shot=5, fold=2, seed=7, trained_shot=1, notes=("one",), folds=8)
    result = read_result(folder)
    assert result.tested.setting == Setting("PANet", "VGG16", "PASCAL-5i", 1, 5)
    assert (result.tested.fold, result.tested.seed, result.tested.trained_shot, result.tested.folds) == (2, 7, 1, 8)
    assert result.tested.notes == ("one",)
    assert json.loads((folder / "table.json").read_text())["mean_iou"]["mean"] == pytest.approx(
        result.table.mean_iou.mean
    )
    header, first = (folder / "rows.csv").read_text().splitlines()[:2]
    assert dict(zip(header.split(","), first.split(","), strict=True))["training"] == "abc123"


@pytest.mark.parametrize(
    ("break_it", "said"),
    [
        (lambda f: (f / "table.json").write_text("{}"), "another version"),
        (lambda f: (f / "table.json").write_text("{"), "broken"),
        (lambda f: (f / "rows.csv").write_text("a,b\n"), "has no rows"),
        (lambda f: (f / "rows.csv").write_text((f / "rows.csv").read_text()[:-9]), "has no rows|some are missing"),
        (
            lambda f: (f / "rows.csv").write_text("\n".join((f / "rows.csv").read_text().splitlines()[:20]) + "\n"),
            "has 19 rows, but",
        ),
        (lambda f: (f / "rows.csv").unlink(), "holds no finished test"),
        (lambda f: (f / "table.json").write_text('{"method": "x", "protocol": null}'), "another version"),
    ],
)
def test_broken_folders_are_refused(tmp_path, break_it, said):
    folder = make_test(tmp_path / "a")
    break_it(folder)
    with pytest.raises(FssegError, match=said):
        _ = find_results([tmp_path])[0].table


def test_no_folder_is_refused(tmp_path):
    with pytest.raises(FssegError, match="no such folder"):
        find_results([tmp_path / "none"])


def test_classes_of_two_data_sets_stay_apart(tmp_path):
    make_test(tmp_path / "a", number=1)
    make_test(tmp_path / "b", dataset="Shapes", encoder="ConvNet", number=2)
    grid = make_class_grid(find_results([tmp_path]))
    assert len(grid.lines) == 10
    for line in grid.lines:
        filled = [column for column, cell in zip(grid.layout.columns, line.cells, strict=True) if cell]
        assert [column.of.setting.dataset for column in filled] == [line.line.dataset]
    records = list(csv.DictReader(io.StringIO(FORMATS["csv"](grid, False))))
    assert len(records) == 10
    for record in records:
        assert (record["metric"], record["fold"], record["method"]) == ("IoU", "0", "PANet")
        assert (record["dataset"], record["encoder"]) in {("PASCAL-5i", "VGG16"), ("Shapes", "ConvNet")}
        assert record["line"] == f"class {record['class_id']}"


def test_classes_in_latex_are_escaped(tmp_path):
    make_test(tmp_path / "a", training="aaaaaa")
    make_test(tmp_path / "b", training="bbbbbb", seed=1, notes=("50 % of\nall",))
    text = FORMATS["latex"](make_class_grid(find_results([tmp_path])), False)
    body = [line for line in text.splitlines() if not line.startswith("%")]
    assert not [line for line in body if "#" in line.replace("\\#", "") or "% " in line]


def test_protocols_and_selections_are_told_apart(tmp_path):
    from fsseg.protocols.protocol import Protocol

    make_test(tmp_path / "a")
    make_test(tmp_path / "b", protocol=Protocol(runs=2, episodes=12))
    make_test(tmp_path / "c", selection="novel_val")
    labels = [x.label for x in grid_of(tmp_path, "panet-table1").lines if x.kind == "ours" and x.of]
    assert len(set(labels)) == 3
    assert any("fsseg#" in label for label in labels)
    assert any("checkpoint novel_val" in label for label in labels)


def test_other_recipes_for_other_shots_are_said(tmp_path):
    make_test(tmp_path / "a", training="aaaaaa")
    make_test(tmp_path / "b", training="bbbbbb", shot=5, trained_shot=5)
    notes = grid_of(tmp_path, "panet-table1").notes
    assert "PANet: trainings differ in more than the number of shots: 1-shot #aaaaaa, 5-shot #bbbbbb" in notes


def test_a_line_without_a_mean_says_which_folds_there_are(tmp_path):
    for fold in (0, 2):
        make_test(tmp_path / str(fold), fold=fold)
    assert line(grid_of(tmp_path, "panet-table5"), "ours", "PANet").label == "only folds 0, 2"


def test_a_mean_over_some_folds_of_another_data_set_names_them(tmp_path):
    for fold, shot in ((1, 1), (2, 1), (3, 1), (1, 5), (2, 5)):
        make_test(tmp_path / f"{fold}-{shot}", fold=fold, shot=shot, number=fold, dataset="VOC subset")
    own = line(grid_of(tmp_path, "pmms-table4"), "ours", "PANet")
    assert own.label == "ours, VGG16, VOC subset, mean of folds 1, 2, 3"
    rows = [made_up_rows(fold, fold) for fold in (1, 2, 3)]
    assert own.cells[-1].value == pytest.approx(np.mean([brute_mean_iou(each) for each in rows]))
    one, five = line(grid_of(tmp_path, "panet-table2"), "ours", "PANet").cells
    assert one is not None
    assert five is None  # fold 3 has no test with five shots


# The papers' own tables, as they are printed there.
PRINTED = {
    "panet-table2": {
        "FG-BG": (55.0, None), "Fine-tuning": (55.1, 55.6), "OSLSM": (61.3, 61.5), "co-FCN": (60.1, 60.2),
        "PL": (61.2, 62.3), "A-MCG": (61.2, 62.2), "SG-One": (63.9, 65.9), "PANet-init": (58.9, 65.7),
        "PANet": (66.5, 70.7),
    },
    "panet-table3": {
        "PL": (None, None, 42.7, 43.7), "SG-One": (None, 29.4, None, None), "PANet": (45.1, 53.1, 64.2, 67.9),
    },
    "pmms-table2": {
        "PMMs+, K = 1": (49.38, 66.42, 51.29, 47.68, 53.69), "PMMs+, K = 2": (50.85, 66.65, 51.89, 48.25, 54.41),
        "PMMs+, K = 3": (51.88, 66.72, 51.14, 48.80, 54.63), "PMMs+, K = 4": (51.89, 66.96, 51.36, 47.91, 54.53),
        "PMMs+, K = 5": (50.76, 66.89, 50.76, 47.94, 54.09),
    },
    "pmms-table3": {
        "PMMs+, Gaussian kernel": (50.94, 66.70, 50.59, 47.91, 54.04),
        "PMMs+, vMF kernel": (51.88, 66.72, 51.14, 48.80, 54.63),
    },
}  # fmt: skip


@pytest.mark.parametrize("name", PRINTED)
def test_published_lines_are_the_papers(tmp_path, name):
    make_test(tmp_path / "any")
    layout = LAYOUTS[name]
    lines = [line for line in grid_of(tmp_path, name).lines if line.kind == "published" and line.line in layout.lines]
    found = {line.line.label or line.line.method: tuple(cell and cell.value for cell in line.cells) for line in lines}
    assert list(found.items()) == list(PRINTED[name].items())
    sources = {
        published(layout.setting(x, c), c.metric, c.fold, layout.source) for x in layout.lines for c in layout.columns
    }
    assert all(number.source.startswith(layout.source) for number in sources if number)


def own_method(folder, shot=1, **more):
    for fold in FOLDS:
        make_test(folder / f"own{fold}-{shot}", method="Mine", fold=fold, shot=shot, number=fold, **more)


def test_a_method_that_the_paper_lacks_has_a_line_for_each_setting_after_the_paper_s(panet):
    own_method(panet)
    own_method(panet / "scaled", departures={"scale": "scale=3"}, encoder="ConvNet")
    grid = grid_of(panet, "pmms-table4", later=True)
    assert [x.line.name for x in grid.lines[-2:]] == ["Mine", "Mine (scale=3)"]
    plain, scaled = grid.lines[-2:]
    assert (plain.kind, plain.label, scaled.label) == ("ours", "ours, VGG16, PASCAL-5i", "ours, ConvNet, PASCAL-5i")
    expected = [brute_mean_iou(made_up_rows(fold, fold)) for fold in FOLDS]
    assert [cell.value for cell in plain.cells] == pytest.approx([*expected, np.mean(expected)])
    assert not any(x.kind == "published" and x.line.method == "Mine" for x in grid.lines)


def test_a_method_of_one_fold_has_a_line_in_a_table_of_means(tmp_path):
    make_test(tmp_path / "one", method="Mine", fold=2)
    own = grid_of(tmp_path, "panet-table2").lines[-1]
    assert (own.line.name, own.label, set(own.cells)) == ("Mine", "only fold 2", {None})


def test_tests_without_a_column_are_named(panet):
    own_method(panet)
    make_test(panet / "box", method="Mine", annotation="box")
    notes = grid_of(panet, "pmms-table4").notes
    assert notes[0] == (
        "left out, because the table has no place for them: 8 tests of Mine, box supports 1-way 1-shot; PANet 1-way "
        "5-shot"
    )
    assert grid_of(panet, "panet-table1").notes[0].endswith("1 test of Mine, box supports 1-way 1-shot")


def test_later_methods_stand_beside_our_own_table(panet):
    results = find_results([panet])
    grid = make_grid(own_layout([r.tested.setting for r in results], FOLDS, 4), results, intervals=False, later=True)
    hsnet = next(x for x in grid.lines if x.line.method == "HSNet")
    assert (hsnet.label, hsnet.cells[4].value) == ("published later, VGG16", 59.7)  # HSNet, table 1
    assert not own_layout([Setting("Mine", "ConvNet", "Shapes", 1, 1)], FOLDS, 4).later


@pytest.mark.parametrize("name", [*LAYOUTS, ""])
@pytest.mark.parametrize("intervals", [False, True])
def test_text_fits_120_columns_and_cuts_no_number(panet, name, intervals):
    own_method(panet, encoder="Torchvision wide_resnet101_2", departures={"s": "a, long, list, of, other=settings=3"})
    own_method(
        panet, 5, encoder="Torchvision wide_resnet101_2", departures={"s": "a, long, list, of, other=settings=3"}
    )
    results = find_results([panet])
    layout = LAYOUTS[name] if name else own_layout([r.tested.setting for r in results], FOLDS, 4)
    grid = make_grid(layout, results, intervals=True)
    text = FORMATS["text"](grid, intervals)
    assert max(map(len, text.splitlines())) <= 120
    for x in grid.lines:
        for cell in x.cells:
            assert shown(cell, x.kind, "text", intervals) in text


def test_text_of_classes_fits_120_columns(panet):
    own_method(panet, encoder="Torchvision wide_resnet101_2")
    own_method(panet, 5, encoder="Torchvision wide_resnet101_2", departures={"scale": "scale=3"})
    text = FORMATS["text"](make_class_grid(find_results([panet])), False)
    assert max(map(len, text.splitlines())) <= 120
