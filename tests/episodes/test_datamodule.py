import os
from collections.abc import Iterable
from dataclasses import fields
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from fsseg.datasets import Pascal, Shapes
from fsseg.episode import NO_WAY, Batch, Episode
from fsseg.episodes import EpisodeData
from fsseg.episodes.official_draws import panet_episodes, pmms_episodes
from fsseg.errors import FssegError
from fsseg.protocols.protocol import Protocol
from tests.episode_options import grouped


class DrawnOnce(Shapes):
    """Shapes that are drawn for the first test only."""

    def open(self, root: Path | None = None) -> None:
        if not hasattr(self, "index"):
            super().open(root)


SHAPES = DrawnOnce(size=32, train=80, val=80)


OF_PROTOCOL = {field.name for field in fields(Protocol)} - {"size", "pairs", "min_pixels", "episodes", "seed"}
TESTED_BY = {"test_episodes": "episodes", "test_seed": "seed", "test_pixels": "min_pixels", "shown_at": "size"}


def module(stage: str = "fit", **arguments: Any) -> EpisodeData:
    """Small episodes; the protocol's options by name, or as in TESTED_BY where data has one of that name."""
    small: dict[str, Any] = {"dataset": SHAPES, "size": 16, "train": 12, "val": 12, "workers": 0}
    tested: dict[str, Any] = {"runs": 2, "episodes": 8, "evaluate_at": "input", "support_void": "background"}
    for name in list(arguments):
        if name in OF_PROTOCOL or name in TESTED_BY:
            tested[TESTED_BY.get(name, name)] = arguments.pop(name)
    data = EpisodeData(**grouped(**small | arguments), protocol=Protocol(**tested))
    data.setup(stage)
    return data


def images(batches: Iterable[Batch]) -> set[int]:
    return {i for batch in batches for i in [*batch.support_id.flatten().tolist(), *batch.query_id.flatten().tolist()]}


def classes(batches: Iterable[Batch]) -> set[int]:
    return {c for batch in batches for c in batch.classes.flatten().tolist()}


def same(first: Iterable[Batch], second: Iterable[Batch]) -> bool:
    pairs = zip(first, second, strict=True)
    return all(torch.equal(a, b) for pair in pairs for a, b in zip(*pair, strict=True))


@pytest.mark.parametrize("fold", [0, 3])
@pytest.mark.slow
def test_base_classes_train_and_validate_novel_classes_test(fold: int) -> None:
    data = module(fold=fold, train=60, val=60, test_episodes=30)
    data.setup("test")
    novel, base = set(range(5 * fold + 1, 5 * fold + 6)), set(range(1, 21))
    assert classes(data.train_dataloader()) <= base - novel
    assert classes(data.val_dataloader()) <= base - novel
    assert classes(data.test_dataloader()) == novel
    assert images(data.train_dataloader()) <= set(range(80))
    assert images(data.val_dataloader()) | images(data.test_dataloader()) <= set(range(80, 160))


def test_batches_have_the_shapes_asked_for() -> None:
    data = module(way=2, shot=3, query=2, batch_size=5)
    batches = list(data.train_dataloader())
    assert [len(batch.run) for batch in batches] == [5, 5, 2]
    assert batches[0].support_image.shape == (5, 2, 3, 3, 16, 16)
    assert batches[0].query_mask.shape == (5, 2, 16, 16)
    assert torch.cat([batch.number for batch in batches]).tolist() == list(range(12))


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_the_number_of_workers_changes_nothing() -> None:
    alone, helped = module(batch_size=3), module(batch_size=3, workers=2)
    assert same(alone.train_dataloader(), helped.train_dataloader())


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.slow
def test_a_broken_image_is_named_by_workers_too(fake_voc: Path) -> None:
    for image in (fake_voc / "VOC2012" / "JPEGImages").glob("2007*.jpg"):
        os.truncate(image, image.stat().st_size - 300)
    data = module(dataset=Pascal(), root=str(fake_voc), workers=1)
    with pytest.raises(FssegError, match=r"image .*2007_0000\d\d.jpg cannot be decoded"):
        list(data.train_dataloader())


@pytest.mark.slow
def test_every_epoch_has_new_episodes() -> None:
    data = module()
    loader = data.train_dataloader()
    first = list(loader)
    progress = SimpleNamespace(total=SimpleNamespace(processed=12))  # as Lightning counts batches
    loop = SimpleNamespace(epoch_loop=SimpleNamespace(batch_progress=progress))
    data.trainer = SimpleNamespace(fit_loop=loop, world_size=1)
    second = list(loader)
    assert [int(batch.number) for batch in second] == list(range(12, 24))
    assert not same(first, second)
    longer = list(module(train=24).train_dataloader())
    assert same(first + second, longer)


