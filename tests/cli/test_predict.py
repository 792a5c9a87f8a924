"""`fsseg predict`: pictures in, masks at their own size out; mistakes are one line each, and what is done is kept."""

import csv
import hashlib
import json
import os
import shutil
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import timm
from pycocotools.coco import COCO
from pycocotools.mask import decode

import fsseg as package
from fsseg.errors import MachineError
from fsseg.files import decoders
from fsseg.plots.colours import COLOURS
from fsseg.runs import prediction_files
from fsseg.segmenter import Segmenter
from tests.cli.conftest import small_files
from tests.files.test_decoders import litter

TINY = (
    "--model.method.encoder", "ConvNet", "--model.method.encoder.widths=[8,8]", "--model.method.encoder.strides=[1,2]",
    "--size", "48", "--device", "cpu",
)  # fmt: skip


def scene(
    folder: Path, name: str, top: int, left: int, colour: tuple[int, int, int] = (220, 40, 40), size=(60, 80)
) -> Path:
    """A square on grey, and its mask beside it, black and white."""
    image = np.full((*size, 3), 90, dtype=np.uint8)
    image[top : top + 24, left : left + 24] = colour
    mask = np.zeros(size, dtype=np.uint8)
    mask[top : top + 24, left : left + 24] = 255
    folder.mkdir(parents=True, exist_ok=True)
    PIL.Image.fromarray(image).save(folder / f"{name}.png")
    PIL.Image.fromarray(mask).save(folder / f"{name}.mask.png")
    return folder / f"{name}.png"


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Two supports of a red square, and three queries, one below a folder."""
    scene(tmp_path, "a", 8, 10)
    scene(tmp_path, "b", 30, 40)
    for name, top, left in (("x", 5, 5), ("y", 20, 50), ("sub/z", 30, 20)):
        path = scene(tmp_path / "photos" / Path(name).parent, Path(name).name, top, left)
        path.with_suffix(".mask.png").unlink()
    return tmp_path


ASK = ("--support", "red=a.png:a.mask.png", "b.png:b.mask.png", "--query", "photos", "--out", "out")


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "scores.csv").open() as file:
        return list(csv.DictReader(file))


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # pycocotools
def test_masks_overlays_scores_and_annotations(fsseg, pictures):
    ran = fsseg("predict", *ASK, *TINY, "--probabilities")
    assert ran.code == 0, ran.err
    assert "no checkpoint: " in ran.err
    assert "adapted to red from 2 supports" in ran.err
    assert "red  in 3 of 3" in ran.out
    out = pictures / "out"
    coco = COCO.__new__(COCO)
    content = json.loads((out / "annotations.json").read_text())
    coco.__init__()
    coco.dataset = content
    coco.createIndex()
    assert [c["name"] for c in content["categories"]] == ["red"]
    assert len(content["images"]) == len(content["annotations"]) == 3
    truth = {"x": (5, 5), "y": (20, 50), "sub/z": (30, 20)}
    for row, image, annotation in zip(rows(out), content["images"], content["annotations"], strict=True):
        stored = PIL.Image.open(out / "masks" / f"{row['name']}.png")
        assert stored.mode == "P"
        assert tuple(stored.getpalette()[3:6]) == COLOURS[0]
        mask = np.asarray(stored)
        assert mask.shape == (60, 80)
        assert (coco.annToMask(annotation) == mask).all()
        assert annotation["area"] == int(row["pixels"]) == (mask == 1).sum()
        assert annotation["score"] == float(row["score"])
        assert image["file_name"] == row["image"]
        top, left = truth[row["name"]]
        region = np.zeros((60, 80), bool)
        region[top : top + 24, left : left + 24] = True
        found = mask == 1
        assert (found & region).sum() > 0.9 * region.sum()  # where the square is, though weights are random
        assert (found & region).sum() / (found | region).sum() > 0.4
        grey = np.asarray(PIL.Image.open(out / "probabilities" / "red" / f"{row['name']}.png"))
        assert (grey[mask == 1] >= 127).all()
        with PIL.Image.open(out / "overlays" / f"{row['name']}.jpg") as overlay:
            assert overlay.size == (80, 60)


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # pycocotools
def test_instances_are_regions_of_their_own(fsseg, pictures):
    """Two squares in one image: two annotations that make up the class's mask, and an outline around each."""
    image = np.asarray(PIL.Image.open(pictures / "photos" / "x.png")).copy()
    image[30:54, 50:74] = image[5:29, 5:29]
    PIL.Image.fromarray(image).save(pictures / "photos" / "two.png")
    ran = fsseg("predict", *ASK, *TINY, "--instances")
    assert ran.code == 0, ran.err
    content = json.loads((pictures / "out" / "annotations.json").read_text())
    (number,) = [one["id"] for one in content["images"] if Path(one["file_name"]).name == "two.png"]
    own = [annotation for annotation in content["annotations"] if annotation["image_id"] == number]
    regions = [decode(annotation["segmentation"]).astype(bool) for annotation in own]
    mask = np.asarray(PIL.Image.open(pictures / "out" / "masks" / "two.png")) == 1
    assert len(own) >= 2
    assert (np.sum(regions, axis=0) == mask).all()
    assert not any(region[12, 12] and region[40, 60] for region in regions)
    other = fsseg("predict", *ASK, *TINY)
    assert (other.code, "holds results of other --instances" in other.err) == (2, True)


