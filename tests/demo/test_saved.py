"""What the page saves and loads again: supports with their masks, and the learnt segmenter."""

import base64
import io
import json
import os
import pickle
import zipfile

import numpy as np
import PIL.Image
import pytest
import torch

from fsseg.datasets.shapes import draw
from fsseg.demo import drawing
from fsseg.demo.painting import BACK, from_labels, to_labels
from fsseg.demo.pictures import FINE, Limits, Picture
from fsseg.demo.supports_file import Annotated, read_annotation, read_supports, write_supports
from fsseg.encoders import ConvNet
from fsseg.experiment.support_arguments import supports as predict_supports
from fsseg.methods import PANet
from fsseg.segmenter import Segmenter
from tests.demo.test_attacks import photo

CLASS = (slice(20, 60), slice(30, 70))


def layer_of(way: str) -> np.ndarray:
    layer = np.zeros((96, 96), np.uint8)
    layer[CLASS] = 1
    layer[:9] = BACK if way == "scribble" else 0
    return layer


def paint(visitor, number: int, way: str = "scribble", layer: np.ndarray | None = None) -> dict:
    painted = drawing.layer(layer_of(way) if layer is None else layer)
    return visitor.cause("stroke", {"number": number, "way": way, "layer": painted})


def learnt(visitor) -> str:
    """Drop an image and a query, and paint; the query's overlay."""
    number = visitor.drop("supports", "cat.png", photo())["painter"]["selected"]
    visitor.drop("queries", "query.png", photo(number=40))
    return paint(visitor, number)["result"]


def saved(visitor) -> bytes:
    return base64.b64decode(visitor.cause("save")["archive"].partition(",")[2])


@pytest.mark.parametrize("names", [["cat"], ["cat", "dog"]])
def test_a_mask_comes_back_from_labelme_s_format_to_the_pixel(names):
    random = np.random.default_rng(0)
    picture = Picture("a.b.png", draw(96, 0, 0)[0], (96, 96))
    for values in ([0, 1], [0, 1, 255], [255], [0], [0, 255], [0, len(names), 255]):
        labels = random.choice(np.array(values, np.uint8), (96, 96))
        [back] = read_supports(write_supports([Annotated(picture, labels, names)]), Limits(), "a.zip")
        placed = {name: i for i, name in enumerate(back.names, 1)}
        table = np.arange(256, dtype=np.uint8)
        for i, name in enumerate(names, 1):
            table[i] = placed.get(name, i)
        np.testing.assert_array_equal(back.labels, table[labels])
        np.testing.assert_array_equal(back.picture.image, picture.image)


@pytest.mark.parametrize("way", ["scribble", "mask", "nothing"])
def test_a_layer_comes_back_from_its_mask(way):
    layer = layer_of(way) * (way != "nothing")
    back, found = from_labels(to_labels(layer, way))
    assert found == way
    np.testing.assert_array_equal(back, layer)


def test_supports_are_loaded_again_by_the_page_and_by_predict(app, visitor, tmp_path):
    first = learnt(visitor)
    visitor.cause("rename", {"names": ["tom: cat", *"bcdef"]})
    data = saved(visitor)
    visitor.cause("remove", {"number": 1})
    answer = visitor.post("/files/supports?name=supports.zip", data).said
    assert answer["message"] == ""
    assert [(one["name"], one["state"], one["labels"]) for one in answer["supports"]] == [("cat.png", "used", [1])]
    assert answer["painter"]["classes"][0]["name"] == "tom_ cat"
    assert overlay_of(answer["result"]) == overlay_of(first)

    zipfile.ZipFile(io.BytesIO(data)).extractall(tmp_path)
    [support] = predict_supports([str(tmp_path)])
    assert support.classes == ("tom_ cat",)
    np.testing.assert_array_equal(support.labels(), to_labels(layer_of("scribble"), "scribble"))


def overlay_of(result: str) -> str:
    return result.partition('class="overlay"')[2].partition(">")[0]


