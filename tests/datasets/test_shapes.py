import numpy as np
import pytest

from fsseg.datasets.shapes import SHAPES, TEXTURES, Shapes
from fsseg.errors import FssegError


def opened(**arguments: int) -> Shapes:
    dataset = Shapes(**{"train": 100, "val": 60} | arguments)
    dataset.open(None)
    return dataset


@pytest.fixture(scope="module")
def shapes() -> Shapes:
    return opened()


def numbers(dataset: Shapes) -> list[int]:
    return [*dataset.numbers("train"), *dataset.numbers("val")]


def test_images_and_masks_have_the_contracts_types(shapes: Shapes) -> None:
    assert shapes.image(3).shape == (96, 96, 3)
    assert shapes.mask(3).shape == (96, 96)
    assert shapes.image(3).dtype == shapes.mask(3).dtype == np.uint8


@pytest.mark.slow
def test_an_image_depends_on_size_seed_and_number_only(shapes: Shapes) -> None:
    other = opened(train=40, val=40)
    for i in (0, 17, 39, 40, 79):
        assert np.array_equal(shapes.image(i), other.image(i))
        assert np.array_equal(shapes.mask(i), other.mask(i))
    assert not np.array_equal(shapes.image(0), opened(train=40, val=40, seed=1).image(0))


def test_a_caller_cannot_change_the_data(shapes: Shapes) -> None:
    image, mask = shapes.image(5), shapes.mask(5)
    shapes.image(5)[:] = 0
    shapes.mask(5)[:] = 0
    assert np.array_equal(shapes.image(5), image)
    assert np.array_equal(shapes.mask(5), mask)


def test_first_masks_are_pinned(shapes: Shapes) -> None:
    pinned = [{1: 979, 17: 1045}, {2: 1129, 9: 965, 17: 1004}, {3: 925, 4: 869, 19: 971}]
    for i, counts in enumerate(pinned):
        found = {c: int(n) for c, n in enumerate(shapes.index.pixels[i]) if c and n}
        assert found == pytest.approx(counts, abs=2)  # another libm may round a pixel of the border differently


def test_index_equals_a_scan_of_the_masks(shapes: Shapes) -> None:
    for i in numbers(shapes):
        mask = shapes.mask(i)
        assert [int((mask == c).sum()) for c in range(21)] == shapes.index.pixels[i].tolist()
        assert shapes.index.pixels[i].sum() == mask.size  # nothing but class ids and background, no void


def test_splits_are_disjoint_and_named(shapes: Shapes) -> None:
    assert (shapes.numbers("train"), shapes.numbers("val")) == (range(100), range(100, 160))
    assert shapes.image_name(17) == "shapes-00017"
    assert len({shapes.image_name(i) for i in numbers(shapes)}) == 160


def test_folds_partition_the_classes(shapes: Shapes) -> None:
    folds = [shapes.novel(fold) for fold in range(shapes.folds)]
    assert sorted(c for fold in folds for c in fold) == list(shapes.class_ids) == list(range(1, 21))
    assert all({*shapes.base(f), *shapes.novel(f)} == set(shapes.class_ids) for f in range(4))


def test_a_novel_class_combines_a_texture_and_a_shape_that_base_classes_show(shapes: Shapes) -> None:
    assert len(set(shapes.class_names)) == 20
    for fold in range(shapes.folds):
        novel = [shapes.class_name(c).split() for c in shapes.novel(fold)]
        base = [shapes.class_name(c).split() for c in shapes.base(fold)]
        assert {texture for texture, _ in base} == {texture for texture, _ in novel} == set(TEXTURES)
        assert {shape for _, shape in base} == {shape for _, shape in novel} == set(SHAPES)


def test_every_class_has_two_images_in_the_smallest_splits() -> None:
    small = opened(size=32, train=40, val=40)
    for split in ("train", "val"):
        assert all(len(small.index.images(c, small.numbers(split))) >= 2 for c in small.class_ids)


def test_images_show_several_visible_objects(shapes: Shapes) -> None:
    share = shapes.index.pixels[:, 1:] / 96**2
    objects = (share > 0).sum(1)
    assert objects.min() >= 2
    assert objects.max() <= 4
    assert np.mean(objects >= 3) > 0.5
    assert 0.10 < share[share > 0].mean() < 0.12  # the IoU of 'everything is foreground'
    assert share[share > 0].min() > 0.03  # nothing vanishes behind another object
    by_class = share.sum(0) / (share > 0).sum(0)
    assert by_class.max() - by_class.min() < 0.02  # size doesn't tell the class


def test_colour_does_not_tell_the_class(shapes: Shapes) -> None:
    means: dict[int, list[np.ndarray]] = {c: [] for c in shapes.class_ids}
    for i in numbers(shapes):
        image, mask = shapes.image(i), shapes.mask(i)
        for c in np.unique(mask[mask > 0]):
            means[int(c)].append(image[mask == c].mean(0))
    everything = np.concatenate([np.stack(m) for m in means.values()])
    for found in means.values():
        error = everything.std(0) / np.sqrt(len(found))
        assert (np.abs(np.mean(found, axis=0) - everything.mean(0)) < 4 * error).all()


def test_objects_differ_from_what_surrounds_them(shapes: Shapes) -> None:
    for i in range(20):
        image, mask = shapes.image(i).astype(float), shapes.mask(i)
        ground = image[mask == 0].mean(0)
        assert all(np.abs(image[mask == c] - ground).mean() > 15 for c in np.unique(mask[mask > 0]))


@pytest.mark.parametrize("texture", TEXTURES)
def test_textures_show_both_colours_unless_plain(texture: str) -> None:
    y, x = np.mgrid[:200, :200].astype(np.float32) / 4
    share = (TEXTURES[texture](x, y) > 0).mean()
    assert share == 0 if texture == "plain" else 0.3 < share < 0.6


@pytest.mark.parametrize("shape", SHAPES)
def test_shapes_have_the_area_of_the_unit_disc(shape: str) -> None:
    y, x = np.mgrid[-2:2:400j, -2:2:400j].astype(np.float32)
    inside = SHAPES[shape](x, y) < 0
    assert inside.mean() * 16 == pytest.approx(np.pi, rel=0.06)
    assert np.abs(np.stack([x, y])[:, inside]).max() < 1.6


@pytest.mark.parametrize("arguments", [{"size": 31}, {"train": 39}, {"val": 0}, {"seed": -1}])
def test_bad_arguments_are_refused_in_one_line(arguments: dict[str, int]) -> None:
    with pytest.raises(FssegError, match=str(next(iter(arguments.values())))) as error:
        Shapes(**arguments)
    assert "\n" not in str(error.value)
