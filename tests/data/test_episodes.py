from collections.abc import Callable
from functools import cache

import numpy as np
import PIL.Image
import pytest
import torch

from fsseg.data.episodes import Episodes
from fsseg.data.sampler import Key
from fsseg.data.shapes import Shapes
from fsseg.data.transforms import Augmentation
from fsseg.encoders import ConvNet
from fsseg.episode import Batch, Episode, relabel
from fsseg.methods import PANet

Oracle = Callable[[str], dict[str, np.ndarray]]


@pytest.mark.parametrize("name", ["voc_1way1shot", "voc_2way2shot", "coco_2way1shot"])
def test_masks_equal_panets_code(name: str, oracle: Oracle) -> None:
    stored = oracle(f"panet_episode_{name}")
    classes, way, shot = stored["class_ids"].tolist(), int(stored["n_ways"]), int(stored["n_shots"])
    support, query = [], []
    labels = iter(stored["labels"])  # way by way: shots, then queries
    for class_id, queries in zip(classes, stored["cnt_query"].tolist(), strict=True):
        for k in range(shot + queries):
            label = next(labels)
            if stored["coco"]:  # an image of COCO brings only the masks of the category that it was drawn for
                label = np.where(label == class_id, label, 0)
            (support if k < shot else query).append(relabel(label, classes))
    mask = torch.from_numpy(np.stack(support)).unflatten(0, (way, shot)).unsqueeze(0)
    regions = PANet(ConvNet((8,), (1,))).regions(mask)
    assert np.array_equal(regions.foreground[0], stored["support_fg_mask"])
    assert np.array_equal(regions.background[0], stored["support_bg_mask"])
    assert np.array_equal(query, stored["query_labels"])


def test_relabel_keeps_ignored_pixels_and_drops_other_classes() -> None:
    mask = np.array([[0, 3, 7, 9, 255]], dtype=np.uint8)
    assert relabel(mask, (9, 3)).tolist() == [[0, 2, 0, 1, 255]]
    assert mask.tolist() == [[0, 3, 7, 9, 255]]


@cache
def shapes() -> Shapes:
    dataset = Shapes(size=32, train=40, val=40)
    dataset.open(None)
    return dataset


EPISODE = Episode(classes=(4, 2), support=((3, 23), (1, 21)), query=(43, 41, 61), query_way=(0, 1, 1))


def load(augment: tuple[str, ...] = (), run: int = 0, number: int = 5, padding: bool = False) -> Batch:
    return Episodes(shapes(), lambda _: EPISODE, 20, Augmentation(augment), seed=0)[Key(run, number, padding)]


def test_an_episode_holds_its_images_resized_and_relabelled() -> None:
    batch = load()
    assert batch.support_image.shape == (2, 2, 3, 20, 20)
    assert batch.query_mask.shape == (3, 20, 20)
    assert batch.support_id.tolist() == [[3, 23], [1, 21]]
    assert (batch.classes.tolist(), batch.query_id.tolist()) == ([4, 2], [43, 41, 61])
    pairs = [
        (batch.support_image[1, 0], batch.support_mask[1, 0], 1),
        (batch.support_image[0, 1], batch.support_mask[0, 1], 23),
        (batch.query_image[2], batch.query_mask[2], 61),
    ]
    for image, mask, number in pairs:
        small = PIL.Image.fromarray(shapes().image(number)).resize((20, 20), PIL.Image.Resampling.BILINEAR)
        assert np.array_equal(image.permute(1, 2, 0), np.asarray(small))
        ids = np.asarray(PIL.Image.fromarray(shapes().mask(number)).resize((20, 20), PIL.Image.Resampling.NEAREST))
        assert np.array_equal(mask, (ids == 4) * 1 + (ids == 2) * 2)


def test_images_of_an_episode_are_augmented_independently_and_repeatably() -> None:
    plain = load().support_image.flatten(0, 1)
    patterns = set()
    for number in range(12):
        flipped = load(("HorizontalFlip",), number=number).support_image.flatten(0, 1)
        assert torch.equal(flipped, load(("HorizontalFlip",), number=number).support_image.flatten(0, 1))
        patterns.add(tuple(torch.equal(a, b) for a, b in zip(plain, flipped, strict=True)))
    assert len(patterns) > 4


def test_padding_is_marked() -> None:
    assert load(run=2).number.item() == 5
    assert load(run=2).run.item() == 2
    assert load(run=2, padding=True).number.item() == -1
