import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
import torch
from pycocotools import mask as mask_code
from pycocotools.coco import COCO

from fsseg.datasets import Coco, coco
from fsseg.datasets.coco_annotations import AnnotatedImage, Annotation
from fsseg.datasets.coco_masks import find_regions
from fsseg.encoders import ConvNet
from fsseg.errors import FssegError
from fsseg.files.run_lengths import decode
from fsseg.methods import PANet
from tests.conftest import CATEGORY_IDS, SHARED, write_coco

# pycocotools' own decoder, which we compare with
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

Oracle = Callable[[str], dict[str, np.ndarray]]
GREY = PIL.Image.new("RGB", (12, 10), (90, 90, 90))


def opened(root: Path, **options: Any) -> Coco:
    dataset = Coco(**options)
    dataset.open(root)
    return dataset


def unions(root: Path, split: str, crowds: tuple[int, ...] = (0, 1)) -> Iterator[dict[int, np.ndarray]]:
    """Each image's regions by class id, united from pycocotools' annToMask."""
    reader = COCO(root / "annotations" / f"instances_{split}2017.json")
    for image_id in sorted(reader.imgs):
        found: dict[int, np.ndarray] = {}
        for annotation in reader.imgToAnns[image_id]:
            if annotation["iscrowd"] in crowds:
                class_id = CATEGORY_IDS.index(annotation["category_id"]) + 1
                found[class_id] = found.get(class_id, 0) | reader.annToMask(annotation)
        yield found


def assert_exact(dataset: Coco, root: Path) -> None:
    for split in ("train", "val"):
        for number, found in zip(dataset.numbers(split), unions(root, split), strict=True):
            counts = np.zeros(81, dtype=int)
            for class_id, region in found.items():
                assert np.array_equal(dataset.episode_mask(number, (class_id,)), region)
                counts[class_id] = region.sum()
            counts[0] = (np.sum([*found.values(), np.zeros_like(dataset.mask(number))], axis=0) == 0).sum()
            assert np.array_equal(dataset.index.pixels[number], counts)


def test_masks_and_index_equal_pycocotools(fake_coco: Path) -> None:
    assert_exact(opened(fake_coco), fake_coco)


@pytest.mark.slow
def test_masks_and_index_equal_pycocotools_on_photos() -> None:
    root = SHARED / "data" / "coco2017_mini"
    if not root.is_dir():
        pytest.skip(f"no photos in {root}")
    assert_exact(opened(root), root)


def test_images_are_those_of_the_files_in_the_order_of_their_ids(fake_coco: Path) -> None:
    dataset = opened(fake_coco)
    assert (dataset.numbers("train"), dataset.numbers("val")) == (range(101), range(101, 202))
    assert (dataset.image_name(3), dataset.image_name(104)) == ("000000000004", "000000000504")
    with PIL.Image.open(fake_coco / "train2017" / "000000000004.jpg") as picture:
        assert np.array_equal(dataset.image(3), np.asarray(picture))
    grey = dataset.image(9)
    with PIL.Image.open(fake_coco / "train2017" / "000000000010.jpg") as picture:
        assert picture.mode == "L"
    assert (grey == grey[..., :1]).all()
    assert not dataset.mask(100).any(), "an image without annotations is background"


def test_mask_shows_the_smaller_class_over_the_larger(fake_coco: Path) -> None:
    dataset = opened(fake_coco)
    for number, found in zip(range(101), unions(fake_coco, "train"), strict=True):
        expected = np.zeros_like(dataset.mask(number))
        for class_id in sorted(found, key=lambda c: (-int(found[c].sum()), c)):
            expected[found[class_id] > 0] = class_id
        assert np.array_equal(dataset.mask(number), expected)


def test_ignored_crowds_are_255_where_the_episode_shows_no_object(fake_coco: Path) -> None:
    dataset, crowded = opened(fake_coco, crowds="ignore"), 0
    every = zip(unions(fake_coco, "train", (0,)), unions(fake_coco, "train", (1,)), strict=True)
    for number, (objects, crowds) in enumerate(every):
        for class_id, crowd in crowds.items():
            region = objects.get(class_id, np.zeros_like(crowd))
            expected = np.where(region > 0, 1, np.where(crowd > 0, 255, 0))
            assert np.array_equal(dataset.episode_mask(number, (class_id,)), expected)
            assert dataset.index.pixels[number, class_id] == region.sum()
            other = next(c for c in objects if c != class_id)
            both = dataset.episode_mask(number, (class_id, other))
            assert np.array_equal(both == 2, objects[other]), "an object over a crowd is an object"
            assert not (dataset.episode_mask(number, (other,)) == 255).any(), "no crowd of the episode's classes"
            crowded += 1
    assert crowded > 20
    assert (dataset.mask(0) == 255).any()


def test_masks_of_the_own_way_only_equal_panets_code(oracle: Oracle, tmp_path: Path) -> None:
    stored = oracle("panet_episode_coco_2way1shot")
    classes, way, shot = stored["class_ids"].tolist(), int(stored["n_ways"]), int(stored["n_shots"])
    picture = PIL.Image.new("RGB", stored["labels"].shape[:0:-1])
    images = []
    for label in stored["labels"]:
        codes = {c: mask_code.encode(np.asfortranarray(label == c, dtype=np.uint8)) for c in np.unique(label) if c}
        segmentations = {c: {**code, "counts": code["counts"].decode()} for c, code in codes.items()}
        images.append((picture, [{"class_id": int(c), "segmentation": s} for c, s in segmentations.items()]))
    write_coco(tmp_path, "train", images)
    write_coco(tmp_path, "val", [(picture, [])], first_id=50)
    dataset = opened(tmp_path, other_ways="background")
    support, query, number = [], [], 0  # way by way: shots, then queries
    for own, queries in enumerate(stored["cnt_query"].tolist()):
        for k in range(shot + queries):
            (support if k < shot else query).append(dataset.episode_mask(number, classes, own))
            number += 1
    mask = torch.from_numpy(np.stack(support)).unflatten(0, (way, shot)).unsqueeze(0)
    found = PANet(ConvNet((8,), (1,))).regions(mask)
    assert np.array_equal(found.foreground[0], stored["support_fg_mask"])
    assert np.array_equal(found.background[0], stored["support_bg_mask"])
    assert np.array_equal(query, stored["query_labels"])


