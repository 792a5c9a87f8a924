"""`fsseg data`, as a person uses it."""

import json
import re
import shutil
import sys
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from fsseg.cli.help import COMMANDS
from fsseg.datasets import Coco, Shapes, pascal
from fsseg.datasets.pascal_pairs import published_lists
from fsseg.protocols.protocol import SPLITS
from tests.cli.conftest import TINY

DATASETS = [
    ("coco", "fake_coco", "COCO subset: 101 train and 101 val images, 80 classes"),
    ("pascal", "fake_voc", "VOC subset: 60 train and 60 val images, 20 classes"),
    ("folder", "own_maps", r"own_maps: \d+ train and \d+ val images, 5 classes"),
    ("folder", "own_classes", r"own_classes: \d+ train and \d+ val images, 5 classes"),
]


# prepare: what is there already is indexed


@pytest.mark.parametrize(("dataset", "files", "what"), DATASETS)
def test_the_second_run_says_that_all_is_prepared(fsseg, request, no_cache, dataset, files, what):
    root = request.getfixturevalue(files)
    first = fsseg("data", "prepare", dataset, "--root", str(root))
    assert first.code == 0, first.err
    assert re.match(rf"{what}; prepared in \d+\.\d s\n", first.out)
    cache = Path(re.search(r"cache: (.*)\n", first.out)[1])
    assert cache.exists()
    assert cache.parent == no_cache
    second = fsseg("data", "prepare", dataset, "--root", str(root))
    assert second.out == re.sub(r"prepared in \d+\.\d s", "already prepared", first.out)


def test_training_finds_what_was_prepared(fsseg, fake_coco, no_cache, monkeypatch):
    monkeypatch.setenv("FSSEG_DATA_ROOT", str(fake_coco))
    assert fsseg("data", "prepare", "coco", "--masks", "first_polygon_map").code == 0
    monkeypatch.setattr("fsseg.datasets.coco.read_annotations", None)
    again = fsseg("data", "prepare", "coco", "--masks=first_polygon_map", "--year", "2017")
    assert "already prepared" in again.out
    assert "COCO masks first_polygon_map" in again.out


# verify


def break_voc(root: Path) -> dict[str, str]:
    """One problem of each kind, by image."""
    folder = root / "VOC2012"
    photos, masks = folder / "JPEGImages", folder / "SegmentationClassAug"
    (photos / "2007_000001.jpg").unlink()
    (photos / "2007_000002.jpg").write_bytes((photos / "2007_000002.jpg").read_bytes()[:400])
    (masks / "2007_000003.png").unlink()
    (masks / "2008_000004.png").write_bytes((masks / "2008_000004.png").read_bytes()[:60])
    PIL.Image.new("L", (7, 5)).save(masks / "2008_000005.png")
    with PIL.Image.open(photos / "2008_000006.jpg") as photo:
        PIL.Image.new("L", photo.size, 77).save(masks / "2008_000006.png")
        PIL.Image.new("RGB", photo.size).save(masks / "2008_000007.png")
    return {
        "2007_000001": "is missing", "2007_000002": "cannot be decoded", "2007_000003": "is missing",
        "2008_000004": "cannot be decoded", "2008_000005": "its mask 7x5", "2008_000006": "holds class ids [77]",
        "2008_000007": "is a RGB image",
    }  # fmt: skip


@pytest.mark.parametrize("workers", ["0", "2"])
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_verify_names_all_that_is_wrong_and_not_the_first(fsseg, fake_voc, tmp_path, workers):
    clean = fsseg("data", "verify", "pascal", "--root", str(fake_voc), "--workers", workers)
    assert clean.code == 0, clean.err
    assert "VOC subset: clean\n" in clean.out
    assert re.search(r"train images +60  of 10,582\n", clean.out)
    assert re.search(r"masks +120  of 12,031\n", clean.out)
    expected = break_voc(fake_voc)
    ran = fsseg("data", "verify", "pascal", "--root", str(fake_voc), "--workers", workers, "--report", "report.json")
    assert ran.code == 1, ran.err
    assert "VOC subset: 7 of 120 images have problems" in ran.out
    assert "verifying VOC subset: 120 of 120 images" in ran.err
    report = json.loads((tmp_path / "report.json").read_text())
    assert not report["clean"]
    found = {problem["image"]: problem["problem"] for problem in report["problems"]}
    assert found.keys() == expected.keys()
    for image, words in expected.items():
        assert words in found[image], found[image]
        assert f"  {image}: {found[image]}\n" in ran.out
    assert report["counts"]["masks"] == {"found": 119, "official": 12_031}