def test_the_learnt_segmenter_is_loaded_by_predict_and_by_the_page(visitor, segmenter, tmp_path):
    first = learnt(visitor)
    visitor.cause("rename", {"names": ["cat", *"bcdef"]})
    data = visitor.post("/learnt").body
    (tmp_path / "cat.fsseg").write_bytes(data)
    loaded = Segmenter.load(tmp_path / "cat.fsseg", "cpu")
    assert loaded.classes == ("cat",)
    query = np.asarray(PIL.Image.open(io.BytesIO(photo(number=40))))
    found = base64.b64encode(drawing.mask_file(loaded.segment(query), query.shape[:2])).decode()
    assert found in first

    visitor.cause("remove", {"number": 1})
    answer = visitor.post("/files/segmenter?name=cat.fsseg", data).said
    assert answer["message"] == ""
    assert overlay_of(answer["result"]) == overlay_of(first)
    assert segmenter.classes == ()

    number = visitor.drop("supports", "dog.png", photo(number=20))["painter"]["selected"]
    second = layer_of("scribble")
    second[second == 1] = 2
    paint(visitor, number, "scribble", second)
    answer = visitor.post("/files/segmenter?name=cat.fsseg", data).said  # again: the name has its colour
    assert answer["supports"][0]["labels"] == [2]
    assert "cat" in answer["result"]
    assert "b</b>" in answer["result"]


class Evil:
    def __reduce__(self):
        return os.system, ("touch evil",)


def other(size: int = 48, **options) -> bytes:
    """A file of another segmenter."""
    torch.manual_seed(1)
    made = Segmenter(PANet(ConvNet(**{"widths": (8, 8), "strides": (2, 2), **options})), size=size, device="cpu")
    made.learn(draw(96, 0, 0)[0], layer_of("mask"))
    from fsseg.segmenter.persistence import content_of

    file = io.BytesIO()
    torch.save(content_of(made), file)
    return file.getvalue()


def changed(data: bytes, **changes) -> bytes:
    content = torch.load(io.BytesIO(data), weights_only=True)
    file = io.BytesIO()
    torch.save({**content, **changes}, file)
    return file.getvalue()


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda own: b"", "cannot be read"),
        (lambda own: b"text", "cannot be read"),
        (lambda own: own[: len(own) // 2], "cannot be read"),
        (lambda own: pickle.dumps(Evil()), "cannot be read"),
        (lambda own: photo(), "cannot be read"),
        (lambda own: other(), "is of another encoder, checkpoint or size"),
        (lambda own: other(widths=(8, 16)), "is of another encoder, checkpoint or size"),
        (lambda own: changed(own, canvas=[64, "square"]), "is of another encoder, checkpoint or size"),
        (lambda own: changed(own, state_dict={}), "is of another encoder, checkpoint or size"),
        (lambda own: changed(own, fsseg_segmenter=9), "comes from a newer fsseg"),
        (lambda own: changed(own, classes=["a", "b"]), "is a broken file"),
        (lambda own: changed(own, config="os.system"), ""),  # is not read
        (lambda own: changed(own, supports={1: [[torch.zeros(1, 1, 2, 2)], torch.ones(1, 48, 48, dtype=torch.uint8),
                                               [96, 96], None]}), "do not fit"),
    ],
)  # fmt: skip
def test_files_of_segmenters_are_untrusted(visitor, make, said, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    before = learnt(visitor)
    answer = visitor.post("/files/segmenter?name=/etc/x.fsseg", make(visitor.post("/learnt").body)).said
    assert answer["message"].startswith("x.fsseg") == bool(said)
    assert said in answer["message"]
    assert "\n" not in answer["message"]
    assert not (tmp_path / "evil").exists()
    if said:
        assert overlay_of(answer["result"]) == overlay_of(before)
        assert [one["state"] for one in answer["supports"]] == ["used"]


def packed(**files: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name.replace("__", "."), data)
    return file.getvalue()


def shape(**changes) -> bytes:
    return json.dumps({"shapes": [{"label": "cat", "points": [[9, 9], [60, 9], [60, 60]], **changes}]}).encode()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: b"no zip", "is no complete zip file"),
        (lambda: packed(a__png=photo(), a__json=shape())[:-30], "is no complete zip file"),
        (lambda: packed(a__png=photo()), "has no image with a JSON"),
        (lambda: packed(a__json=shape()), "has no image with a JSON"),
        (lambda: packed(a__png=photo(), a__json=b"{"), "is no complete JSON file"),
        (lambda: packed(a__png=b"text", a__json=shape()), "cannot be decoded"),
        (lambda: packed(a__png=photo(), a__json=shape(points=[[900, 9], [960, 9], [960, 60]])), "outside"),
        (lambda: packed(**{f"{i}__png": b"" for i in range(101)}), "unpacks to more than 100 files"),
        (lambda: packed(a__png=bytes(300_000_000)), "unpacks to more than"),
        (lambda: packed(**{f"{i}__{e}": d for i in range(13) for e, d in (("png", photo()), ("json", shape()))}),
         "at most 12 supports are allowed"),
    ],
)  # fmt: skip
def test_files_of_supports_are_untrusted(visitor, make, said):
    before = learnt(visitor)
    answer = visitor.post("/files/supports?name=a.zip", make()).said
    assert said in answer["message"]
    assert [one["name"] for one in answer["supports"]] == ["cat.png"]
    assert overlay_of(answer["result"]) == overlay_of(before)