@pytest.mark.slow
def test_validation_is_the_same_in_every_epoch() -> None:
    loader = module().val_dataloader()
    assert same(list(loader), loader)


@pytest.mark.slow
def test_runs_of_a_test_differ_and_repeat_exactly() -> None:
    batches = list(module("test").test_dataloader())
    assert [(int(batch.run), int(batch.number)) for batch in batches] == [(r, n) for r in range(2) for n in range(8)]
    ids = [(batch.support_id.tolist(), batch.query_id.tolist()) for batch in batches]
    assert ids[:8] != ids[8:]
    assert same(batches, module("test", seed=5, batch_size=4).test_dataloader())
    # The second run is the first one of the next seed.
    shifted = list(module("test", test_seed=1235).test_dataloader())
    assert ids[8:] == [(batch.support_id.tolist(), batch.query_id.tolist()) for batch in shifted[:8]]


def test_another_seed_trains_on_other_episodes() -> None:
    assert same(module(seed=1).train_dataloader(), module(seed=1).train_dataloader())
    assert not same(module(seed=1).train_dataloader(), module(seed=2).train_dataloader())


def test_tests_are_not_augmented() -> None:
    flip = [{"class_path": "albumentations.HorizontalFlip", "init_args": {"p": 1}}]
    plain, flipped = module(augment=[], size=32), module(augment=flip, size=32)
    plain.setup("test")
    flipped.setup("test")
    assert same(plain.test_dataloader(), flipped.test_dataloader())
    assert same(plain.val_dataloader(), flipped.val_dataloader())
    for a, b in zip(plain.train_dataloader(), flipped.train_dataloader(), strict=True):
        assert torch.equal(a.support_image, b.support_image.flip(-1))
        assert torch.equal(a.query_mask, b.query_mask.flip(-1))


def expect_episodes(data: EpisodeData, expected: list[Episode]) -> None:
    for batch, episode in zip(data.test_dataloader(), expected, strict=True):
        assert batch.classes[0].tolist() == list(episode.classes)
        assert batch.support_id[0].tolist() == [list(shots) for shots in episode.support]
        assert batch.query_id[0].tolist() == list(episode.query)


def test_draw_panet_tests_on_panets_episodes() -> None:
    data = module("test", draw="panet", way=2, fold=1)
    index = data.dataset.index
    lists = {c: index.images(c, range(80, 160)).tolist() for c in range(6, 11)}
    expect_episodes(data, [e for run in range(2) for e in panet_episodes(lists, 2, 1, 1, 1234 + run, 8)])


def test_draw_pmms_walks_all_images_and_their_novel_classes() -> None:
    data = module("test", draw="pmms", fold=1, test_shot=2, test_seed=1385, test_pixels=40, test_episodes=90)
    masks = {i: SHAPES.mask(i) for i in range(80, 160)}
    pairs = [(i, c) for i, mask in masks.items() for c in range(6, 11) if (mask == c).sum() >= 40]
    assert len(pairs) < 90
    expect_episodes(data, [e for run in range(2) for e in pmms_episodes(pairs, 2, 1385 + run, 90)])


@pytest.mark.parametrize(("way", "query"), [(2, 1), (1, 2)])
def test_draw_pmms_has_one_way_and_one_query(way: int, query: int) -> None:
    with pytest.raises(FssegError, match=f"`data.way` 1 and `data.query` 1 are needed, not {way} and {query}"):
        module(draw="pmms", way=way, query=query)


def test_shots_and_size_of_a_test_may_be_its_own() -> None:
    data = module(shot=1, test_shot=3, size=16, test_size=24, way=2)
    data.setup("test")
    assert (data.test_shot, data.images.test_size) == (3, 24)
    assert next(iter(data.train_dataloader())).support_image.shape == (1, 2, 1, 3, 16, 16)
    for loader in (data.val_dataloader(), data.test_dataloader()):
        batch = next(iter(loader))
        assert batch.support_image.shape == (1, 2, 3, 3, 24, 24)
        assert batch.query_mask.shape == (1, 1, 24, 24)
    assert same(data.test_dataloader(), module("test", shot=3, size=24, way=2).test_dataloader())
    plain = module(shot=3, size=24)
    assert (plain.test_shot, plain.images.test_size) == (3, 24)