def test_verify_reads_coco_and_its_annotations(fsseg, fake_coco):
    root = ("--root", str(fake_coco), "--workers", "0")
    clean = fsseg("data", "verify", "coco", *root)
    assert (clean.code, "COCO subset: clean" in clean.out) == (0, True)
    path = fake_coco / "annotations/instances_val2017.json"
    content = json.loads(path.read_text())
    content["annotations"][0]["segmentation"] = [[1, 2, 3]]
    by_id = {image["id"]: image for image in content["images"]}
    broken = by_id[content["annotations"][0]["image_id"]]["file_name"]
    by_id[520]["height"] += 1
    path.write_text(json.dumps(content))
    for name, text in ((by_id[530]["file_name"], b"no photo"), (by_id[540]["file_name"], None)):
        (fake_coco / "val2017" / name).unlink()  # a link
        if text is not None:
            (fake_coco / "val2017" / name).write_bytes(text)
    ran = fsseg("data", "verify", "coco", *root)
    assert ran.code == 1
    assert "5 of 202" not in ran.out
    assert "4 of 202 images have problems" in ran.out
    assert f"{Path(broken).stem}: annotation 1 of image {broken} has a malformed segmentation" in ran.out
    assert "its annotations are for" in ran.out
    assert "cannot be decoded" in ran.out
    assert "is missing" in ran.out


def test_verify_reads_own_images(fsseg, own_classes):
    masks = own_classes / "masks"
    PIL.Image.new("L", (3, 3), 255).save(masks / "cat" / "photo05.png")
    (own_classes / "images" / "photo06.png").write_bytes(b"text")
    ran = fsseg("data", "verify", "folder", "--root", str(own_classes), "--workers", "0")
    assert ran.code == 1
    assert "own_classes: 2 of 30 images have problems" in ran.out
    assert re.search(r"photo05: mask .* is 3x3, its image", ran.out)
    assert re.search(r"photo06: image .* cannot be decoded", ran.out)


def test_many_problems_are_cut_short_on_the_terminal(fsseg, fake_voc):
    for path in (fake_voc / "VOC2012/JPEGImages").glob("2007*.jpg"):
        path.unlink()
    ran = fsseg("data", "verify", "pascal", "--root", str(fake_voc), "--workers", "0")
    assert ran.code == 1
    assert "and 40 more; all of them in --report FILE" in ran.out


# info


@pytest.mark.slow
def test_info_counts_images_of_classes_folds_and_splits(fsseg, tmp_path):
    ran = fsseg("data", "info", "shapes", "--train", "80", "--val", "60", "--size", "32", "--out", "info.png")
    assert ran.code == 0, ran.err
    dataset = Shapes(size=32, train=80, val=60)
    dataset.open(None)
    masks = [dataset.mask(i) for i in range(140)]
    for fold in range(4):
        novel = dataset.novel(fold)
        kept = sum(not np.isin(novel, mask).any() for mask in masks[:80])
        pairs = [sum(int((mask == c).any()) for mask in part for c in novel) for part in (masks[:80], masks[80:])]
        words = f"{pairs[0]} train and {pairs[1]} val pairs; {kept} train images ({100 * kept / 80:.0f} %) show none"
        assert f"fold {fold}   novel classes: {words} of them" in ran.out
        for c in novel:
            counts = [sum(int((mask == c).any()) for mask in part) for part in (masks[:80], masks[80:])]
            assert re.search(rf"  {dataset.class_name(c)} +{counts[0]} +{counts[1]}\n", ran.out + "\n")
    with PIL.Image.open(tmp_path / "info.png") as picture:
        assert picture.width > 1000
        assert len(picture.convert("RGB").getcolors(10**6)) > 20


def test_info_of_images_that_are_all_for_testing(fsseg, own_maps, tmp_path):
    ran = fsseg("data", "info", "folder", "--root", str(own_maps), "--val_share", "1", "--out", "info.png")
    assert ran.code == 0, ran.err
    assert "0 train and 30 val images" in ran.out
    assert "0 train images (0 %) show none of them" in ran.out
    assert (tmp_path / "info.png").is_file()


