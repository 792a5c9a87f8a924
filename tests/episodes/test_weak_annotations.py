from collections.abc import Callable
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
from scipy.ndimage import distance_transform_edt

from fsseg.datasets import Coco, Pascal, Shapes
from fsseg.datasets.boxes import Box, box_mask, boxes_of, parts
from fsseg.datasets.coco_annotations import read_annotations
from fsseg.datasets.segmentations import exact
from fsseg.episodes import EpisodeData
from fsseg.episodes.scribbles import draw, longest_paths, opened, scribbles, skeleton, smoothed
from fsseg.episodes.weak_annotations import Annotator, points
from fsseg.errors import FssegError
from fsseg.files.run_lengths import decode
from fsseg.protocols.protocol import Protocol
from tests.episode_options import grouped

Oracle = Callable[[str], dict[str, np.ndarray]]


def test_boxes_equal_panets_code(oracle: Oracle) -> None:
    stored = oracle("panet_bbox")
    for instances, mask, foreground, background in zip(
        stored["inst"], stored["fg_mask"], stored["fg_bbox"], stored["bg_bbox"], strict=True
    ):
        annotated = box_mask(mask.shape, boxes_of(instances, mask == 1), own=1)
        assert np.array_equal(annotated == 1, foreground)
        assert np.array_equal(annotated == 0, background)
        assert set(np.unique(annotated).tolist()) <= {0, 1, 255}


def away(scribble: np.ndarray, other: np.ndarray) -> float:
    """Mean distance of a scribble's pixels to another scribble."""
    return float(distance_transform_edt(~other)[scribble].mean())


def test_scribbles_of_panets_skeletons_are_panets(oracle: Oracle) -> None:
    stored = oracle("panet_scribble")
    exact = 0
    for axis, scribble, count, nodes in zip(
        stored["skeleton"] > 0, stored["scribble"] > 0, stored["n_paths"], stored["longest_path_nodes"], strict=True
    ):
        paths = longest_paths(axis)
        assert len(paths) == count
        assert max(map(len, paths)) == nodes
        drawn = np.any([draw(smoothed(path), axis.shape) for path in paths], axis=0)
        assert away(drawn, scribble) <= 2  # of equally long paths another one may be taken
        exact += np.array_equal(drawn, scribble)
    assert exact >= 4


def test_skeletons_of_masks_are_near_panets(oracle: Oracle) -> None:
    """Which pixels of a line two wide stay is left to chance, in the code's libraries as in ours."""
    stored = oracle("panet_scribble")
    for mask, axis in zip(stored["mask"] > 0, stored["skeleton"] > 0, strict=True):
        ours = skeleton(mask)
        assert away(ours, axis) < 0.5
        assert away(axis, ours) < 0.5


@pytest.mark.slow
def test_scribbles_lie_in_their_mask(oracle: Oracle) -> None:
    stored = oracle("panet_scribble")
    for mask, count in zip(stored["mask"] > 0, stored["n_paths"], strict=True):
        drawn = [scribbles(mask, seed=seed) for seed in range(4)]
        # A skeleton's ties are broken by chance, and one fork more makes one path more, in one of these six masks.
        assert count in map(len, drawn)
        assert all(abs(len(paths) - count) <= 1 for paths in drawn)
        for lines in (np.any(paths, axis=0) for paths in drawn):
            assert (lines & mask).sum() >= 0.95 * lines.sum()


def test_curves_and_lines_are_those_of_panets_code(oracle: Oracle) -> None:
    stored = oracle("panet_scribble")
    assert np.abs(smoothed(stored["bezier_points"].astype(float), 200) - stored["bezier_curve"][::-1]).max() < 1e-9
    scale = np.array([100, 100]) / 99  # `draw` truncates p / 100 * 99
    drawn = draw(stored["bres_points"] * scale + 1e-9, (100, 100))
    assert {tuple(point) for point in np.argwhere(drawn)} == {tuple(point) for point in stored["bres_line"]}


