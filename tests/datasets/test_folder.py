import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest

from fsseg.datasets import Folder
from fsseg.datasets.custom import is_val, made_folds
from fsseg.episodes import EpisodeData, EpisodeOptions, ImageOptions, LoadingOptions
from fsseg.errors import FssegError
from fsseg.files.masks import read_region
from fsseg.protocols.protocol import Protocol


def opened(root: Path, **arguments: Any) -> Folder:
    dataset = Folder(**arguments)
    dataset.open(root)
    return dataset


def refused(root: Path | None, *words: str) -> None:
    with pytest.raises(FssegError) as error:
        opened(root)  # type: ignore[arg-type]
    message = str(error.value)
    assert "\n" not in message
    for word in words:
        assert word in message


def number(dataset: Folder, name: str) -> int:
    every = [*dataset.numbers("train"), *dataset.numbers("val")]
    return next(i for i in every if dataset.image_name(i) == name)


def test_classes_and_folds_are_those_of_the_yaml(own_maps: Path) -> None:
    dataset = opened(own_maps)
    assert dataset.class_names == ("cat", "dog", "fish", "newt", "bird")
    assert (dataset.folds, dataset.novel(0), dataset.novel(1)) == (2, (1, 2, 3), (4, 5))
    assert dataset.name == "own_maps"
    (own_maps / "classes.yaml").write_text(
        "classes: {3: fish, 1: cat, 2: dog, 9: newt, 5: bird}\nfolds: [[fish, cat], [dog, newt, bird]]"
    )
    for path in (own_maps / "masks").iterdir():
        mask = np.asarray(PIL.Image.open(path)).copy()
        mask[mask == 4] = 9
        PIL.Image.fromarray(mask).save(path)
    other = opened(own_maps)
    assert other.class_names == ("cat", "dog", "fish", "bird", "newt"), "in the order of their ids"
    assert (other.novel(0), other.novel(1)) == ((1, 3), (2, 4, 5))
    for i in (0, 7):
        named = [{dataset.class_name(int(c)) for c in np.unique(d.mask(i)) if 0 < c < 255} for d in (dataset,)]
        again = {other.class_name(int(c)) for c in np.unique(other.mask(i)) if 0 < c < 255}
        assert len(again) == len(named[0]) == 2


def test_folders_of_classes_name_them_and_may_overlap(own_classes: Path) -> None:
    dataset = opened(own_classes)
    assert dataset.class_names == ("bird", "cat", "dog", "fish", "newt")
    assert dataset.folds == 4
    i = number(dataset, "photo07")
    shown = {c: np.asarray(PIL.Image.open(own_classes / "masks" / dataset.class_name(c) / "photo07.png")) > 0
             for c in np.flatnonzero(dataset.index.pixels[i][1:]) + 1}  # fmt: skip
    (first, second) = shown
    assert (shown[first] & shown[second]).any()
    for own, (class_id, region) in enumerate(shown.items()):
        assert dataset.index.pixels[i, class_id] == region.sum()
        assert np.array_equal(dataset.episode_mask(i, tuple(shown), own) == own + 1, region)
    assert set(np.unique(dataset.mask(i)).tolist()) == {0, first, second}


def test_val_images_are_chosen_by_name_or_by_lists(own_maps: Path) -> None:
    dataset = opened(own_maps)
    val = {dataset.image_name(i) for i in dataset.numbers("val")}
    assert val == {f"photo{i:02d}" for i in range(30) if is_val(f"photo{i:02d}", 0.3)}
    assert 4 < len(val) < 15
    gone = sorted({f"photo{i:02d}" for i in range(30)} - val)[0]
    (own_maps / "masks" / f"{gone}.png").unlink()
    assert {opened(own_maps).image_name(i) for i in opened(own_maps).numbers("val")} == val, (
        "others stay where they are"
    )
    assert opened(own_maps).note == f"1 image without a mask is left out: {gone}"
    (own_maps / "train.txt").write_text("photo01\nphoto02.jpg\n\n")
    (own_maps / "val.txt").write_text("photo03\n")
    listed = opened(own_maps)
    assert [listed.image_name(i) for i in range(3)] == ["photo01", "photo02", "photo03"]
    assert (listed.numbers("train"), listed.numbers("val")) == (range(2), range(2, 3))