def test_the_same_as_in_python(fsseg, pictures):
    """A file of --save segments as the command did, and the command goes on learning from it."""
    assert fsseg("predict", *ASK, *TINY, "--save", "red.fsseg").code == 0
    segmenter = Segmenter.load(pictures / "red.fsseg", "cpu")
    written = np.asarray(PIL.Image.open(pictures / "out" / "masks" / "x.png"))
    assert (segmenter.segment(pictures / "photos" / "x.png") == written).all()
    again = fsseg("predict", "--ckpt_path", "red.fsseg", "--query", "photos/x.png", "--out", "again", "--device", "cpu")
    assert again.code == 0, again.err
    assert (np.asarray(PIL.Image.open(pictures / "again" / "masks" / "x.png")) == written).all()
    more = ("--support", "grey=a.png:0,40,30,60", "--query", "photos/x.png", "--out", "more", "--device", "cpu")
    ran = fsseg("predict", "--ckpt_path", "red.fsseg", *more)
    assert "adapted to red, grey from 1 support" in ran.err
    assert package.Segmenter is Segmenter


@pytest.mark.slow
def test_a_trained_checkpoint(fsseg, pictures, trained):
    ran = fsseg("predict", *ASK, "--ckpt_path", str(trained), "--device", "cpu")
    assert ran.code == 0, ran.err
    assert str(trained) in ran.err
    assert json.loads((pictures / "out" / "predict.json").read_text())["method"] is None


def test_an_experiments_method(fsseg, pictures):
    ran = fsseg("predict", *ASK, "--config", "experiments/panet_shapes_1shot.yaml", "--device", "cpu")
    assert ran.code == 0, ran.err
    assert "PANet  ConvNet" in ran.err


def test_boxes_scribbles_polygons_and_several_classes(fsseg, pictures):
    scribble = np.full((60, 80), 255, np.uint8)
    scribble[20, 12:30], scribble[50, 5:70] = 1, 0
    PIL.Image.fromarray(scribble).save(pictures / "a.scribble.png")
    shape = {"label": "red", "shape_type": "polygon", "points": [[40, 30], [63, 30], [63, 53], [40, 53]]}
    (pictures / "b.json").write_text(json.dumps({"shapes": [shape]}))
    labels = np.zeros((60, 80), np.uint8)
    labels[30:54, 40:64], labels[:10] = 1, 2
    PIL.Image.fromarray(labels).save(pictures / "labels.png")
    voc = np.zeros((60, 80), np.uint8)
    voc[8:32, 10:34], voc[50:], voc[:, 70:] = 8, 15, 255
    PIL.Image.fromarray(voc).save(pictures / "voc.png")
    given = ("a.png:a.scribble.png", "b.png:b.json", "a.png:10,8,34,32", "a.png:voc.png:8", "red,top=b.png:labels.png")
    ran = fsseg("predict", "--support", "red=" + given[0], *given[1:], "--query", "photos/*.png", "--out", "out", *TINY)
    assert ran.code == 0, ran.err
    assert "adapted to red, top from 5 supports" in ran.err
    assert {row["class"] for row in rows(pictures / "out")} == {"red", "top"}
    assert {row["name"] for row in rows(pictures / "out")} == {"x", "y"}


def test_what_is_rejected_and_what_scores_too_little_is_left_out(fsseg, pictures):
    scene(pictures, "yellow", 8, 10, (220, 200, 40))
    query = scene(pictures / "more", "both", 4, 4)
    image = np.array(PIL.Image.open(query))
    image[34:58, 50:74] = (220, 200, 40)
    PIL.Image.fromarray(image).save(query)
    query.with_suffix(".mask.png").unlink()
    negative = ("--negative", "yellow.png:yellow.mask.png")
    ask = (*ASK[:3], "--query", "more", "photos", *TINY)
    assert fsseg("predict", *ask, "--out", "plain").code == fsseg("predict", *ask, "--out", "told", *negative).code == 0
    before, after = (np.asarray(PIL.Image.open(pictures / n / "masks" / "both.png")) for n in ("plain", "told"))
    assert (after[36:56, 52:72] == 1).sum() <= (before[36:56, 52:72] == 1).sum()
    assert fsseg("predict", *ask, "--out", "strict", "--threshold", "1").code == 0
    assert all(row["pixels"] == "0" for row in rows(pictures / "strict"))
    assert json.loads((pictures / "strict" / "annotations.json").read_text())["annotations"] == []