def test_a_path_of_many_points_stays_as_it_is() -> None:
    path = np.stack([np.arange(30.0), np.zeros(30)], axis=1)
    assert np.array_equal(smoothed(path, samples=20), path)
    assert len(smoothed(path, samples=40)) == 40


def test_opening_takes_off_what_is_thin_but_never_all() -> None:
    region = np.zeros((60, 60), dtype=bool)
    region[10:50, 10:50] = True
    region[30, 50:58] = True
    assert not opened(region)[30, 53:].any()
    assert opened(region)[12:48, 30].all()
    line = np.zeros((60, 60), dtype=bool)
    line[30, 5:55] = True
    assert np.array_equal(opened(line), line), "its radius shrinks until something is left"
    full = np.ones((40, 40), dtype=bool)
    assert opened(full).all(), "beyond the picture is no background"


def test_small_regions_have_a_scribble_and_empty_ones_none() -> None:
    dot = np.zeros((9, 9), dtype=bool)
    assert scribbles(dot) == []
    dot[4, 4] = True
    (scribble,) = scribbles(dot)
    assert np.array_equal(scribble, dot)


def test_parts_are_connected_by_corners_too() -> None:
    region = np.array([[1, 0, 0, 0, 1], [0, 1, 0, 0, 1], [0, 0, 0, 0, 0]], dtype=bool)
    assert parts(region) == [Box(0, 0, 2, 2, 2), Box(0, 4, 2, 5, 2)]


def test_a_random_box_is_one_of_all() -> None:
    boxes = [Box(0, 0, 2, 2, 4), Box(1, 4, 4, 6, 3), Box(5, 5, 6, 6, 1)]
    random = np.random.default_rng(0)
    chosen = {tuple(np.argwhere(box_mask((8, 8), boxes, 3, random) == 3)[0].tolist()) for _ in range(50)}
    assert chosen == {(0, 0), (1, 4), (5, 5)}
    largest = box_mask((8, 8), boxes, 3)
    assert (largest[:2, :2] == 3).all()
    assert (largest[1:4, 4:6] == 255).all()
    assert (largest == 0).sum() == 64 - 4 - 6 - 1
    assert (box_mask((8, 8), [], 1) == 0).all()


@pytest.fixture
def shapes() -> Shapes:
    dataset = Shapes(size=48, train=40, val=40)
    dataset.open(None)
    return dataset


def test_points_are_those_of_guided_networks(oracle: Oracle) -> None:
    stored = oracle("revolver_data")
    random = np.random.RandomState(int(stored["np_seed"]))
    assert np.array_equal(points(stored["label"], (0, 1), 4, random), stored["sparse_count4"])
    random = np.random.RandomState(int(stored["np_seed"]) + 1)
    count = random.randint(100)  # the code's 0 to 99; ours is at least 1
    assert np.array_equal(points(stored["label"], (0, 1), count, random), stored["sparse_random_count"])


def test_points_mark_the_way_and_the_background(shapes: Shapes) -> None:
    counts = set()
    for number in range(20):
        first = int(np.flatnonzero(shapes.index.pixels[number][1:])[0]) + 1
        mask = shapes.episode_mask(number, (first,), own=0)
        few, any_number = (
            Annotator(shapes, "points", points=n)(number, mask, (first,), 0, seed=number) for n in (3, None)
        )
        for annotated in (few, any_number):
            assert np.array_equal(annotated[annotated != 255], mask[annotated != 255])
        assert [(few == label).sum() for label in (0, 1, 255)] == [3, 3, mask.size - 6]
        counts.add(int((any_number == 0).sum()))
    assert 1 <= min(counts) < max(counts) <= 99
    tiny = np.zeros((4, 4), dtype=np.uint8)
    tiny[0, :2] = 1
    assert (points(tiny, (0, 1), 5, np.random.default_rng(0)) == 1).sum() == 2