def test_the_index_is_kept_until_a_mask_changes(own_maps: Path, no_cache: Path) -> None:
    assert opened(own_maps).index.fresh
    assert not opened(own_maps).index.fresh
    mask = own_maps / "masks" / "photo05.png"
    pixels = np.asarray(PIL.Image.open(mask)).copy()
    pixels[:] = 2
    PIL.Image.fromarray(pixels).save(mask)
    again = opened(own_maps)
    assert again.index.fresh
    assert again.index.pixels[number(again, "photo05"), 2] == pixels.size
    text = (own_maps / "classes.yaml").read_text()
    (own_maps / "classes.yaml").write_text(text.replace("bird", "swan"))
    assert opened(own_maps).index.fresh


def mark(root: Path, name: str, content: object) -> None:
    (root / "masks" / f"{name}.png").unlink(missing_ok=True)
    (root / "masks" / f"{name}.json").write_text(content if isinstance(content, str) else json.dumps(content))


def test_scribbles_boxes_and_points_are_weak_and_their_images_are_supports_only(own_maps: Path) -> None:
    (own_maps / "masks" / "photo01.png").rename(own_maps / "masks" / "photo01.scribble.png")
    mark(own_maps, "photo02", {"boxes": [{"class": "fish", "box": [3, 4, 15, 20]}]})
    mark(
        own_maps, "photo03", {"points": [{"class": "newt", "point": [8, 8]}, {"class": "background", "point": [25, 2]}]}
    )
    polygon = {"label": "cat", "shape_type": "polygon", "points": [[3, 4], [14, 4], [14, 19], [3, 19]]}
    mark(own_maps, "photo05", {"shapes": [polygon]})
    dataset = opened(own_maps)
    weak = {dataset.image_name(i) for i in dataset.weak}
    assert weak == {"photo01", "photo02", "photo03"}
    box = dataset.mask(number(dataset, "photo02"))
    assert (box[4:20, 3:15] == 3).all()
    assert (box == 3).sum() == 16 * 12
    assert set(np.unique(box).tolist()) == {0, 3}
    points = dataset.mask(number(dataset, "photo03"))
    assert points[8, 8] == 4
    assert points[2, 25] == 0
    assert (points == 255).mean() > 0.9
    whole = dataset.mask(number(dataset, "photo05"))
    assert (whole[4:20, 3:15] == 1).all()
    assert (whole == 1).sum() == 16 * 12
    data = EpisodeData(
        Folder(),
        root=str(own_maps),
        images=ImageOptions(size=24),
        episodes=EpisodeOptions(train=150, missing_classes="skip"),
        loading=LoadingOptions(workers=0),
    )
    data.setup("fit")
    names = data.dataset.image_name
    batches = list(data.train_dataloader())
    queries = {names(int(i)) for batch in batches for i in batch.query_id.flatten()}
    supports = {names(int(i)): batch.support_mask for batch in batches for i in batch.support_id.flatten()}
    trained = {names(i) for i in data.dataset.numbers("train")}
    assert not queries & weak
    assert weak & trained & set(supports), "a weak image may be a support"
    for name in weak & set(supports) & {"photo01", "photo03"}:
        assert (supports[name] == 255).any(), "what nobody marked is no background, whatever void is"


@pytest.mark.parametrize("draw", ["panet", "pmms", "pfenet", "hsnet", "oslsm"])
def test_a_codes_draw_has_no_place_for_images_that_are_supports_only(own_maps: Path, draw: str) -> None:
    for path in list((own_maps / "masks").glob("*.png"))[:20]:
        path.rename(path.with_suffix(".scribble.png"))
    data = EpisodeData(Folder(), root=str(own_maps), images=ImageOptions(size=32),
                       episodes=EpisodeOptions(missing_classes="skip"), loading=LoadingOptions(workers=0),
                       protocol=Protocol(draw=draw, runs=1, episodes=4))  # fmt: skip
    data.setup("test")
    with pytest.raises(FssegError, match=rf"`protocol.draw` {draw} .* have weak masks, .* Give `protocol.draw` seeded"):
        data.test_dataloader()


def test_images_lie_as_they_were_held(own_maps: Path) -> None:
    photo = PIL.Image.new("RGB", (40, 20), (200, 10, 10))
    exif = photo.getexif()
    exif[0x0112] = 6  # turned by 90 degrees
    photo.save(own_maps / "images" / "held.jpg", exif=exif)
    PIL.Image.fromarray(np.ones((40, 20), dtype=np.uint8)).save(own_maps / "masks" / "held.png")
    dataset = opened(own_maps)
    i = number(dataset, "held")
    assert dataset.image(i).shape == (40, 20, 3)
    PIL.Image.fromarray(np.ones((20, 40), dtype=np.uint8)).save(own_maps / "masks" / "held.png")
    refused(own_maps, "held.png is 40x20, its image 20x40", "rotated by its EXIF tag: paint on the upright image")