def test_convex_and_exact_masks_equal_those_of_pmms_code(oracle: Oracle, oracle_folder: Path) -> None:
    stored = oracle("pmms_coco_mask")
    height, width, class_id = (int(stored[name]) for name in ("height", "width", "category_id"))
    cases = json.loads((oracle_folder / "pmms_coco_mask_anns.json").read_text())
    for case, official, proper in zip(cases, stored["official_mask"], stored["proper_mask"], strict=True):
        marks = [Annotation(0, a["category_id"], bool(a["iscrowd"]), a["segmentation"]) for a in case]
        image = AnnotatedImage("", height, width, marks)
        assert np.array_equal(decode(find_regions(image, "first_polygon_convex", "include").codes[class_id]), official)
        assert np.array_equal(decode(find_regions(image, "exact", "include").codes[class_id]), proper)


def square(left: int, top: int, right: int, bottom: int) -> list[float]:
    return [left + 0.7, top + 0.2, right + 0.9, top + 0.6, right + 0.1, bottom + 0.3, left + 0.4, bottom + 0.9]


def test_label_maps_take_first_polygons_in_order_and_no_crowd(tmp_path: Path) -> None:
    ring = np.zeros((10, 12), dtype=np.uint8)
    ring[5:10, 6:12] = 1
    ring[7, 8] = 0
    encoded = mask_code.encode(np.asfortranarray(ring))
    marks = [
        {"class_id": 4, "segmentation": [square(1, 1, 6, 6), square(8, 0, 11, 3)]},
        {"class_id": 9, "segmentation": [square(4, 3, 8, 8)]},
        {"class_id": 4, "segmentation": {**encoded, "counts": encoded["counts"].decode()}},
        {"class_id": 9, "segmentation": {"size": [10, 12], "counts": [0, 120]}, "crowd": True},
    ]
    for split in ("train", "val"):
        write_coco(tmp_path, split, [(GREY, marks)], first_id=1 if split == "train" else 2)
    expected = np.zeros((10, 12), dtype=np.uint8)
    expected[1:7, 1:7] = 4  # OpenCV fills the border too
    expected[3:9, 4:9] = 9
    expected[ring > 0] = 4
    dataset = opened(tmp_path, masks="first_polygon_map")
    assert np.array_equal(dataset.mask(0), expected)
    assert np.array_equal(dataset.episode_mask(0, (9, 4)), np.choose(np.searchsorted([0, 4, 9], expected), [0, 2, 1]))
    convex = opened(tmp_path, masks="first_polygon_convex")
    expected = ring.copy()
    expected[1:7, 1:7] = 1
    assert np.array_equal(convex.episode_mask(0, (4,)), expected)


def test_images_may_lie_one_folder_deeper(fake_coco: Path) -> None:
    expected = opened(fake_coco).image(150)
    (fake_coco / "images").mkdir()
    for split in ("train2017", "val2017"):
        (fake_coco / split).rename(fake_coco / "images" / split)
    assert np.array_equal(opened(fake_coco).image(150), expected)


def test_the_release_of_2014_has_its_own_files(fake_coco: Path) -> None:
    expected = opened(fake_coco).mask(5)
    for path in [*fake_coco.glob("*2017"), *fake_coco.glob("annotations/*2017.json")]:
        path.rename(path.with_name(path.name.replace("2017", "2014")))
    dataset = opened(fake_coco, year=2014)
    assert np.array_equal(dataset.mask(5), expected)
    assert "101 of 82,783 train images, 101 of 40,504 val images" in dataset.note
    with pytest.raises(FssegError, match=r"train2017 or images/train2017 is needed.*year` 2014"):
        opened(fake_coco)


def test_subsets_folds_and_other_masks_are_told_apart(fake_coco: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = opened(fake_coco)
    assert (Coco().name, Coco().note, dataset.name) == ("COCO-20i", "", "COCO subset")
    assert re.search("101 of 118,287 train images, 101 of 5,000 val images", dataset.note)
    assert opened(fake_coco, fold_rule="contiguous").name == "COCO subset (contiguous)"
    monkeypatch.setitem(coco._COMPLETE, 2017, {"train": 101, "val": 101})
    assert (opened(fake_coco).name, opened(fake_coco).note) == ("COCO-20i", "")
    assert opened(fake_coco, fold_rule="contiguous").name == "COCO-20i (contiguous)"
    assert "first_polygon_map" in opened(fake_coco, masks="first_polygon_map").note
    assert "crowds ignored" in opened(fake_coco, crowds="ignore").note
    assert "other ways" in opened(fake_coco, other_ways="background").note


@pytest.mark.parametrize(
    "options",
    [{"year": 2015}, {"fold_rule": "x"}, {"masks": "x"}, {"crowds": "x"}, {"other_ways": "x"},
     {"masks": "first_polygon_map", "crowds": "ignore"}],
)  # fmt: skip
def test_other_values_of_options_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(FssegError, match=next(iter(options))):
        Coco(**options)