@pytest.mark.slow
def test_a_stopped_run_goes_on(fsseg, pictures, monkeypatch):
    add, seen = prediction_files.PredictionFolder.add, []

    def stopping(self, name, *given):
        if len(seen) == 2:
            raise KeyboardInterrupt
        seen.append(name)
        add(self, name, *given)

    monkeypatch.setattr(prediction_files.PredictionFolder, "add", stopping)
    assert fsseg("predict", *ASK, *TINY).code == 130
    with (pictures / "out" / "scores.csv").open("a") as file:
        file.write("y,photos/y.p")  # cut off by a kill
    stamps = {path: path.stat().st_mtime_ns for path in (pictures / "out" / "masks").rglob("*.png")}
    monkeypatch.setattr(prediction_files.PredictionFolder, "add", add)
    ran = fsseg("predict", *ASK, *TINY)
    assert ran.code == 0
    assert "2 of 3 are done already" in ran.err
    assert all(path.stat().st_mtime_ns == stamp for path, stamp in stamps.items())
    assert fsseg("predict", *ASK[:-1], "whole", *TINY).code == 0
    assert sorted(map(str, rows(pictures / "out"))) == sorted(map(str, rows(pictures / "whole")))
    for path in (pictures / "whole" / "masks").rglob("*.png"):
        assert path.read_bytes() == (pictures / "out" / path.relative_to(pictures / "whole")).read_bytes()
    again = fsseg("predict", *ASK, *TINY)
    assert again.code == 0
    assert "3 of 3 are done already" in again.err
    other = fsseg("predict", *ASK, *TINY, "--threshold", "0.5")
    assert other.code == 2
    assert "holds results of other --threshold" in other.line


@pytest.mark.slow
def test_another_picture_of_the_same_name_is_not_done(fsseg, pictures):
    """What is done is a picture, not a name nor a time; what lost a file is made again."""
    scene(pictures / "other", "x", 30, 40)
    assert fsseg("predict", *ASK, *TINY).code == 0
    first = (pictures / "out" / "masks" / "x.png").read_bytes()
    ran = fsseg("predict", *ASK[:3], "--query", "other/x.png", "--out", "out", *TINY)
    assert ran.code == 0
    assert "done already" not in ran.err
    assert ran.out.startswith("1 image\n")
    assert (pictures / "out" / "masks" / "x.png").read_bytes() != first
    assert {(row["name"], row["image"]) for row in rows(pictures / "out")} >= {("x", "other/x.png")}
    (pictures / "out" / "masks" / "y.png").unlink()
    (pictures / "photos" / "sub" / "z.png").touch()
    ran = fsseg("predict", *ASK, *TINY)
    assert "1 of 3 are done already" in ran.err
    assert ran.out.startswith("3 images\n")
    (pictures / "out" / "overlays" / "y.jpg").write_bytes(b"")  # as a power cut leaves it
    assert "2 of 3 are done already" in fsseg("predict", *ASK, *TINY).err
    (pictures / "out" / "scores.csv").unlink()
    assert fsseg("predict", *ASK, *TINY).code == 0
    assert len(rows(pictures / "out")) == 3


@pytest.mark.parametrize("how", ["mv", "cp -p", "same size"])
def test_a_query_that_an_older_file_replaced_is_segmented_anew(fsseg, pictures, how):
    assert fsseg("predict", *ASK, *TINY).code == 0
    query, mask = pictures / "photos" / "x.png", pictures / "out" / "masks" / "x.png"
    before = mask.read_bytes()
    other = scene(pictures / "older", "other", 30, 50)
    times = query.stat()
    if how == "same size":  # and the same time: only content and inode tell
        size = max(query.stat().st_size, other.stat().st_size)
        for path in (query, other):
            path.write_bytes(path.read_bytes().ljust(size, b"\0"))
        (pictures / "out" / "scores.csv").unlink()
        os.utime(query, ns=(times.st_atime_ns, times.st_mtime_ns))
        assert fsseg("predict", *ASK, *TINY).code == 0
        os.utime(other, ns=(times.st_atime_ns, times.st_mtime_ns))
    else:
        os.utime(other, ns=(0, 10**18))
    if how == "cp -p":
        shutil.copy2(other, query)
    else:
        other.replace(query)
    ran = fsseg("predict", *ASK, *TINY)
    assert "2 of 3 are done already" in ran.err
    assert mask.read_bytes() != before
    assert fsseg("predict", *ASK[:-1], "whole", *TINY).code == 0
    assert mask.read_bytes() == (pictures / "whole" / "masks" / "x.png").read_bytes()


def test_photos_that_were_copied_are_done_and_those_untouched_are_not_even_read(fsseg, pictures, monkeypatch):
    assert fsseg("predict", *ASK, *TINY).code == 0
    read = []
    digest = hashlib.file_digest
    monkeypatch.setattr(hashlib, "file_digest", lambda file, kind: read.append(file.name) or digest(file, kind))
    assert "3 of 3 are done already" in fsseg("predict", *ASK, *TINY).err
    assert not read
    (pictures / "photos").rename(pictures / "before")
    shutil.copytree(pictures / "before", pictures / "photos", copy_function=shutil.copyfile)
    assert "3 of 3 are done already" in fsseg("predict", *ASK, *TINY).err
    assert len(read) == 3


