from collections.abc import Callable, Sequence
from functools import cache

import numpy as np
import PIL.Image
import pytest
import torch

from fsseg.datasets.shapes import Shapes
from fsseg.encoders import ConvNet
from fsseg.episode import Batch, Episode, Image, Mask, relabel
from fsseg.episodes.loading import Episodes
from fsseg.episodes.resizing import View
from fsseg.episodes.sampler import Key
from fsseg.episodes.transforms import Augmentation
from fsseg.methods import PANet

Oracle = Callable[[str], dict[str, np.ndarray]]


VIEW = View(None, support_void="background")  # PANet's


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
            role = "support" if k < shot else "query"
            shown = VIEW.void(relabel(label, classes), role)
            (support if k < shot else query).append(shown)
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
    return Episodes(shapes(), lambda _: EPISODE, View(20), Augmentation(augment), seed=0)[Key(run, number, padding)]


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


class Overlapping(Shapes):
    """Shapes whose masks only say for which way they were asked."""

    def episode_mask(self, number: int, classes: Sequence[int], own: int | None = None) -> Mask:
        assert tuple(classes) == EPISODE.classes
        assert own is not None
        return np.full((32, 32), own + 1, dtype=np.uint8)


def test_each_image_is_labelled_for_the_way_that_it_was_drawn_for() -> None:
    dataset = Overlapping(size=32, train=40, val=40)
    dataset._drawn = shapes()._drawn
    twice = EPISODE._replace(support=((3, 23), (3, 21)), query=(3, 23, 43))  # images stand in several roles
    batch = Episodes(dataset, lambda _: twice, View(20), Augmentation([]), seed=0)[Key(0, 0)]
    assert batch.support_mask.amin((-2, -1)).tolist() == batch.support_mask.amax((-2, -1)).tolist() == [[1, 1], [2, 2]]
    assert batch.query_mask.amin((-2, -1)).tolist() == batch.query_mask.amax((-2, -1)).tolist() == [1, 2, 2]


class Photos(Shapes):
    """Shapes of different sizes, 20 to 24 x 26 to 32."""

    def image(self, number: int) -> Image:
        return super().image(number)[: 20 + number % 5, : 32 - number % 7].copy()

    def mask(self, number: int) -> Mask:
        return super().mask(number)[: 20 + number % 5, : 32 - number % 7].copy()


def photos(episode: Episode, view: View) -> tuple[Photos, Batch]:
    dataset = Photos(size=32, train=40, val=40)
    dataset._drawn = shapes()._drawn
    return dataset, Episodes(dataset, lambda _: episode, view, Augmentation([]), 0)[Key(0, 0)]


ONE = Episode(classes=(4, 2), support=((3,), (21,)), query=(43,), query_way=(0,))


def test_the_truth_may_keep_the_photos_own_size() -> None:
    dataset, batch = photos(ONE, View(20, truth="original"))
    _, resized = photos(ONE, View(20))
    assert np.array_equal(batch.query_mask[0], relabel(dataset.mask(43), ONE.classes))
    assert batch.query_mask.shape == (1, 23, 31)
    assert resized.query_mask.shape == (1, 20, 20)
    for name in set(Batch._fields) - {"query_mask", "query_size"}:
        assert torch.equal(getattr(batch, name), getattr(resized, name))


def test_without_a_size_photos_keep_their_own() -> None:
    dataset, batch = photos(ONE._replace(classes=(4,), support=((3,),)), View(None))
    for image, mask, number in [
        (batch.support_image[0, 0], batch.support_mask[0, 0], 3),
        (batch.query_image[0], batch.query_mask[0], 43),
    ]:
        assert np.array_equal(image.permute(1, 2, 0), dataset.image(number))
        assert np.array_equal(mask, relabel(dataset.mask(number), (4,)))


def test_supports_of_different_sizes_are_padded_with_the_mean_colour_and_ignored_pixels() -> None:
    dataset, batch = photos(ONE, View(None))  # 23 x 29 and 21 x 32
    assert batch.support_image.shape == (2, 1, 3, 23, 32)
    for n, number in enumerate((3, 21)):
        height, width = dataset.mask(number).shape
        image, mask = batch.support_image[n, 0].permute(1, 2, 0), batch.support_mask[n, 0]
        assert np.array_equal(image[:height, :width], dataset.image(number))
        assert np.array_equal(mask[:height, :width], relabel(dataset.mask(number), ONE.classes))
        padding = torch.ones(23, 32, dtype=torch.bool)
        padding[:height, :width] = False
        assert (image[padding] == torch.tensor([124, 116, 104])).all()
        assert (mask[padding] == 255).all()


def test_a_crop_may_lose_the_object() -> None:
    crop = {"class_path": "fsseg.episodes.legacy_crop.OldRandomResizedCrop", "init_args": {"scale": [0.02, 0.02]}}
    episodes = Episodes(shapes(), lambda _: EPISODE, View(20), Augmentation([crop]), seed=0)
    batches = [episodes[Key(0, number)] for number in range(8)]
    empty = [(batch.support_mask == 0).flatten(2).all(2) for batch in batches]
    assert 0 < int(torch.stack(empty).sum()) < 8 * 4
    assert all(batch.query_mask.shape == (3, 20, 20) for batch in batches)
