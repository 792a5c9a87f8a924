from dataclasses import fields, replace
from typing import Any

import pytest

from fsseg.errors import FssegError
from fsseg.protocols.presets import KNOWN, NAMES, PRESETS, protocol
from fsseg.protocols.protocol import Protocol


def refused(match: str, **values: Any) -> None:
    with pytest.raises(FssegError, match=match) as error:
        Protocol(**values)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("values", "match"),
    [
        ({"split": "test"}, r"`protocol.split` 'test': one of train, val is needed"),
        ({"pairs": "all"}, "`protocol.pairs` 'all': one of official, any"),
        ({"release": 2015}, "`protocol.release` 2015: one of 2017, 2014"),
        ({"masks": "round"}, "`protocol.masks` 'round'"),
        ({"draw": "random"}, "`protocol.draw` 'random'"),
        ({"runs": 0}, "`protocol.runs` 0: at least 1 is needed"),
        ({"episodes": 0}, "`protocol.episodes` 0"),
        ({"seed": -1}, "`protocol.seed` -1: at least 0"),
        ({"min_pixels": 0}, "`protocol.min_pixels` 0"),
        ({"size": 7}, "`protocol.size` 7: at least 8"),
        ({"absent_queries": 1.0}, r"`protocol.absent_queries` 1.0: a share from 0 to below 1"),
        ({"absent_queries": -0.1}, "`protocol.absent_queries` -0.1"),
        (
            {"draw": "panet", "repeat_supports": True},
            "`protocol.repeat_supports` goes with `protocol.draw` seeded, not panet",
        ),
        (
            {"draw": "pmms", "queries": "several"},
            "`protocol.queries` several goes with `protocol.draw` seeded, not pmms",
        ),
        (
            {"draw": "hsnet", "absent_queries": 0.5},
            "`protocol.absent_queries` goes with `protocol.draw` seeded, not hsnet",
        ),
        ({"masks": "first_polygon_map", "crowds": "ignore"}, "`protocol.crowds` ignore needs `protocol.masks` exact"),
        ({"size": "own", "resize": "pad"}, "`protocol.resize` pad needs a `protocol.size` in pixels"),
        (
            {"size": "own", "evaluate_at": "resampled"},
            "`protocol.evaluate_at` resampled needs a `protocol.size` in pixels",
        ),
    ],
)
def test_what_is_no_protocol_is_refused(values: dict[str, Any], match: str) -> None:
    refused(match, **values)


def test_a_protocol_is_frozen_and_its_digest_tells_every_value_apart_but_the_name() -> None:
    plain = Protocol()
    with pytest.raises(AttributeError):
        plain.runs = 3  # type: ignore[misc]
    other: dict[str, Any] = {
        "split": "train", "pairs": "official", "min_pixels": 2, "release": 2014, "fold_rule": "contiguous",
        "masks": "first_polygon_map", "crowds": "ignore", "other_ways": "background", "base_images": "drop",
        "support_void": "background", "void": "background", "size": 417, "resize": "pad", "evaluate_at": "input",
        "mask_nearest": "corner",
        "runs": 1, "episodes": 2, "seed": 0, "draw": "panet", "repeat_supports": True, "absent": "drop",
        "seen_classes": "note", "queries": "several", "absent_queries": 0.5, "selection": "novel_val", "listed": "a",
            "listed_pairs": "a",
    }  # fmt: skip
    assert other.keys() == {field.name for field in fields(Protocol)} - {"name"}
    digests = {replace(plain, **{name: value}).digest for name, value in other.items()}
    assert len(digests | {plain.digest}) == 1 + len(other)
    assert replace(plain, name="pmms").digest == plain.digest
    assert str(plain) == f"fsseg#{plain.digest}"


def test_the_digest_of_our_protocol_is_pinned() -> None:
    """Tables of different days are compared by it."""
    assert [protocol({}, family).digest for family in ("", "pascal", "coco")] == ["44136f", "805925", "eea3a5"]


@pytest.mark.parametrize("name", KNOWN)
def test_every_field_of_a_preset_has_a_source(name: str) -> None:
    assert KNOWN[name].keys() <= {field.name for field in fields(Protocol)} - {"name"}
    decided = {"split", "pairs", "release", "fold_rule", "masks", "base_images", "support_void", "void", "size",
               "evaluate_at", "runs", "episodes", "seed", "draw", "repeat_supports", "absent", "selection"}  # fmt: skip
    assert decided <= KNOWN[name].keys()
    assert all(choice.source for choice in KNOWN[name].values())
    for family in ("", "pascal", "coco", "suim", "lvis", "isaid"):
        made = protocol({"name": name}, family)
        assert made.name == name
        assert made.in_words(10)