def test_members_that_lead_out_are_names_only(visitor):
    data = packed(**{"../../a__png": photo(), "../../a__json": shape()})
    answer = visitor.post("/files/supports?name=a.zip", data).said
    assert [one["name"] for one in answer["supports"]] == ["a.png"]


def test_too_many_classes_add_nothing(visitor):
    files = {f"{i}__{e}": d for i in range(7) for e, d in (("png", photo()), ("json", shape(label=f"class of {i}")))}
    answer = visitor.post("/files/supports?name=a.zip", packed(**files)).said
    assert "no colour is left for the class class of 6" in answer["message"]
    assert answer["supports"] == []


def test_a_json_of_labelme_annotates_the_support_of_its_name(visitor):
    number = visitor.drop("supports", "cat.png", photo())["painter"]["selected"]
    sent = {"number": number, "name": "cat.json", "json": shape(label="puma").decode()}
    answer = visitor.cause("annotate", sent)
    assert answer["message"] == ""
    assert answer["supports"][0]["labels"] == [1]
    assert answer["painter"]["way"] == "mask"
    assert answer["painter"]["classes"][0]["name"] == "puma"
    for wrong, said in (("{", "no complete JSON"), ("[]", "has neither shapes"), ('{"shapes": 3}', "cat.json")):
        assert said in visitor.cause("annotate", {**sent, "json": wrong})["message"]
    turned = json.dumps({**json.loads(sent["json"]), "imageHeight": 50, "imageWidth": 96})
    assert "is for a 96x50 image" in visitor.cause("annotate", {**sent, "json": turned})["message"]


def test_annotations_of_a_large_image_fit_the_smaller_one():
    picture = Picture("a.png", np.zeros((FINE // 2, FINE, 3), np.uint8), (FINE * 2, FINE * 4))
    content = shape(points=[[0, 0], [FINE * 2 - 1, 0], [FINE * 2 - 1, FINE * 2], [0, FINE * 2]])
    found = read_annotation(content, picture, "a.json")
    assert found.labels.shape == (FINE // 2, FINE)
    assert found.labels[:, : FINE // 2 - 1].all()
    assert not found.labels[:, FINE // 2 + 1 :].any()


def test_nothing_to_save_is_a_line(visitor):
    assert "there are no supports to save" in visitor.post("/events/save").body.decode()
    assert "nothing is learnt yet" in visitor.post("/learnt").body.decode()
    learnt(visitor)
    both = layer_of("scribble")
    both[70:90, 20:60] = 2
    paint(visitor, 1, "scribble", both)
    visitor.cause("rename", {"names": ["cat", "cat", *"cdef"]})
    answer = visitor.post("/learnt")
    assert (answer.status, answer.body.decode()) == (422, "two classes have the same name. Rename one, and save again.")


def test_what_the_browser_keeps_makes_the_same_session(app, visitor):
    from tests.demo.conftest import Visitor

    first = learnt(visitor)
    again = Visitor(app)
    for number, where in ((1, "supports"), (2, "queries")):
        kept = visitor.cause("keep", {"number": number})["kept"]
        again.drop(where, kept["name"], base64.b64decode(kept["image"]))
        if "layer" in kept:
            again.cause("stroke", {"number": number, "layer": kept["layer"], "way": kept["way"]})
    assert overlay_of(again.cause("rest")["result"]) == overlay_of(first)
    again.leave()