def test_queries_may_be_compared_with_their_original_masks(fake_voc: Path) -> None:
    data = module(dataset=Pascal(), root=str(fake_voc), batch_size=2, evaluate_at="original")
    data.setup("test")
    assert {batch.query_mask.shape[2:] for batch in data.train_dataloader()} == {(16, 16)}
    for loader in (data.val_dataloader(), data.test_dataloader()):
        for batch in loader:
            truth = data.dataset.mask(int(batch.query_id))
            assert np.array_equal(batch.query_mask[0, 0] == 1, truth == int(batch.classes))
            assert batch.query_image.shape[3:] == batch.support_mask.shape[3:] == (16, 16)


def test_photos_may_keep_their_sizes(fake_voc: Path) -> None:
    data = module(dataset=Pascal(), root=str(fake_voc), size=None)
    data.setup("test")
    for loader in (data.train_dataloader(), data.val_dataloader(), data.test_dataloader()):
        for batch in loader:
            shapes = [data.dataset.mask(int(i)).shape for i in (batch.support_id, batch.query_id)]
            assert [batch.support_mask.shape[3:], batch.query_mask.shape[2:]] == shapes
    only_test = module("test", dataset=Pascal(), root=str(fake_voc), size=None, test_size=16, test_batch_size=4)
    assert next(iter(only_test.test_dataloader())).query_mask.shape == (4, 1, 16, 16)


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"size": None, "batch_size": 2}, "size` null.*`data.batch_size` 1 and `data.query` 1 are needed, not 2 and 1"),
        ({"size": None, "test_batch_size": 2}, "one by one.*`data.loading.test_batch_size` 1 and .* not 2 and 1"),
        ({"size": None, "test_size": 16, "query": 2}, "size` null.*`data.batch_size` 1 and .* not 1 and 2"),
        (
            {"shown_at": "own", "test_batch_size": 4},
            "different sizes are tested one by one.*`data.loading.test_batch_size` 1 .* 4",
        ),
    ],
)
def test_photos_of_different_sizes_come_one_by_one(options: dict[str, Any], why: str) -> None:
    with pytest.raises(FssegError, match=why) as error:
        module(**options)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("fold", [0, 2])
@pytest.mark.slow
def test_drop_novel_trains_on_no_image_with_a_novel_object(fold: int, fake_voc: Path) -> None:
    def shown(drop: bool) -> set[int]:
        data = module(dataset=Pascal(), root=str(fake_voc), fold=fold, drop_novel=drop, train=80)
        masks = [data.dataset.mask(i) for i in images(data.train_dataloader())]
        return {int(c) for mask in masks for c in np.unique(mask)} & set(data.novel)

    assert shown(drop=False)
    assert not shown(drop=True)


def test_min_pixels_leaves_small_objects_out() -> None:
    data = module(min_pixels=110, train=40)
    for batch in data.train_dataloader():
        number, class_id = int(batch.query_id), int(batch.classes)
        assert (data.dataset.mask(number) == class_id).sum() >= 110


def test_classes_with_too_few_images_are_named(fake_voc: Path) -> None:
    voc = {"dataset": Pascal(), "root": str(fake_voc), "fold": 0, "shot": 5}
    module("test", **voc)  # six images a class are enough
    voc_list = fake_voc / "VOC2012" / "ImageSets" / "SegmentationAug" / "val.txt"
    voc_list.write_text("\n".join(voc_list.read_text().split()[1:]))  # the first image showed classes 1 and 2
    voc["dataset"] = Pascal()
    with pytest.raises(FssegError, match=r"needs 6 val images a class.*1 aeroplane \(5\), 2 bicycle \(5\)\. Lower"):
        module("test", **voc)
    data = module("test", **voc, missing_classes="skip")
    assert data.skipped == (1, 2)
    assert classes(data.test_dataloader()) == {3, 4, 5}


@pytest.mark.slow
def test_min_images_decides_the_classes_of_the_training_alone() -> None:
    every, some = module(train=150, val=40), module(train=150, val=40, min_images=14, missing_classes="skip")
    counts = {c: len(found) for c, found in every.trained.images.items()}
    assert min(counts.values()) < 14 <= max(counts.values())
    assert classes(every.train_dataloader()) == counts.keys()
    assert classes(some.train_dataloader()) == {c for c, count in counts.items() if count >= 14}
    assert same(every.val_dataloader(), some.val_dataloader())


def test_a_share_of_training_queries_shows_none_of_the_classes() -> None:
    sizes = {"way": 2, "query": 2, "train": 300, "val": 20, "size": 16, "workers": 0}
    data = EpisodeData(**grouped(dataset=SHAPES, absent_queries=0.3, **sizes))
    data.setup("fit")
    trained = {int(number) for found in data.trained.images.values() for number in found}
    absent = 0
    for batch in data.train_dataloader():
        shown = {int(label) for label in batch.query_mask.unique()} - {0, 255}
        lacks = bool((batch.query_way == NO_WAY).all())
        assert lacks != bool(shown)
        absent += lacks
        assert {int(number) for number in batch.query_id.flatten()} <= trained
    assert 60 < absent < 120  # of 300; 3.8 standard deviations
    assert all((batch.query_way != NO_WAY).all() for batch in data.val_dataloader())