def test_info_says_fold_rule_and_size_filter(fsseg, fake_coco, fake_voc):
    root = ("--root", str(fake_coco))
    plain = fsseg("data", "info", "coco", *root)
    assert "folds: classes f + 1, f + 5, f + 9 ... are in fold f (FWB, PMMs, HSNet)" in plain.out
    assert "images count for a class by: any size" in plain.out
    other = fsseg("data", "info", "coco", *root, "--fold_rule", "contiguous", "--min_pixels", "60")
    assert "folds: blocks of 20 (PANet)" in other.out
    assert "by: at least 60 pixels" in other.out
    dataset = Coco(fold_rule="contiguous")
    dataset.open(fake_coco)
    count = len(dataset.index.images(3, dataset.numbers("train"), min_pixels=60))
    assert re.search(rf"  car +{count} +\d+\n", other.out)
    voc = fsseg("data", "info", "pascal", "--root", str(fake_voc))
    assert "folds: blocks of five (OSLSM)    images count for a class by: official lists" in voc.out
    assert "by: any size" in fsseg("data", "info", "pascal", "--root", str(fake_voc), "--pairs", "any").out


def test_info_gives_the_pairs_of_the_published_lists_beside_a_whole_set(fsseg, fake_voc, monkeypatch):
    info = ("data", "info", "pascal", "--root", str(fake_voc))
    subset = fsseg(*info).out
    assert "in the published lists" not in subset
    rule = "note: pairs are by rule (OSLSM's, with its known exceptions): "
    assert f"{rule}the published lists are for the complete PASCAL-5i" in subset
    monkeypatch.setattr(pascal, "_COMPLETE", {"train": 60, "val": 60})
    whole = fsseg(*info).out
    assert re.findall(r"val pairs \((\d+) in the published lists\)", whole) == ["346", "451", "725", "346"]
    known = published_lists()
    found = re.findall(r"^  (train|val) list +([0-9a-f]{64})  published: ([0-9a-f]{64})$", whole, flags=re.MULTILINE)
    assert [(split, sha256) for split, _, sha256 in found] == [(s, known[s, f]) for f in range(4) for s in SPLITS]
    assert f"{rule}these masks are not the usual ones, so that 8 of 8 lists are" in whole
    assert "8 of 8 lists are not the published ones" in fsseg("data", "verify", *info[2:], "--workers", "0").out
    lists = dict(zip(known, [sha256 for _, sha256, _ in sorted(found, key=lambda f: f[0])], strict=True))
    monkeypatch.setattr(pascal, "compare_lists", lambda _: {key: (sha256, sha256) for key, sha256 in lists.items()})
    assert fsseg(*info).out.count("  as published\n") == 8
    assert (
        "official lists  all 8 (4 folds, 2 splits) as published"
        in fsseg("data", "verify", *info[2:], "--workers", "0").out
    )
    assert "(440 in the published lists)" in fsseg(*info, "--pairs", "any").out
    assert "published lists" not in fsseg(*info, "--min_pixels", "9").out


# show and episodes

VOC = ("--config", "experiments/panet_voc_1shot.yaml", "--data.images.size", "32", "--data.episodes.val", "4")


@pytest.mark.parametrize("stage", ["train", "val", "test"])
def test_show_draws_what_the_network_sees(fsseg, fake_voc, tmp_path, stage):
    flip = ("--data.images.augment", "[{class_path: VerticalFlip, init_args: {p: 1}}]", "--protocol.pairs", "any")
    ran = fsseg("data", "show", *VOC, "--data.root", str(fake_voc), "--stage", stage, "--count", "3", *flip)
    assert ran.code == 0, ran.err
    assert f"VOC subset fold 0, {stage} episodes as the network sees them" in ran.out
    assert (", augmented" in ran.out) == (stage == "train")
    with PIL.Image.open(tmp_path / "episodes.png") as picture:
        assert picture.size[0] > 400


def test_show_shows_weak_supports_of_own_images(fsseg, own_maps, tmp_path):
    own = (
        "--data.dataset",
        "Folder",
        "--data.root",
        str(own_maps),
        "--data.images.size",
        "32",
        "--data.episodes.val",
        "0",
    )
    ran = fsseg("data", "show", *own, "--data.images.support_annotation", "scribble", "--out", "s.png", "--count", "2")
    assert ran.code == 0, ran.err
    assert (tmp_path / "s.png").is_file()


@pytest.mark.slow
def test_the_episodes_that_are_written_are_those_of_a_test(fsseg, trained, tmp_path):
    flags = ("--data.way", "2", "--protocol.name", "panet", "--protocol.episodes", "7", "--protocol.runs", "2")
    assert fsseg("test", "--ckpt_path", str(trained), *flags, "--out", "tested").code == 0
    small = [flag for flag in TINY if flag.startswith("--data")]
    config = ("--config", "experiments/quickstart.yaml", *small)
    ran = fsseg("data", "episodes", *config, *flags)
    assert ran.code == 0, ran.err
    assert "2 x 7 episodes" in ran.out
    assert (tmp_path / "episodes.json").read_bytes() == (tmp_path / "tested/episodes.json").read_bytes()