def test_boxes_come_from_instance_maps_where_there_are_some(own_maps: Path) -> None:
    dataset = opened(own_maps)
    i = number(dataset, "photo07")
    class_id = int(np.flatnonzero(dataset.index.pixels[i][1:])[0]) + 1
    assert len(dataset.boxes(i, class_id)) == 1
    instances = np.zeros(dataset.mask(i).shape, dtype=np.uint8)
    rows, columns = np.nonzero(dataset.mask(i) == class_id)
    instances[rows, columns] = 1 + (rows > rows.mean())
    (own_maps / "instances").mkdir()
    PIL.Image.fromarray(instances).save(own_maps / "instances" / "photo07.png")
    dataset = opened(own_maps)
    assert len(dataset.boxes(i, class_id)) == 2
    PIL.Image.fromarray(instances[:3]).save(own_maps / "instances" / "photo07.png")
    with pytest.raises(FssegError, match="differ in size"):
        dataset.boxes(i, class_id)


def test_one_fold_is_for_testing_only(own_maps: Path) -> None:
    data = EpisodeData(
        Folder(folds=1),
        root=str(own_maps),
        images=ImageOptions(size=24),
        loading=LoadingOptions(workers=0),
        protocol=Protocol(runs=1, episodes=3),
    )
    data.setup("test")
    assert data.novel == (1, 2, 3, 4, 5)
    assert len(list(data.test_dataloader())) == 3
    with pytest.raises(FssegError, match="fold 0 of own_maps has no base class to train on"):
        data.setup("fit")
    with pytest.raises(FssegError, match=r"`data.fold` 2: own_maps has folds 0 to 1"):
        EpisodeData(Folder(), root=str(own_maps), fold=2)


# Bad input


def test_no_folder(tmp_path: Path, own_maps: Path) -> None:
    refused(None, "needs `data.root` DIR")
    refused(tmp_path / "nowhere", "nowhere has no folder images")
    shutil.rmtree(own_maps / "masks")
    refused(own_maps, "has no folder masks")
    (own_maps / "masks").mkdir()
    refused(own_maps, "has no mask: NAME.png, NAME.json, or a folder per class is needed")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (None, ["classes.yaml is needed", "classes: [cat, dog]"]),
        ("classes: [", ["classes.yaml is no YAML: line 1"]),
        ("3", ["must hold `classes` and optionally `folds`, nothing else"]),
        ("classes: [cat]\nclases: 3", ["nothing else"]),
        ("classes: {0: cat}", ["integers from 1 to 254, not 0"]),
        ("classes: {255: cat}", ["not 255"]),
        ("classes: {one: cat}", ["not 'one'"]),
        ("classes: [cat, cat]", ["names a class twice"]),
        ("classes: [cat, dog, fish]", ["holds the ids [4", "which classes.yaml does not list"]),
        ("classes: [cat, dog, fish, newt, bird]\nfolds: 6", ["6 folds of 5 classes; 1 to 5 are possible"]),
        ("classes: [cat, dog, fish, newt, bird]\nfolds: two", ["folds is 'two'; a number, or lists such as"]),
        ("classes: [cat, dog, fish, newt, bird]\nfolds: [[cat, cow]]", ["cow is no class"]),
        ("classes: [cat, dog, fish, newt, bird]\nfolds: [[cat, dog]]", ["fish is in no fold"]),
        (
            "classes: [cat, dog, fish, newt, bird]\nfolds: [[cat, dog, fish], [newt, bird, cat]]",
            ["cat is in two folds"],
        ),
        ("classes: [cat, dog, fish, newt, bird]\nfolds: [[cat, dog, fish, newt, bird], []]", ["fold 1 is empty"]),
    ],
)
def test_a_broken_classes_yaml(own_maps: Path, text: str | None, words: list[str]) -> None:
    path = own_maps / "classes.yaml"
    path.unlink()
    if text is not None:
        path.write_text(text)
    refused(own_maps, *words)