def test_points_need_images_of_their_own_sizes() -> None:
    for options in ({"support_annotation": "points", "size": 24}, {"test_support_annotation": "points", "size": 24}):
        with pytest.raises(FssegError, match=r"points get lost in masks that are resized to 24: `(data|protocol)"):
            EpisodeData(Shapes(32, 40, 40), **grouped(workers=0, **options))
    data = EpisodeData(Shapes(32, 40, 40), **grouped(workers=0, support_annotation="points", points=2, size=None))
    data.setup("test")
    batch = next(iter(data.test_dataloader()))
    assert [(batch.support_mask == label).sum().item() for label in (0, 1)] == [2, 2]


@pytest.mark.slow
def test_a_scribble_marks_one_part_of_its_class_and_the_background_and_nothing_else(shapes: Shapes) -> None:
    annotator = Annotator(shapes, "scribble")
    for number in range(20):
        first = int(np.flatnonzero(shapes.index.pixels[number][1:])[0]) + 1
        second = int(np.flatnonzero(shapes.index.pixels[number][1:])[-1]) + 1
        mask = shapes.episode_mask(number, (second, first), own=1)
        annotated = annotator(number, mask, (second, first), 1, seed=number)
        marked = annotated != 255
        assert 0 < (annotated == 2).sum() < (mask == 2).sum()
        assert 0 < (annotated == 0).sum() < (mask == 0).sum() / 4
        assert not (annotated == 1).any(), "the other way is neither marked nor background"
        assert (annotated == mask)[marked].mean() > 0.9  # smoothing may cut a corner, as in the code
        assert np.array_equal(annotator(number, mask, (second, first), 1, seed=number), annotated)


def test_another_seed_marks_another_part() -> None:
    class Two(Shapes):
        def episode_mask(self, number: int, classes: tuple[int, ...], own: int | None = None) -> np.ndarray:
            mask = np.zeros((48, 48), dtype=np.uint8)
            mask[5:15, 5:40] = mask[25:40, 5:40] = 1
            return mask

    annotator, mask = Annotator(Two(), "scribble"), Two().episode_mask(0, (1,))
    drawn = [annotator(0, mask, (1,), 0, seed) == 1 for seed in range(12)]
    upper = {bool(scribble[:20].any()) for scribble in drawn}
    assert upper == {True, False}
    assert all(scribble[:20].any() != scribble[20:].any() for scribble in drawn)


def test_boxes_come_from_vocs_instances_where_there_are_some(fake_voc: Path) -> None:
    dataset = Pascal()
    dataset.open(fake_voc)
    mask = dataset.mask(3)
    (own, *_) = [int(c) for c in np.unique(mask) if c not in (0, 255)]
    (whole,) = dataset.boxes(3, own)
    rows, columns = np.nonzero(mask == own)
    assert whole == Box(rows.min(), columns.min(), rows.max() + 1, columns.max() + 1, len(rows))
    folder = fake_voc / "VOC2012/SegmentationObject"
    folder.mkdir()
    instances = np.where(mask == own, 1, 0).astype(np.uint8)
    instances[: rows.min() + 3][mask[: rows.min() + 3] == own] = 2
    PIL.Image.fromarray(instances).save(folder / f"{dataset.image_name(3)}.png")
    boxes = dataset.boxes(3, own)
    assert sorted(box.pixels for box in boxes) == sorted([(instances == 1).sum(), (instances == 2).sum()])
    PIL.Image.fromarray(instances[:5]).save(folder / f"{dataset.image_name(3)}.png")
    with pytest.raises(FssegError, match="differ in size"):
        dataset.boxes(3, own)