# An own data set

OWN = """
from fsseg.datasets import Folder
from fsseg.datasets.base import Dataset


class Mine(Folder):
    def __init__(self, share=0.3, names: tuple[str, ...] = (), seed: int | None = None) -> None:
        \"\"\"Own images.\"\"\"
        super().__init__(val_share=share)
        assert isinstance(names, tuple)


class Rooted(Folder):
    def __init__(self, root: str, share: float):
        super().__init__(val_share=share)
        self.given = root


class Half(Dataset):
    pass


class Thing:
    pass
"""


@pytest.fixture
def own_module(tmp_path, monkeypatch):
    (tmp_path / "ownset.py").write_text(OWN)
    monkeypatch.setattr(sys, "path", [path for path in sys.path if path])
    yield "ownset"
    sys.modules.pop("ownset", None)


@pytest.mark.parametrize("command", ["info", "verify"])
def test_an_own_data_set_is_counted_and_verified(fsseg, own_module, own_maps, command):
    more = ("--workers", "0") if command == "verify" else ()
    known = fsseg("data", command, "folder", "--root", str(own_maps), "--val_share", "0.5", *more)
    own = fsseg("data", command, "ownset.Mine", "--root", str(own_maps), "--share", "0.5", "--names=[a,b]", *more)
    assert own.code == known.code == 0, own.err
    assert own.out == known.out
    page = fsseg("data", command, "ownset.Mine", "--help").out
    assert "--share X" in page
    assert "--names LIST" in page


def test_an_own_data_set_gets_the_root_in_its_constructor_too(fsseg, own_module, own_maps):
    found = fsseg("data", "info", "ownset.Rooted", "--root", str(own_maps), "--share", "0.5")
    assert found.code == 0, found.err


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("info", "ownset.Mine", "--shar", "1"), "no option --shar. Did you mean --share?"),
        (("info", "ownset.Mine", "--share", "half"), "--share half: a number is needed"),
        (("info", "ownset.Mine"), "data info needs --root DIR (or FSSEG_DATA_ROOT)"),
        (("info", "ownset.Rooted", "--root", "x"), "data info: missing: --share"),
        (
            ("info", "ownset.Half"),
            "ownset.Half cannot be built, because it lacks image, image_name, mask, numbers",
        ),
        (("info", "ownset.Thing"), "ownset.Thing is no data set. Derive it from fsseg.datasets.Dataset."),
        (("info", "ownset.Min"), "module ownset has no class Min. Did you mean Mine?"),
        (("verify", "nowhere.Mine"), "nowhere.Mine cannot be imported: No module named 'nowhere'."),
        (("prepare", "ownset.Mine", "--root", "x"), "data prepare: ownset.Mine is your own class, which needs no"),
        (
            ("info", "voc", "--root", "x"),
            "no data set 'voc'. One of pascal, coco, folder, coco_json, labelling, shapes. Your own",
        ),
    ],
)
def test_what_is_no_own_data_set_is_one_line(fsseg, own_module, arguments, expected):
    ran = fsseg("data", *arguments)
    assert (ran.code, ran.err.count("\n")) == (2, 1)
    assert expected in ran.line


# Help and bad input


@pytest.mark.parametrize("arguments", [("data",), ("data", "--help")])
def test_help_names_the_commands(fsseg, arguments):
    ran = fsseg(*arguments)
    assert ran.code == 0
    commands = [name for name in COMMANDS if name.startswith("data ")]
    assert all(command in ran.out and command.split()[1] in fsseg("--help").out for command in commands)


def test_help_of_a_data_set_has_the_arguments_of_its_class(fsseg):
    plain = fsseg("data", "info", "--help").out
    assert "--root DIR" in plain
    assert "--year" not in plain
    page = fsseg("data", "info", "coco", "--help").out
    assert "--year 2017|2014" in page
    assert "ids f + 1, f + 5, f + 9" in page  # of the docstring
    assert "(interleaved)" in page  # the default
    assert "--folds N|LIST" in fsseg("data", "verify", "folder", "--help").out


COCO = ("coco", "--root", "x")