def test_masks_and_images_that_do_not_fit(own_maps: Path) -> None:
    masks, images = own_maps / "masks", own_maps / "images"
    PIL.Image.fromarray(np.ones((5, 6), dtype=np.uint8)).save(masks / "photo01.png")
    refused(own_maps, "photo01.png is 6x5, its image 29x27")
    (masks / "photo01.png").rename(masks / "stray.png")
    refused(own_maps, "stray.png has no image stray")
    (masks / "stray.png").unlink()
    shutil.copy(images / "photo02.png", images / "photo02.jpg")
    refused(own_maps, "have the same name. Rename one")
    (images / "photo02.jpg").unlink()
    shutil.copy(masks / "photo02.png", masks / "photo02.scribble.png")
    refused(own_maps, "are masks of one image. Keep one")
    (masks / "photo02.scribble.png").unlink()
    (masks / "cat").mkdir()
    refused(own_maps, "has both photo00.png and the folder cat. Use one kind")
    (masks / "cat").rmdir()
    PIL.Image.new("RGB", (30, 28)).save(masks / "photo06.png")
    refused(own_maps, "photo06.png is a RGB image; class ids need an indexed or 8-bit grey PNG")
    (masks / "photo06.png").write_bytes(b"\x89PNG text")
    refused(own_maps, "photo06.png cannot be decoded")


def test_photos_of_16_bits_are_scaled_and_noted(own_maps: Path) -> None:
    values = np.full((28, 30), 1000, dtype=np.uint16)
    values[:14], values[14:20] = 3000, 2000
    PIL.Image.fromarray(values).save(own_maps / "images" / "photo06.png")
    dataset = opened(own_maps)
    assert "1 grey image of more than 8 bits: each is scaled by its own range" in dataset.note
    found = dataset.image(number(dataset, "photo06"))
    assert [found[row, 5].tolist() for row in (0, 15, 25)] == [[255] * 3, [128] * 3, [0] * 3]
    dataset = opened(own_maps, bits=16)
    assert "scaled by 16 bits" in dataset.note
    assert dataset.image(number(dataset, "photo06"))[0, 0, 0] == round(3000 / 257)


@pytest.mark.parametrize(
    ("train", "val", "words"),
    [
        ("photo01", "photo99", ["val.txt lists photo99, which has no image with a mask"]),
        ("photo01", "", ["val.txt is empty, or lists an image twice"]),
        ("photo99", None, ["train.txt lists photo99, which has no image with a mask"]),
        ("photo01\nphoto01", "photo02", ["train.txt is empty, or lists an image twice"]),
        ("photo01", "photo01\nphoto02", ["photo01 is listed in train.txt and in val.txt"]),
    ],
)
def test_broken_lists(own_maps: Path, train: str, val: str | None, words: list[str]) -> None:
    (own_maps / "train.txt").write_text(train)
    if val is not None:
        (own_maps / "val.txt").write_text(val)
    refused(own_maps, *words)


def test_too_few_images_for_two_splits(own_maps: Path) -> None:
    for path in sorted((own_maps / "masks").iterdir())[1:]:
        path.unlink()
    refused(own_maps, "has 1 images with masks, too few for a train and a val split")


def test_folders_that_are_not_those_of_the_yaml(own_classes: Path) -> None:
    (own_classes / "classes.yaml").write_text("classes: [cat, dog]")
    refused(own_classes, "lists cat, dog; the folders of masks are bird, cat, dog, fish, newt")
    (own_classes / "classes.yaml").write_text("classes: [newt, fish, dog, cat, bird]\nfolds: 2")
    assert opened(own_classes).class_names == ("newt", "fish", "dog", "cat", "bird")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{", ["is no complete JSON file"]),
        ("[1]", ["has neither shapes (labelme) nor boxes or points"]),
        ({"boxes": []}, ["marks nothing"]),
        ({"boxes": [{"class": "cat"}]}, ['a box needs "class" and "box"']),
        ({"boxes": [{"class": "cat", "box": [1, 2, 3]}]}, ['a box needs "class" and "box"']),
        ({"boxes": [{"class": "cow", "box": [1, 2, 3, 4]}]}, ["'cow' is no class. Use one of cat, dog"]),
        ({"points": [{"class": "cat", "point": [1]}]}, ["a point of cat has no list of points"]),
        ({"points": [{"class": "cat", "point": [1, "x"]}]}, ["has no list of points"]),
        ('{"points": [{"class": "cat", "point": [1, NaN]}]}', ["of finite numbers"]),
        ({"shapes": [{"label": "cat", "shape_type": "cube", "points": [[1, 1]]}]}, ["shape 'cube' is none of polygon"]),
        (
            {"shapes": [{"label": "cat", "shape_type": "polygon", "points": [[1, 1], [2, 2]]}]},
            ["needs 3 points or more"],
        ),
        ({"shapes": [{"label": None, "points": [[1, 1]]}]}, ["None is no class"]),
        ({"shapes": ["cat"]}, ["a box needs"]),
    ],
)
def test_broken_marks(own_maps: Path, content: object, words: list[str]) -> None:
    mark(own_maps, "photo02", content)
    refused(own_maps, "photo02.json", *words)