def test_what_queries_were_is_read_whatever_the_file_holds(fsseg, pictures):
    """A line that a kill cut off, or of a stranger's, makes its query anew, and nothing else."""
    assert fsseg("predict", *ASK, *TINY).code == 0
    path = pictures / "out" / "queries.jsonl"
    first, second, third = path.read_text().splitlines()
    path.write_text(f'{first}\n[]\n"x"\n{{"name": 3}}\n\x00\n{second}\n{third[:30]}')
    assert "2 of 3 are done already" in fsseg("predict", *ASK, *TINY).err
    assert [json.loads(line)["name"] for line in path.read_text().splitlines()] == ["sub/z", "x", "y"]


def test_hidden_and_system_files_are_no_queries(fsseg, pictures):
    """Nor below a pattern; a hidden folder that a person names is one."""
    litter(pictures / "photos")
    litter(pictures / "photos" / "sub")
    for query, names in (("photos", {"x", "y", "sub/z"}), ("photos/**", {"x", "y", "sub/z"}), ("photos/*/*", {"z"})):
        ran = fsseg("predict", *ASK[:3], "--query", query, "--out", "out", *TINY)
        assert ran.code == 0, ran.err
        assert {row["name"] for row in rows(pictures / "out")} == names
        shutil.rmtree(pictures / "out")
    (pictures / "photos").rename(pictures / ".photos")
    assert fsseg("predict", *ASK[:3], "--query", ".photos", "--out", "out", *TINY).code == 0
    assert len(rows(pictures / "out")) == 3


def test_other_files_are_counted_and_images_that_cannot_be_decoded_are_named(fsseg, pictures, monkeypatch):
    photos = pictures / "photos"
    with PIL.Image.open(photos / "x.png") as picture:
        for name, form in (("b.jfif", "JPEG"), ("d.GIF", "GIF")):
            picture.convert("RGB").save(photos / name, form)
    for name in ("a.txt", "b.txt", "x.json", "sub/README"):
        (photos / name).write_text("")
    ran = fsseg("predict", *ASK, *TINY)
    assert ran.code == 0, ran.err
    assert "note: --query photos: left out 2 .txt, 1 .json, 1 without ending, no images." in ran.err
    assert {row["name"] for row in rows(pictures / "out")} == {"x", "y", "sub/z", "b", "d"}
    monkeypatch.setattr(decoders, "decoders", lambda: ("PNG", "GIF"))
    for number in range(5):
        (photos / f"c{number}.HEIC").write_bytes(b"")
    ran = fsseg("predict", *ASK, *TINY)
    assert ran.code == 2
    assert "note: 5 .heic left out (c0.HEIC, c1.HEIC, c2.HEIC, ...): .heic needs a package" in ran.err
    assert "1 .jfif left out (b.jfif)" in ran.err
    assert "6 of 10 images were left out" in ran.line
    ran = fsseg("predict", *ASK[:3], "--query", "photos/*.HEIC", "--out", "none", *TINY)
    assert (ran.code, "no image there can be decoded (5 .heic)" in ran.line) == (2, True)
    assert not (pictures / "none").exists()


def test_results_are_no_queries(fsseg, pictures):
    ask = (*ASK[:3], *TINY)
    for query in ("photos", str(pictures / "photos"), "photos/**"):
        ran = fsseg("predict", *ask, "--query", query, "--out", "photos/out")
        assert ran.code == 0, ran.err
        assert ran.out.startswith(f"{3} images\n")
    assert fsseg("predict", *ask, "--query", "photos/x.png", str(pictures / "photos/x.png"), "--out", "o").code == 0
    assert len(rows(pictures / "o")) == 1


def test_flags_may_be_repeated(fsseg, pictures):
    supports = ("--support", "red=a.png:a.mask.png", "--support", "b.png:b.mask.png")
    ran = fsseg("predict", *supports, "--query=photos/x.png", "--query", "photos/y.png", "--out", "out", *TINY)
    assert ran.code == 0, ran.err
    assert "adapted to red from 2 supports" in ran.err
    assert len(rows(pictures / "out")) == 2


def test_a_threshold_that_does_nothing_is_said(fsseg, pictures):
    ran = fsseg("predict", *SUPPORT, *GOOD, *TINY, "--threshold", "0.5")
    assert ran.code == 0
    assert "note: --threshold does not apply to object: a score needs two supports" in ran.err


def test_a_name_that_is_no_text_is_left_out(fsseg, pictures):
    odd = pictures / "photos" / "bad\udcff.png"
    odd.write_bytes((pictures / "photos" / "x.png").read_bytes())
    ran = fsseg("predict", *ASK, *TINY)
    assert ran.code == 2
    assert "1 of 4 images were left out" in ran.line
    assert len(rows(pictures / "out")) == 3