def test_boxes_of_coco_are_its_objects_and_no_crowds(fake_coco: Path) -> None:
    dataset = Coco()
    dataset.open(fake_coco)
    annotated = read_annotations(fake_coco / "annotations/instances_val2017.json", dataset.class_names).images
    first = dataset.numbers("val").start
    checked = 0
    for number, image in enumerate(annotated, first):
        assert Path(image.name).stem == dataset.image_name(number)
        for class_id in {annotation.class_id for annotation in image.annotations}:
            expected = []
            for annotation in image.annotations:
                if annotation.class_id == class_id and not annotation.crowd:
                    region = decode(exact(annotation.segmentation, image.height, image.width))
                    (rows, columns), pixels = np.nonzero(region), int(region.sum())
                    expected.append((rows.min(), columns.min(), rows.max() + 1, columns.max() + 1, pixels))
            if expected:
                assert dataset.boxes(number, class_id) == expected
                checked += 1
            else:
                assert dataset.boxes(number, class_id) == parts(dataset.episode_mask(number, (class_id,)) == 1)
    assert checked > 100


@pytest.mark.parametrize("annotation", ["scribble", "box"])
@pytest.mark.slow
def test_supports_are_annotated_and_queries_are_not(shapes: Shapes, annotation: str) -> None:
    options = {"size": 48, "train": 6, "val": 4, "workers": 0, "augment": [], "way": 2}
    tested = Protocol(runs=1, episodes=6)
    plain = EpisodeData(Shapes(48, 40, 40), **grouped(**options), protocol=tested)
    weak = EpisodeData(Shapes(48, 40, 40), **grouped(**options, support_annotation=annotation), protocol=tested)
    test_only = EpisodeData(
        Shapes(48, 40, 40), **grouped(**options, test_support_annotation=annotation), protocol=tested
    )
    for data in (plain, weak, test_only):
        data.setup("fit")
        data.setup("test")
    for loader, changed in (("train_dataloader", (weak,)), ("val_dataloader", (weak, test_only)),
                            ("test_dataloader", (weak, test_only))):  # fmt: skip
        for data in (weak, test_only):
            for a, b in zip(getattr(plain, loader)(), getattr(data, loader)(), strict=True):
                assert (a.support_mask == b.support_mask).all() == (data not in changed)
                assert (a.query_mask == b.query_mask).all()
                assert (a.support_image == b.support_image).all()
                if data in changed and annotation == "scribble":
                    assert ((b.support_mask == 255).flatten(3).float().mean(3) > 0.8).all()
    again = EpisodeData(Shapes(48, 40, 40), **grouped(**options, support_annotation=annotation), protocol=tested)
    again.setup("fit")
    pairs = zip(weak.train_dataloader(), again.train_dataloader(), strict=True)
    assert all((a.support_mask == b.support_mask).all() for a, b in pairs)


@pytest.mark.parametrize("policy", ["ignore", "background"])
@pytest.mark.parametrize("annotation", ["box", "scribble"])
@pytest.mark.slow
def test_void_outside_of_a_weak_annotation_is_what_the_view_says(annotation: str, policy: str) -> None:
    class Voids(Shapes):
        def mask(self, number: int) -> np.ndarray:
            mask = super().mask(number).copy()
            mask[:24] = np.where(mask[:24] == 0, 255, mask[:24])
            return mask

    def labels(kind: str, void: str) -> np.ndarray:
        options = grouped(size=48, val=0, workers=0, test_support_annotation=kind)
        data = EpisodeData(Voids(48, 40, 40), **options, protocol=Protocol(runs=1, episodes=8, support_void=void))
        data.setup("test")
        return np.stack([batch.support_mask.numpy() for batch in data.test_dataloader()])

    void = labels("mask", "ignore") == 255
    annotated = labels(annotation, policy)
    assert (annotated[void] == 0).any() == (policy == "background")
    assert (annotated == 0).any()
    assert (annotated == 1).any()


@pytest.mark.slow
def test_the_seed_of_a_test_is_the_protocols() -> None:
    def masks(seed: int, protocol: int) -> list[bytes]:
        options = grouped(size=48, workers=0, seed=seed, test_support_annotation="scribble")
        data = EpisodeData(Shapes(48, 40, 40), **options, protocol=Protocol(runs=1, episodes=6, seed=protocol))
        data.setup("test")
        return [batch.support_mask.numpy().tobytes() for batch in data.test_dataloader()]

    assert masks(0, 5) == masks(7, 5)
    assert masks(0, 5) != masks(0, 6)