def test_a_share_must_leave_both_splits_something() -> None:
    for share in (0.0, 1.1, -1.0):
        with pytest.raises(FssegError, match="val_share"):
            Folder(val_share=share)


def test_made_folds_are_blocks_of_nearly_equal_size() -> None:
    names = [f"class{i}" for i in range(7)]
    assert made_folds(names, 3, "x") == ((1, 2, 3), (4, 5), (6, 7))
    assert [len(fold) for fold in made_folds(names, None, "x")] == [2, 2, 2, 1]
    assert made_folds(names[:2], None, "x") == ((1,), (2,))


# Testing only


@pytest.mark.parametrize("how", ["share", "val.txt", "train.txt"])
def test_all_images_may_be_for_testing(own_maps: Path, how: str) -> None:
    names = [f"photo{i:02d}" for i in range(30)]
    if how == "val.txt":
        (own_maps / how).write_text("\n".join(names))
    if how == "train.txt":
        (own_maps / how).write_text("")
    dataset = Folder(folds=1, val_share=1.0 if how == "share" else 0.3)
    data = EpisodeData(
        dataset,
        root=str(own_maps),
        images=ImageOptions(size=24),
        loading=LoadingOptions(workers=0),
        protocol=Protocol(runs=1, episodes=3),
    )
    data.setup("test")
    assert (len(dataset.numbers("train")), len(dataset.numbers("val"))) == (0, 30)
    assert len(list(data.test_dataloader())) == 3


def test_one_list_leaves_the_rest_to_the_other_split(own_maps: Path) -> None:
    (own_maps / "val.txt").write_text("\ufeffphoto03.png\nphoto07\n", encoding="utf-8")
    dataset = opened(own_maps)
    assert [dataset.image_name(i) for i in dataset.numbers("val")] == ["photo03", "photo07"]
    assert len(dataset.numbers("train")) == 28


def test_names_may_have_dots(own_maps: Path) -> None:
    for folder in ("images", "masks"):
        (path,) = (own_maps / folder).glob("photo03.*")
        path.rename(path.with_name(f"photo.03.v2{path.suffix}"))
    (own_maps / "val.txt").write_text("photo.03.v2\nphoto04.png\n")
    dataset = opened(own_maps)
    assert [dataset.image_name(i) for i in dataset.numbers("val")] == ["photo.03.v2", "photo04"]


def test_training_goes_without_validation_where_val_images_are_few(own_maps: Path) -> None:
    (own_maps / "val.txt").write_text("photo03\n")
    data = EpisodeData(
        Folder(),
        root=str(own_maps),
        images=ImageOptions(size=24),
        episodes=EpisodeOptions(val=4),
        loading=LoadingOptions(workers=0),
    )
    data.setup("fit")
    assert data.validation.missing is not None
    assert list(data.validation.left_out) == list(data.base)
    assert data.val_dataloader() == []
    assert len(next(iter(data.train_dataloader())).classes) == 1


# Weak masks in folders of classes