def test_protocols_of_suites_are_apart_from_those_for_any_data() -> None:
    assert tuple(PRESETS) == NAMES
    assert set(KNOWN) - set(NAMES) == {"fss1000", "cdfss", "lvis92i", "isaid5i", "matcher"}
    episodes = {family: protocol({"name": "cdfss"}, family).episodes for family in ("", "suim")}
    assert episodes == {"": 600, "suim": 3859}


def test_matchers_protocol_is_hsnets_at_the_methods_own_size() -> None:
    for family in ("coco", "pascal"):
        matcher, hsnet = (protocol({"name": name}, family) for name in ("matcher", "hsnet"))
        changed = {"name": "hsnet", "size": 400, "seen_classes": "refuse", "selection": "novel_val"}
        assert replace(matcher, **changed) == hsnet
        assert (matcher.release, matcher.episodes, matcher.seed) == (2014, 1000, 0)


def test_our_preset_is_what_a_protocol_is_by_default() -> None:
    assert protocol({}, "") == Protocol()


def test_presets_differ_as_the_codes_do() -> None:
    voc = {name: protocol({"name": name}, "pascal") for name in NAMES}
    assert {n: p.split for n, p in voc.items() if p.split == "train"} == {"panet": "train"}
    assert [p.size for p in voc.values()] == ["trained", 417, 481, 473, 400, 500]
    assert [p.pairs for p in voc.values()] == ["official", "any", "official", "any", "official", "official"]
    assert voc["pfenet"].min_pixels == 2 * 32 * 32
    assert [(p.runs, p.episodes, p.seed) for p in voc.values()] == [
        (5, 1000, 1234), (5, 1000, 1234), (1, 1000, 1385), (1, 5001, 321), (1, 1000, 0),
        (1, 1000, 1385),
    ]  # fmt: skip
    coco = {name: protocol({"name": name}, "coco") for name in NAMES}
    assert [p.fold_rule for p in coco.values()] == [
        "interleaved",
        "contiguous",
        "interleaved",
        "interleaved",
        "interleaved",
        "interleaved",
    ]
    assert [p.release for p in coco.values()] == [2017, 2014, 2017, 2014, 2014, 2017]
    assert (coco["pfenet"].size, coco["pfenet"].episodes, coco["fsseg"].episodes) == (641, 20001, 4000)
    assert (voc["pmms"].base_images, coco["pmms"].base_images) == ("drop", "keep")


def test_changes_keep_the_name_and_leave_the_rest_alone() -> None:
    changed = protocol({"name": "pmms", "episodes": 7, "runs": None}, "pascal")
    assert changed == replace(protocol({"name": "pmms"}, "pascal"), episodes=7)
    with pytest.raises(FssegError, match=r"no option `protocol.episode`. Did you mean `protocol.episodes`\?"):
        protocol({"episode": 7}, "")
    with pytest.raises(FssegError, match=r"`protocol.name` pmm: one of fsseg, panet"):
        protocol({"name": "pmm"}, "")


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({}, "void ignored"),
        ({"void": "background", "support_void": "background"}, "void is background"),
        ({"support_void": "background"}, "void ignored, in supports background"),
        ({"size": "own"}, "photos at their own sizes, compared at the original size"),
        ({"size": 473, "resize": "pad"}, "473x473 padded"),
        ({"size": 481, "evaluate_at": "resampled"}, "masks resized to the input and back"),
        ({"runs": 1, "seed": 7}, "1 x 1,000 episodes, episodes seeded by number, seed 7,"),
        ({"repeat_supports": True}, "supports may repeat"),
        ({"pairs": "official", "min_pixels": 20}, "451 pairs (official lists, at least 20 pixels)"),
        ({"queries": "several"}, "queries show several classes"),
        ({"absent_queries": 0.25}, "25% of queries lack all classes"),
        ({"absent": "drop"}, "absent classes dropped"),
    ],
)
def test_what_decides_a_number_is_said(values: dict[str, Any], expected: str) -> None:
    assert expected in Protocol(**values).in_words(451)