def test_the_share_of_absent_queries_is_below_one() -> None:
    with pytest.raises(FssegError, match=r"`data.episodes.absent_queries` 1.0: at most 0.9"):
        EpisodeData(**grouped(dataset=SHAPES, absent_queries=1.0))


def test_a_long_list_of_classes_is_cut_short() -> None:
    with pytest.raises(FssegError, match=r"show: (\d+ [a-z ]+ \(\d+\)(, )?){5} and 10 more\. Lower `data\.shot`, cho"):
        module(shot=80)


def test_too_few_images_for_the_shots_of_a_test_are_an_error_of_the_test_alone() -> None:
    data = module(test_shot=80, val=0)
    with pytest.raises(FssegError, match=r"1-way 80-shot .* needs 81 val images .* Lower `data\.test_shot`"):
        data.setup("test")


def test_skipping_must_leave_enough_classes(fake_voc: Path) -> None:
    with pytest.raises(FssegError, match="needs 8 val images a class"):
        module("test", dataset=Pascal(), root=str(fake_voc), shot=7, missing_classes="skip")


def test_root_may_come_from_the_environment(fake_voc: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(FssegError, match="FSSEG_DATA_ROOT"):
        module(dataset=Pascal())
    monkeypatch.setenv("FSSEG_DATA_ROOT", str(fake_voc))
    assert len(list(module(dataset=Pascal()).train_dataloader())) == 12


def test_no_validation_where_none_is_asked_for() -> None:
    assert module(val=0).val_dataloader() == []


OUT_OF_RANGE = [
    ("fold", 4), ("fold", -1), ("way", 0), ("way", 6), ("shot", 0), ("query", 0), ("size", 7), ("batch_size", 0),
    ("test_shot", 0), ("test_size", 7),
    ("train", 0), ("min_pixels", 0), ("val", -1),
    ("test_batch_size", 0), ("seed", -1), ("workers", -1),
]  # fmt: skip


@pytest.mark.parametrize(("option", "value"), OUT_OF_RANGE)
def test_options_out_of_range(option: str, value: int) -> None:
    with pytest.raises(FssegError, match=rf"`data\.(\w+\.)?{option}` {value}: ") as error:
        EpisodeData(Shapes(), **grouped(**{option: value}))
    assert "\n" not in str(error.value)


def test_excluded_classes_are_neither_trained_on_nor_validated() -> None:
    names = [SHAPES.class_name(c) for c in SHAPES.base(0)[:2]]
    data = module(exclude=names, drop_novel=True)
    assert data.base == SHAPES.base(0)[2:]
    assert set(data.trained.images) == classes(data.val_dataloader()) | set(data.base) == set(data.base)
    shown = {int(i) for found in data.trained.images.values() for i in found}
    assert not SHAPES.index.pixels[sorted(shown)][:, [*SHAPES.novel(0), *SHAPES.base(0)[:2]]].any()


def test_an_unknown_or_a_last_excluded_class_is_refused() -> None:
    with pytest.raises(FssegError, match=r"exclude`: DrawnOnce has no class cta\. It has: plain disc"):
        module(exclude=["cta"])
    with pytest.raises(FssegError, match="exclude` leaves no class of fold 0 to train on"):
        module(exclude=[SHAPES.class_name(c) for c in SHAPES.base(0)])


def test_all_base_classes_may_be_the_foreground_of_a_training() -> None:
    data = module(foreground="base", size=32, augment=[])
    batch = next(iter(data.train_dataloader()))
    for numbers, masks in ((batch.support_id, batch.support_mask), (batch.query_id, batch.query_mask)):
        for number, mask in zip(numbers.flatten().tolist(), masks.reshape(-1, 32, 32), strict=True):
            assert np.array_equal(mask, np.isin(SHAPES.mask(number), data.base).astype(np.uint8))
    val = next(iter(data.val_dataloader()))  # of one class
    number, class_id = int(val.query_id[0, 0]), int(val.classes[0, 0])
    assert np.array_equal(val.query_mask[0, 0], (SHAPES.mask(number) == class_id).astype(np.uint8))


def test_a_foreground_of_base_classes_needs_one_way() -> None:
    with pytest.raises(FssegError, match="base: 2 ways, 15 base classes; 1 way and"):
        module(foreground="base", way=2).train_dataloader()