def test_scribbles_and_marks_go_into_folders_of_classes_too(own_classes: Path) -> None:
    dataset = opened(own_classes)
    name = dataset.image_name(0)
    first, second = dataset.class_names[:2]
    height, width = dataset.image(0).shape[:2]
    for path in (own_classes / "masks").rglob(f"{name}.png"):
        path.unlink()
    scribble = np.full((height, width), 255, dtype=np.uint8)
    scribble[3], scribble[9] = 7, 0
    PIL.Image.fromarray(scribble).save(own_classes / "masks" / first / f"{name}.scribble.png")
    box = {"boxes": [{"class": second, "box": [2, 2, 8, 6]}]}
    (own_classes / "masks" / second / f"{name}.json").write_text(json.dumps(box))
    dataset = opened(own_classes)
    place = number(dataset, name)
    assert dataset.weak == {place}
    assert "images with weak masks, used as supports only: 1" in dataset.note
    assert dataset.index.pixels[place, 1] == width
    assert dataset.index.pixels[place, 2] == 24
    scribbled = dataset.episode_mask(place, (1, 2), own=0)
    assert (scribbled[3] == 1).all()
    assert (scribbled[4:6, 2:8] == 2).all(), "the other way's box lies where the scribble says nothing"
    assert (scribbled[9] == 0).all()
    assert (scribbled[12:] == 255).all()
    boxed = dataset.episode_mask(place, (1, 2), own=1)
    assert (boxed[2:6, 2:8] == 2).all()
    assert (boxed[12:] == 0).all()
    (own_classes / "masks" / first / f"{name}.json").write_text(json.dumps(box))
    refused(own_classes, f"{name}.json and {name}.scribble.png are masks of one image. Keep one")


# What was seen too late, or not at all


def test_white_masks_are_said_to_show_nothing(own_maps: Path) -> None:
    for path in (own_maps / "masks").glob("*.png"):
        mask = np.asarray(PIL.Image.open(path))
        PIL.Image.fromarray(np.where(mask > 0, np.uint8(255), np.uint8(0))).save(path)
    refused(own_maps, "no mask of", "shows a class", "Put white masks of one class into its folder: masks/")


def test_a_class_that_no_mask_shows_is_noted(own_maps: Path) -> None:
    (own_maps / "classes.yaml").write_text("classes: [cat, dog, fish, newt, bird, unicorn]")
    assert opened(own_maps).note == "no mask shows unicorn"


@pytest.mark.parametrize("names", ["['', cat]", '["two\\nlines", cat]', "[yes, cat]", "[null, cat]", "[[a], cat]",
                                   "[background, cat]", '["\\e[31mred", cat]', "{true: cat}"])  # fmt: skip
def test_doubtful_names_of_classes_are_refused(own_maps: Path, names: str) -> None:
    (own_maps / "classes.yaml").write_text(f"classes: {names}")
    with pytest.raises(FssegError, match=r"is no name of a class|background is no class|class ids") as error:
        opened(own_maps)
    assert str(error.value).isprintable()


def test_names_of_files_that_cannot_be_printed_are_refused(own_maps: Path) -> None:
    for name in (b"bad\xff.png", b"two\nlines.png"):
        path = os.path.join(os.fsencode(own_maps), b"images", name)
        with open(path, "wb"):
            refused(own_maps, "holds a file whose name cannot be printed", "Rename it")
        os.unlink(path)


def test_verify_reads_instance_maps(own_maps: Path) -> None:
    (own_maps / "instances").mkdir()
    PIL.Image.fromarray(np.zeros((3, 3), dtype=np.uint8)).save(own_maps / "instances" / "photo03.png")
    dataset = Folder()
    dataset.locate(own_maps)
    with pytest.raises(FssegError, match=r"photo03.png and the mask of photo03 differ in size"):
        dataset.check(number(dataset, "photo03"))


def test_grey_masks_with_alpha_are_read_by_their_grey(tmp_path: Path) -> None:
    pixels = np.zeros((6, 8, 2), dtype=np.uint8)
    pixels[..., 1] = 255
    pixels[2, 3, 0] = 200
    PIL.Image.fromarray(pixels, "LA").save(tmp_path / "mask.png")
    assert read_region(tmp_path / "mask.png").sum() == 1


def test_marks_of_another_size_or_outside_of_the_image_are_refused(own_maps: Path) -> None:
    shape = {"label": "cat", "shape_type": "rectangle", "points": [[1, 1], [9, 9]]}
    mark(own_maps, "photo02", {"shapes": [shape], "imageHeight": 300, "imageWidth": 400})
    refused(own_maps, "photo02.json is for a 400x300 image, its image is")
    for box in ([-100, -100, -50, -50], [900, 900, 950, 950], [-3e9, -3e9, 3e9, 3e9]):
        mark(own_maps, "photo02", {"boxes": [{"class": "cat", "box": box}]})
        refused(own_maps, "photo02.json: a box lies outside the")
    mark(own_maps, "photo02", {"points": [{"class": "cat", "point": [10**400, 1]}]})
    refused(own_maps, "has no list of points")