def test_maps_need_not_show_all_classes_and_negatives_any_label(fsseg, pictures):
    labels = np.zeros((60, 80), np.uint8)
    labels[8:32, 10:34] = 1
    PIL.Image.fromarray(labels).save(pictures / "one.png")
    labels[40:, 60:] = 2
    PIL.Image.fromarray(labels).save(pictures / "both.png")
    shape = {"label": "sofa", "points": [[40, 30], [63, 30], [63, 53]]}
    (pictures / "sofa.json").write_text(json.dumps({"shapes": [shape]}))
    given = (
        "--support",
        "cat,dog=a.png:one.png",
        "a.png:both.png",
        "--negative",
        "b.png:sofa.json",
        "b.png:both.png:2",
    )
    ran = fsseg("predict", *given, *GOOD, *TINY)
    assert ran.code == 0, ran.err
    assert "adapted to cat, dog from 2 supports" in ran.err


def test_a_full_disk_loses_nothing_that_is_done(fsseg, pictures, monkeypatch):
    write = Path.write_bytes

    def full(self, content):
        if self.name == ".y.png.part":
            raise OSError(28, "No space left on device")
        return write(self, content)

    monkeypatch.setattr(Path, "write_bytes", full)
    ran = fsseg("predict", *ASK, *TINY)
    assert ran.code == MachineError.code
    assert "No space left on device. Make room. The same command resumes" in ran.line
    monkeypatch.undo()
    monkeypatch.chdir(pictures)
    assert fsseg("predict", *ASK, *TINY).code == 0
    assert len(rows(pictures / "out")) == 3


def test_a_full_disk_leaves_no_overlay_that_is_cut_off(fsseg, pictures):
    """Pillow's own writer takes the short write of a full disk for a whole one."""
    assert fsseg("predict", *ASK[:-1], "whole", *TINY, "--save", "red.fsseg").code == 0
    sizes = [path.stat().st_size for path in (pictures / "whole" / "overlays").rglob("*.jpg")]
    with small_files(min(sizes) - 50):
        ran = fsseg("predict", *ASK, *TINY)
    assert (ran.code, len(list((pictures / "out" / "overlays").rglob("*.*")))) == (1, 0)
    assert "jpg cannot be written: File too large. Make room. The same command resumes there." in ran.line
    assert fsseg("predict", *ASK, *TINY).code == 0
    for path in (pictures / "whole" / "overlays").rglob("*.jpg"):
        assert path.read_bytes() == (pictures / "out" / path.relative_to(pictures / "whole")).read_bytes()


def test_a_full_disk_under_a_segmenters_file_is_one_line_and_leaves_the_one_before(fsseg, pictures):
    assert fsseg("predict", *ASK[:3], *TINY, "--save", "red.fsseg").code == 0
    before = (pictures / "red.fsseg").read_bytes()
    with small_files(len(before) - 50):
        ran = fsseg("predict", *ASK[:3], *TINY, "--save", "red.fsseg")
    assert (ran.code, ran.line) == (1, "fsseg: red.fsseg cannot be written: File too large. Make room.")
    assert (pictures / "red.fsseg").read_bytes() == before
    assert not list(pictures.glob(".*"))


def test_pictures_of_one_name_are_told_apart(fsseg, pictures):
    with PIL.Image.open(pictures / "photos" / "x.png") as picture:
        picture.save(pictures / "photos" / "x.jpg")
    assert fsseg("predict", *ASK, *TINY).code == 0
    assert {row["name"] for row in rows(pictures / "out")} == {"x.jpg", "x.png", "y", "sub/z"}


@pytest.mark.parametrize("ending", ["jpg", "webp", "tif", "bmp", "png"])
def test_kinds_of_pictures(fsseg, pictures, ending):
    """Of many kinds and modes; transparent, grey, with a palette, turned."""
    with PIL.Image.open(pictures / "photos" / "x.png") as picture:
        picture.convert({"png": "P", "bmp": "L"}.get(ending, "RGB")).save(pictures / f"q.{ending}")
    ran = fsseg("predict", *ASK[:4], f"q.{ending}", "--out", "out", *TINY)
    assert ran.code == 0, ran.err
    assert rows(pictures / "out")[0]["name"] == "q"


@pytest.mark.slow
def test_large_pictures_by_tiles_and_long_ones_in_proportion(fsseg, pictures):
    scene(pictures / "large", "l", 100, 150, size=(200, 300))
    (pictures / "large" / "l.mask.png").unlink()
    tiny = TINY[:4]
    for name, option in (("tiles", "--tile"), ("long", "--long_side")):
        ran = fsseg("predict", *ASK[:3], "--query", "large", "--out", name, *tiny, option, "64", "--device", "cpu")
        assert ran.code == 0, ran.err
        assert np.asarray(PIL.Image.open(pictures / name / "masks" / "l.png")).shape == (200, 300)
    mask = np.asarray(PIL.Image.open(pictures / "tiles" / "masks" / "l.png"))
    assert (mask[104:120, 154:170] == 1).mean() > 0.8


