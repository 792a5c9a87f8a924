"""Notes under a table of many tests: data sets, protocols, sources and seeds of its numbers."""

from collections.abc import Sequence

from fsseg.results.grid_lines import Cell, GridLine, comparable
from fsseg.results.papers import Layout
from fsseg.results.results import FinishedTest, Series


def notes_of(layout: Layout, lines: Sequence[GridLine], used: Sequence[Series]) -> list[str]:
    """Notes under a table, each once; ``used`` has the results that the lines show."""
    notes = [
        *(_difference_notes(layout, lines, used) if layout.source else []),
        *_recipe_notes(used),
        *_protocol_notes(used),
        *_published_protocol_notes(lines, used),
        *_notes_of_tests([result for of in used for result in of.results]),
        *_source_notes(layout, lines),
        *_seed_notes(lines),
    ]
    return list(dict.fromkeys(notes))


def _difference_notes(layout: Layout, lines: Sequence[GridLine], used: Sequence[Series]) -> list[str]:
    """Why differences to published numbers are missing."""
    if other := sorted({of.setting.dataset for of in used} - layout.datasets):
        are = "is another data set" if len(other) == 1 else "are other data sets"
        return [
            f"{' and '.join(other)} {are} than the paper's {layout.dataset}: such numbers are not comparable with "
            "published ones, and no difference is taken"
        ]
    if any(not comparable(layout, line.line, line.of) for line in lines if line.of):
        return ["no difference is taken where encoder, data set or setting are not the published number's"]
    return []


def _recipe_notes(used: Sequence[Series]) -> list[str]:
    """Series whose training recipe differs from shot to shot."""
    notes = []
    for of in used:
        recipes = {(r.tested.setting.shot, r.tested.training) for r in of.results if r.tested.training}
        if len({recipe for _, recipe in recipes}) > 1:
            words = ", ".join(f"{shot}-shot #{recipe}" for shot, recipe in sorted(recipes))
            notes.append(f"{of.setting.label}: trainings differ in more than the number of shots: {words}")
    return notes


def _protocol_notes(used: Sequence[Series]) -> list[str]:
    """Our protocols, sorted by name and digest."""
    notes = []
    for of in sorted(used, key=lambda of: str(of.protocol)):
        for tested in (result.tested for result in of.results):
            notes.append(f"ours: protocol {of.protocol}: {', '.join([tested.protocol.in_words(), *tested.details])}")
    return notes


def _published_protocol_notes(lines: Sequence[GridLine], used: Sequence[Series]) -> list[str]:
    """Differences whose published numbers have another protocol than ours."""
    theirs = sorted({cell.protocol for cell in _published_cells(lines)} - {"unknown"})
    compared = [of for of in used if any(line.kind == "difference" and line.of is of for line in lines)]
    return [
        f"published under protocol {', '.join(theirs)}, ours under {of.protocol}"
        for of in compared
        if theirs and of.protocol.name not in theirs
    ]


def _source_notes(layout: Layout, lines: Sequence[GridLine]) -> list[str]:
    """Sources of the published numbers, if some come from another paper."""
    sources = sorted({cell.source for cell in _published_cells(lines)} - {layout.source})
    own = [layout.source] if layout.source else []
    return [f"published in {'; '.join([*own, *sources])}"] if sources else []


def _published_cells(lines: Sequence[GridLine]) -> list[Cell]:
    return [cell for line in lines if line.kind == "published" for cell in line.cells if cell]


def _notes_of_tests(results: Sequence[FinishedTest]) -> list[str]:
    """Notes of the tests; a note that some tests lack names its folds and shots."""
    found: dict[str, set[tuple[int, int]]] = {}
    every = {(result.tested.fold, result.tested.setting.shot) for result in results}
    for result in results:
        for note in result.tested.notes:
            found.setdefault(note, set()).add((result.tested.fold, result.tested.setting.shot))
    return [
        note if of == every else f"{note} ({', '.join(f'fold {fold} {shot}-shot' for fold, shot in sorted(of))})"
        for note, of in sorted(found.items())
    ]


def _seed_notes(lines: Sequence[GridLine]) -> list[str]:
    cells = [cell for line in lines if line.kind == "ours" for cell in line.cells if cell]
    notes = []
    if any(len(cell.seeds) > 1 for cell in cells):
        seeds = sorted({seed for cell in cells for seed in cell.seeds})
        notes.append(f"+-: standard deviation over trainings of seeds {', '.join(map(str, seeds))}")
    if any(len(cell.seeds) == 1 for cell in cells):
        notes.append("without +-: one seed, whose spread is unknown")
    if any(cell is None for line in lines for cell in line.cells):
        notes.append("-: not published, or not run; a mean of ours needs all folds")
    return notes