FEW = ("shapes", "--train", "60", "--val", "60", "--size", "32")
SOME = (
    "--data.dataset",
    "Shapes",
    "--data.dataset.train",
    "60",
    "--data.dataset.val",
    "60",
    "--data.dataset.size",
    "32",
)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("prepar",), "no command 'data prepar'. Did you mean prepare? Commands: prepare, verify, info"),
        (("prepare",), "needs a data set: fsseg data prepare pascal|coco|folder|coco_json|labelling|shapes"),
        (("prepare", "--root", "x"), "data prepare needs a data set"),
        (("prepare", "coco"), "data prepare needs --root DIR (or FSSEG_DATA_ROOT)"),
        (("prepare", "voc", "--root", "x"), "data prepare: no data set 'voc'. One of pascal, coco"),
        (("info", "pascl", "--root", "x"), "data info: no data set 'pascl'. Did you mean pascal?"),
        (("prepare", "coco", "--root"), "--root"),
        (("prepare", *COCO, "--yeer", "3"), "no option --yeer."),
        (("prepare", *COCO, "more"), "'more' is one argument too many."),
        (("prepare", *COCO, "--year", "2015"), "--year 2015: one of 2017, 2014 is needed"),
        (("prepare", *COCO, "--year", "new"), "--year new: one of 2017, 2014 is needed"),
        (("prepare", *COCO, "--masks", "round"), "--masks round: one of exact, first_polygon_convex"),
        (("prepare", *COCO, "--crowds", "drop"), "--crowds drop: one of include, ignore is needed"),
        (("prepare", *COCO, "--archives", "nowhere"), "--archives nowhere: no such folder."),
        (("info", *COCO), "--root x is no COCO tree"),
        (("verify", *COCO), "--root x is no COCO tree"),
        (("verify", "pascal", "--root", "x"), "--root x is no VOCdevkit"),
        (("verify", "pascal", "--root", "x", "--workers", "-1"), "--workers -1: at least 0 is needed."),
        (("prepare", "pascal", "--root", ""), "--root is empty: the data set's folder is needed"),
        (("verify", "folder", "--root", "x"), "--root x has no folder images"),
        (("info", "coco_json", "--root", "x"), "annotations.json is missing: give the annotation file"),
        (("info", *FEW, "--pairs", "some"), "--pairs some: one of any, official is needed"),
        (("info", *FEW, "--pairs", "official"), "official pairs exist for PASCAL-5i"),
        (("info", *FEW, "--min_pixels", "0"), "min_pixels 0: at least 1 is needed"),
        (("info", *FEW, "--out", "no/where.png"), "--out no/where.png cannot be written"),
        (("info", *FEW, "--out", "info.doc"), "--out info.doc cannot be written: Format 'doc' is not supported"),
        (("prepare", "shapes", "--size", "3"), "--size 3: at least 8 is needed."),
        (("show",), "data show needs --config FILE or --data.dataset NAME."),
        (("show", "--config", "nope.yaml"), "--config nope.yaml: no such file."),
        (("show", "--config", "experiments/panet_voc_1shot.yaml"), "PASCAL-5i needs --data.root DIR"),
        (("show", "--data.dataset", "Shapes", "--data.fold", "9"), "--data.fold 9: Shapes has folds 0 to 3"),
        (("show", "--data.dataset", "Shapes", "--data.foldd", "1"), "no option --data.foldd. Did you mean --data.fo"),
        (("show", "--data.dataset", "Shapes", "--stage", "fit"), "--stage fit: one of train, val, test is needed."),
        (("show", "--data.dataset", "Shapes", "--count", "0"), "--count 0: at least 1 is needed."),
        (("show", *SOME, "--stage", "val", "--data.episodes.val", "0"), "--stage val has no"),
        (("show", *SOME, "--out", "no/where.png"), "--out no/where.png cannot be written"),
        (("show", *SOME, "--out", "sheet.doc"), "--out sheet.doc cannot be written"),
        (("episodes", *SOME, "--out", "no/where.json"), "no/where.json cannot be written"),
    ],
)  # fmt: skip
def test_one_line_and_exit_code_2(fsseg, tmp_path, arguments, expected):
    ran = fsseg("data", *arguments)
    assert ran.code == 2
    assert expected in ran.line
    assert "--data.root" not in ran.line or "show" in arguments
    assert "Traceback" not in ran.err
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_a_report_that_cannot_be_written(fsseg, fake_voc):
    ran = fsseg("data", "verify", "pascal", "--root", str(fake_voc), "--workers", "0", "--report", "no/where.json")
    assert (ran.code, "--report no/where.json cannot be written" in ran.line) == (2, True)


def test_a_cache_folder_that_cannot_be_written_is_said(fsseg, fake_coco, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    ran = fsseg("data", "prepare", "coco", "--root", str(fake_coco))
    assert (ran.code, "cannot be written, nothing was cached. Set XDG_CACHE_HOME" in ran.line) == (2, True)
    shutil.rmtree(fake_coco)