def bomb(path: Path, side: int) -> None:
    """A PNG of so many pixels a side in a few kB."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    rows_ = zlib.compress(bytes(1 + side // 8) * 64)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows_) + chunk(b"IEND", b""))


def broken(folder: Path) -> None:
    """Files that are not what their names say."""
    (folder / "text.jpg").write_text("not a picture")
    (folder / "empty.png").write_bytes(b"")
    (folder / "cut.jpg").write_bytes(b"\xff\xd8\xff\xe0\x00\x10JFIF")
    (folder / "ps.png").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n")
    bomb(folder / "bomb.png", 20_000)
    PIL.Image.fromarray(np.zeros((60, 80), np.uint8)).save(folder / "blank.png")
    PIL.Image.fromarray(np.full((9, 9), 255, np.uint8)).save(folder / "small.png")
    PIL.Image.fromarray(np.full((2, 9, 3), 9, np.uint8)).save(folder / "thin.png")
    PIL.Image.fromarray(np.arange(4800, dtype=np.uint8).reshape(60, 80) % 7).save(folder / "many.png")
    PIL.Image.fromarray(np.full((60, 80), 40_000, np.uint16)).save(folder / "deep.png")
    PIL.Image.fromarray(np.random.default_rng(0).integers(0, 256, (60, 80, 3), np.uint8)).save(folder / "photo.png")
    PIL.Image.fromarray(np.where(np.eye(60, 80) > 0, 0, 255).astype(np.uint8)).save(folder / "bg.scribble.png")
    PIL.Image.fromarray(np.zeros((1500, 1500, 3), np.uint8)).save(folder / "big.png")
    dot = np.zeros((1500, 1500), np.uint8)
    dot[700:702, 700:702] = 255
    PIL.Image.fromarray(dot).save(folder / "dot.png")
    (folder / "marks.json").write_text('{"shapes": [{"label": "dog", "points": [[1, 1], [9, 9], [1, 9]]}]}')
    (folder / "ignore.json").write_text('{"shapes": [{"label": "ignore", "points": [[1, 1], [9, 9], [1, 9]]}]}')
    (folder / "no.json").write_text("{")
    (folder / "text.ckpt").write_text("not a checkpoint")
    (folder / "none").mkdir()
    (folder / "full").mkdir()
    (folder / "full" / "mine.txt").write_text("mine")


GOOD = ("--query", "photos/x.png", "--out", "out")
SUPPORT = ("--support", "a.png:a.mask.png")
MISTAKES: dict[str, tuple[tuple[str, ...], str]] = {
    "no support": (GOOD, "predict needs --support IMAGE:MASK"),
    "no query": (SUPPORT, "predict needs --query IMAGES"),
    "no such query": ((*SUPPORT, "--query", "gone.png"), "--query gone.png: no such file or folder"),
    "a folder without pictures": ((*SUPPORT, "--query", "none"), "--query none: no image there"),
    "a pattern without pictures": ((*SUPPORT, "--query", "*.webp"), "--query *.webp: no image there"),
    "no mask": (("--support", "a.png", *GOOD), "--support a.png: [CLASS=]IMAGE:MASK is needed"),
    "no image": (("--support", ":a.mask.png", *GOOD), "IMAGE:MASK is needed"),
    "a missing image": (("--support", "gone.png:a.mask.png", *GOOD), "image gone.png is missing"),
    "a missing mask": (("--support", "a.png:gone.png", *GOOD), "mask gone.png of a.png is missing"),
    "an empty mask": (("--support", "a.png:blank.png", *GOOD), "mask blank.png of a.png is empty"),
    "a mask of another size": (("--support", "a.png:small.png", *GOOD), "is 9x9, its image 80x60"),
    "a mask of many values": (("--support", "a.png:many.png", *GOOD), "holds the values 1, 2, 3, 4, 5, ..."),
    "a value that is not there": (("--support", "a.png:many.png:9", *GOOD), "holds no pixel of 9"),
    "a value that is none": (("--support", "a.png:many.png:x", *GOOD), "IMAGE:MASK is needed"),
    "a value that is no digit of ours": (("--support", "a.png:many.png:²", *GOOD), "IMAGE:MASK is needed"),
    "a value behind a box": (("--support", "a.png:10,8,34,32:8", *GOOD), "label map of several classes"),
    "a value behind black and white": (("--support", "a.png:a.mask.png:255", *GOOD), "leave :255 out"),
    "a box in fractions": (
        ("--support", "a.png:0.1,0.2,0.6,0.8", *GOOD),
        "not fractions of the image. Did you mean 8,12,48,48?",
    ),
    "marks of ignore alone": (
        ("--support", "a.png:ignore.json", *GOOD),
        "ignore.json is empty: no shape",
    ),
    "a box of three": (("--support", "a.png:1,2,3", *GOOD), "a box is four numbers"),
    "a box of no numbers": (("--support", "a.png:1.2.3,4,50,60", *GOOD), "a box is four numbers"),
    "a photo as a mask": (("--support", "a.png:photo.png", *GOOD), "colours besides black"),
    "a scribble of background alone": (("--support", "a.png:bg.scribble.png", *GOOD), "no scribble has the label 1"),
    "a mask that vanishes": (("--support", "big.png:dot.png", *GOOD), "too small to be left at 48 pixels"),
    "a class without a pixel": (("--support", "a,b=a.png:a.mask.png:3", *GOOD), "label map of several classes"),
    "an empty word": ((*SUPPORT, "--query", ""), "Is a variable of the shell unset?"),
    "a place to save that is a photo": ((*SUPPORT, "--query", "photos", "--save", "a.png"), "no place to save to"),
    "a method beside a checkpoint": (
        (*SUPPORT, *GOOD, "--model.method.scale", "5", "--ckpt_path", "text.ckpt"),
        "leave --model.method.scale out",
    ),
    "a mask of one grey": (("--support", "a.png:deep.png", *GOOD), "deep.png holds only the value 40000"),
    "marks of another class": (("--support", "a.png:marks.json", *GOOD), "'dog' is no class"),
    "marks that are no JSON": (("--support", "a.png:no.json", *GOOD), "no.json is no complete JSON file"),
    "a box outside": (("--support", "a.png:10,8,90,32", *GOOD), "within its 80x60 pixels is needed"),
    "a box without area": (("--support", "a.png:10,8,10,32", *GOOD), "LEFT,TOP,RIGHT,BOTTOM"),
    "text as an image": (("--support", "text.jpg:a.mask.png", *GOOD), "image text.jpg cannot be decoded"),
    "text as a mask": (("--support", "a.png:text.jpg", *GOOD), "mask text.jpg cannot be decoded"),
    "a class that is no name": (("--support", "..=a.png:a.mask.png", *GOOD), "is no name of a class"),
    "background as a class": (("--support", "background=a.png:a.mask.png", *GOOD), "background is no class"),
    "a folder as a checkpoint": ((*SUPPORT, *GOOD, "--ckpt_path", "."), ". is a folder; give the file of a checkpoint"),
    "a class twice": (("--support", "a,a=a.png:a.mask.png", *GOOD), "a class is named twice"),
    "marks of a class that was not named": (("--support", "a.png:marks.json", *GOOD), "Name the class in front"),
    "a missing negative": ((*SUPPORT, "--negative", "gone.png", *GOOD), "--negative: image gone.png is missing"),
    "an empty negative": ((*SUPPORT, "--negative", "a.png:blank.png", *GOOD), "is empty"),
    "a support that is rejected": ((*SUPPORT, "--negative", "./a.png", *GOOD), "--negative ./a.png is a support too"),
    "a threshold beyond 1": ((*SUPPORT, *GOOD, "--threshold", "2"), "--threshold 2: a score of 0..1"),
    "a threshold by another name": ((*SUPPORT, *GOOD, "--threshold", "best"), "--threshold"),
    "a threshold that is none": ((*SUPPORT, *GOOD, "--threshold", "x"), "--threshold"),
    "a size that is too small": ((*SUPPORT, *GOOD, "--size", "8"), "size 8: at least 32 is needed"),
    "two sizes": ((*SUPPORT, *GOOD, "--tile", "64"), "three ways to resize an image"),
    "no such checkpoint": ((*SUPPORT, *GOOD, "--ckpt_path", "gone.ckpt"), "gone.ckpt: no such file"),
    "text as a checkpoint": ((*SUPPORT, *GOOD, "--ckpt_path", "text.ckpt"), "text.ckpt cannot be read"),
    "an experiment that there is not": ((*SUPPORT, *GOOD, "--config", "gone.yaml"), "--config gone.yaml: no such file"),
    "a folder of other files": ((*SUPPORT, "--query", "photos", "--out", "full"), "already holds files"),
    "an image of a few pixels": (("--support", "thin.png:small.png", *GOOD), "thin.png has 9x2 pixels"),
    "an unknown option": ((*SUPPORT, *GOOD, "--treshold", "1"), "no option --treshold"),
    "an unknown encoder": ((*SUPPORT, *GOOD, "--model.method.encoder", "VGG15"), "no class VGG15"),
    "no such device": ((*SUPPORT, *GOOD, "--device", "gpu9"), "device gpu9: torch has no such device"),
    "no such weights": (
        (*SUPPORT, *GOOD, "--model.method.encoder", "VGG16", "--model.method.encoder.weights", "gone.pth"),
        "weights gone.pth: no such file",
    ),
}


def test_supports_that_may_be_meant_otherwise_are_named(fsseg, pictures):
    whole = ("--support", "Red=a.png:0,0,80,60", "red=b.png:b.mask.png")
    ran = fsseg("predict", *TINY, *whole, "--query", "photos", "--out", "out")
    assert ran.code == 0, ran.err
    assert "note: the mask of a.png covers the whole image: this support shows no background." in ran.err
    assert "note: Red and red are 2 classes. Give one name if they are one." in ran.err
    strokes = np.full((60, 80), 255, dtype=np.uint8)  # not labelled, but for the object
    strokes[10:30, 12:30] = 1
    PIL.Image.fromarray(strokes).save("b.scribble.png")
    scribble = ("--support", "red=b.png:b.scribble.png")
    ran = fsseg("predict", *TINY, *ASK, *scribble, "--negative", "b.png:a.mask.png", "--out", "other")
    assert ran.code == 0, ran.err
    assert "covers the whole" not in ran.err + ran.out
    assert "2 classes" not in ran.err + ran.out


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_one_line(fsseg, pictures, mistake):
    broken(pictures)
    asked, line = MISTAKES[mistake]
    tiny = TINY if "--ckpt_path" not in asked else ()
    tiny = TINY[2:] if "VGG16" in asked or "VGG15" in asked or "--config" in asked else tiny
    tiny = TINY[4:] if "VGG16" in asked or "VGG15" in asked else tiny
    tiny = [*tiny[:-2], *asked] if "--size" in asked or "--device" in asked else [*tiny, *asked]
    ran = fsseg("predict", *tiny)
    assert ran.code == 2
    assert line in ran.line, ran.line
    assert ran.line.startswith("fsseg: ")
    assert "Traceback" not in ran.err
    assert not (pictures / "out").exists()
    assert (pictures / "full" / "mine.txt").read_text() == "mine"


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("text.jpg", "cannot be decoded"),
        ("empty.png", "cannot be decoded"),
        ("cut.jpg", "cannot be decoded"),
        ("ps.png", "cannot be decoded"),
        ("bomb.png", "400000000 pixels"),
        ("thin.png", "image thin.png has 9x2 pixels"),
    ],
)
def test_a_query_that_cannot_be_read_is_left_out_and_said(fsseg, pictures, name, line):
    broken(pictures)
    ran = fsseg("predict", *SUPPORT, "--query", name, "photos/x.png", "--out", "out", *TINY)
    assert ran.code == 2
    assert line in ran.err
    assert "1 of 2 images were left out" in ran.line
    assert [row["name"] for row in rows(pictures / "out")] == ["x"]


def test_grey_images_of_16_bits_are_scaled_and_counted(fsseg, pictures):
    with PIL.Image.open(pictures / "photos/x.png") as picture:
        grey = np.asarray(picture.convert("L"))
    low, high = int(grey.min()), int(grey.max())
    PIL.Image.fromarray(1000 + 16 * grey.astype(np.uint16)).save(pictures / "deep.png")
    PIL.Image.fromarray(np.rint((grey - low) * (255 / (high - low))).astype(np.uint8)).save(pictures / "plain.png")
    ran = fsseg("predict", *SUPPORT, "--query", "deep.png", "plain.png", "--out", "out", *TINY)
    assert ran.code == 0, ran.err
    assert "note: 1 grey image of more than 8 bits: each is scaled by its own range." in ran.err
    deep, plain = (np.asarray(PIL.Image.open(pictures / f"out/masks/{name}.png")) for name in ("deep", "plain"))
    assert np.array_equal(deep, plain)


def test_names_stay_in_the_folder(fsseg, pictures, monkeypatch):
    """A pattern that leads upwards does not write upwards."""
    inside = pictures / "inside"
    inside.mkdir()
    monkeypatch.chdir(inside)
    ask: Callable[[str], tuple[str, ...]] = lambda q: ("predict", "--support", "../a.png:../a.mask.png", "--query", q)  # noqa: E731
    assert fsseg(*ask("../photos/*.png"), "--out", "out", *TINY).code == 0
    assert sorted(p.name for p in (inside / "out" / "masks").rglob("*.png")) == ["x.png", "y.png"]
    assert not list(pictures.glob("masks"))


@pytest.mark.parametrize("missing", [("vit_",), ("vit_", "tf_")])
def test_a_smaller_encoder_takes_the_place_of_one_that_cannot_be_downloaded(fsseg, pictures, monkeypatch, missing):
    made = timm.create_model

    def create(name, pretrained=False, **options):
        if pretrained and name.startswith(missing):
            raise OSError("no network")
        return made(name, pretrained=False, **options)

    monkeypatch.setattr(timm, "create_model", create)
    ran = fsseg("predict", *ASK, "--size", "64", "--device", "cpu")
    assert "dinov2_s: 88 MB, Apache-2.0; the first use downloads it" in ran.err
    if len(missing) == 1:
        assert ran.code == 0, ran.err
        assert "kernel density ratio  tf_efficientnet_lite0.in1k" in ran.err
    else:
        assert ran.code == 2
        assert "--encoder efficientnet_lite0_levels --encoder_weights FILE" in ran.line


def test_a_checkpoint_has_its_encoder(fsseg, pictures):
    ran = fsseg("predict", *ASK, "--ckpt_path", "a.ckpt", "--encoder", "resnet18")
    assert (ran.code, ran.line) == (2, "fsseg: --ckpt_path decides the method: leave --encoder out.")
