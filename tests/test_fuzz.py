"""Broken and hostile files, thousands of them: each is read, or refused in one line; in bounded time and memory.

A few of each kind here; ``make fuzz`` tries as many as FSSEG_FUZZ says, others at each start.
"""

import copy
import csv
import io
import json
import os
import resource
import string
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
import torch
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pycocotools import mask as rle

from fsseg.cli.table import make_grids
from fsseg.datasets import CocoJson, Folder, LabellingExport, Pascal, Shapes
from fsseg.datasets.mask_store import load as load_regions
from fsseg.disk_cache import cached
from fsseg.encoders import ConvNet
from fsseg.encoders.weights import load_pretrained
from fsseg.episodes.episode_file import load
from fsseg.errors import FssegError
from fsseg.experiment.replay import queries_of, read_test
from fsseg.experiment.session import settled
from fsseg.files.annotation_json import read_marks
from fsseg.files.images import image_size, read_image
from fsseg.files.masks import read_labels, read_region
from fsseg.jobs.sweep import read_sweep
from fsseg.methods import PANet
from fsseg.results.classes import make_class_grid
from fsseg.results.formats import FORMATS
from fsseg.results.results import find_results
from fsseg.runs.resume import finished
from fsseg.runs.training_logs import read_logs
from fsseg.segmenter import Segmenter
from fsseg.untrusted.card import checked as checked_card
from fsseg.untrusted.card import read_card
from fsseg.untrusted.configuration import stored
from fsseg.zoo.index import read_index
from fsseg.zoo.places import place
from fsseg.zoo.readme import command_of_test, readme_text
from tests.conftest import write_folder
from tests.datasets import exports
from tests.datasets.test_coco_json import write as write_annotations
from tests.results.folders import make_test
from tests.zoo.conftest import card as card_of_zoo
from tests.zoo.conftest import index as index_of_zoo

SHELL = string.ascii_letters + string.digits + " ._-"  # letters of a command that mean nothing to a shell
MANY = int(os.environ.get("FSSEG_FUZZ", "0"))
SECONDS, MEGABYTES, LETTERS = 20, 1500, 7000  # of one file, and of what is said of it, at most

ODD = [
    None, True, False, 0, 1, -1, 255, 10**9, 10**12, 10**30, -(10**30), 0.5, 1e308, -1e-308, float("nan"), float("inf"),
    "", "x", "0", "../../etc/passwd", "/etc/passwd", "\x00", "\x1b[31m", "a\nb", "ä€𝄞\u202e", "x" * 5000, "${HOME}",
    "!!python/object", [], {}, [[]], [None], {"": None}, {"class_path": "os.system"}, [0, 0, 0, 0], [1e300, -1e300],
    json.loads("[" * 50 + "]" * 50),
]  # fmt: skip


def tries(few: int) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """So many examples, always the same; or as many as `make fuzz` asks for."""
    checks = [HealthCheck.too_slow, HealthCheck.function_scoped_fixture, HealthCheck.data_too_large]
    return settings(
        max_examples=MANY or few, derandomize=not MANY, deadline=None, database=None, suppress_health_check=checks,
        print_blob=bool(MANY),
    )  # fmt: skip


def tame(read: Callable[[], Any]) -> None:
    """It works, or is refused in a line; soon, and without gigabytes."""
    begun, before = time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    said = "read"
    try:
        read()
    except FssegError as error:
        said = str(error)
    assert 0 < len(said) < LETTERS
    assert "Traceback" not in said
    assert time.process_time() - begun < SECONDS
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < MEGABYTES << 10


@st.composite
def bytes_of(draw: st.DrawFn, original: bytes) -> bytes:
    """A file whose bytes were cut off, changed, put in, taken out or doubled."""
    content = bytearray(original)
    for _ in range(draw(st.integers(1, 4))):
        place = draw(st.integers(0, max(len(content) - 1, 0)))
        end = min(len(content), place + draw(st.integers(1, 64)))
        match draw(st.sampled_from(["cut", "flip", "flip", "insert", "drop", "double", "zero", "random"])):
            case "cut":
                del content[place:]
            case "flip" if content:
                content[place] ^= 1 << draw(st.integers(0, 7))
            case "insert":
                content[place:place] = draw(st.binary(min_size=1, max_size=32))
            case "drop":
                del content[place:end]
            case "double":
                content[place:place] = content[place:end]
            case "zero":
                content[place:end] = draw(st.sampled_from([b"\x00", b"\xff"])) * (end - place)
            case "random":
                content[place:end] = draw(st.binary(min_size=end - place, max_size=end - place))
    return bytes(content)


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Paths to all parts of a nested value."""
    keys = list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    return [path, *(place for key in keys for place in places(value[key], (*path, key)))]


@st.composite
def shapes_of(draw: st.DrawFn, original: Any) -> Any:
    """A nested value some of whose parts are others, missing, doubled, or called otherwise."""
    whole = [copy.deepcopy(original)]
    for _ in range(draw(st.integers(1, 3))):
        *path, key = draw(st.sampled_from(places(whole)[1:]))
        holder = whole
        for step in path:
            holder = holder[step]
        match draw(st.sampled_from(["other", "other", "other", "drop", "double", "rename", "swap"])):
            case "drop" if path:
                del holder[key]
            case "double" if isinstance(holder, list) and path:
                holder.insert(key, copy.deepcopy(holder[key]))
            case "rename" if isinstance(holder, dict):
                holder[draw(st.sampled_from(["", "x", "id", "classes", "\x00"]))] = holder.pop(key)
            case "swap":
                *other, name = draw(st.sampled_from(places(whole)[1:]))
                source = whole
                for step in other:
                    source = source[step]
                holder[key] = copy.deepcopy(source[name])
            case _:
                holder[key] = copy.deepcopy(draw(st.sampled_from(ODD)))
        if not whole or len(places(whole)) < 2:
            break
    return whole[0] if whole else None


def json_of(original: Any) -> st.SearchStrategy[bytes]:
    """JSON, changed as a value or as text."""
    return st.one_of(
        shapes_of(original).map(lambda value: json.dumps(value).encode()), bytes_of(json.dumps(original).encode())
    )


def yaml_of(original: Any) -> st.SearchStrategy[bytes]:
    """YAML, likewise."""
    return st.one_of(
        shapes_of(original).map(lambda value: yaml.safe_dump(value, allow_unicode=True).encode()),
        bytes_of(yaml.safe_dump(original).encode()),
    )


def picture(kind: str, mode: str) -> bytes:
    buffer = io.BytesIO()
    array = np.random.default_rng(0).integers(0, 3, (20, 30, 3) if mode == "RGB" else (20, 30), dtype=np.uint8)
    PIL.Image.fromarray(array).convert(mode).save(buffer, kind)
    return buffer.getvalue()


PICTURES = [picture("PNG", "P"), picture("PNG", "L"), picture("JPEG", "RGB"), picture("TIFF", "L"),
            picture("WEBP", "RGB"), picture("BMP", "P"), picture("GIF", "P")]  # fmt: skip


@given(content=st.sampled_from(PICTURES).flatmap(bytes_of))
@tries(60)
@pytest.mark.filterwarnings("ignore")
@pytest.mark.slow
def test_pictures(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "picture.png"
    path.write_bytes(content)
    for read in (read_labels, read_region, read_image, image_size):
        tame(lambda read=read: read(path))
    tame(lambda: read_image(path, upright=True))


MARKS = {
    "imageHeight": 20, "imageWidth": 30,
    "shapes": [{"label": "cat", "shape_type": kind, "points": [[2, 3], [20, 12], [5, 16]]}
               for kind in ("polygon", "circle", "rectangle", "line", "linestrip", "points")],
    "boxes": [{"class": "cat", "box": [1, 2, 9, 9]}], "points": [{"class": "background", "point": [5, 5]}],
}  # fmt: skip


@given(content=json_of(MARKS))
@tries(80)
@pytest.mark.slow
def test_marks(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "marks.json"
    path.write_bytes(content)
    tame(lambda: read_marks(path, {"cat": 1}).paint(20, 30))


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("own")
    write_folder(root / "folder", count=12)
    path = write_annotations(root / "coco")
    content = json.loads(path.read_text())
    encoded = {"size": [20, 30], "counts": [100, 50, 450]}
    content["annotations"][0].update(segmentation=encoded, iscrowd=1)
    content["annotations"][2].update(segmentation=rle.frPyObjects(encoded, 20, 30))
    content["annotations"][2]["segmentation"]["counts"] = content["annotations"][2]["segmentation"]["counts"].decode()
    (root / "original.json").write_text(json.dumps(content))
    return root


@pytest.fixture(scope="module")
def of_programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("programs")
    for program, write in exports.WRITERS.items():
        write(root / program)
    for path in [*root.glob("*/*.json"), *root.glob("*/*.xml"), *root.glob("yolo/labels/train/*0.txt")]:
        (root / f"{path.parent.name}-{path.name}").write_bytes(path.read_bytes())
    return root


@given(data=st.data())
@tries(25)
@pytest.mark.parametrize(
    "file", ["labelme/img 0.json", "cvat/annotations.xml", "label_studio/*.json", "yolo/labels/train/img 0.txt"]
)
def test_exports_of_labelling_programs(data: st.DataObject, file: str, of_programs: Path) -> None:
    path = next(of_programs.glob(file))
    original = (of_programs / f"{path.parent.name}-{path.name}").read_bytes()
    path.write_bytes(data.draw(json_of(json.loads(original)) if path.suffix == ".json" else bytes_of(original)))
    root = of_programs / Path(file).parts[0]

    def read() -> None:
        dataset = LabellingExport(val_share=0.5, folds=1)
        dataset.open(root)
        for number in [*dataset.numbers("train"), *dataset.numbers("val")]:
            dataset.episode_mask(number, (1,))

    tame(read)


CLASSES = {
    "classes": {1: "cat", 2: "dog", 3: "fish", 4: "newt", 5: "bird"},
    "folds": [["cat", "dog"], ["fish", "newt", "bird"]],
}


@given(content=yaml_of(CLASSES))
@tries(40)
def test_classes_of_a_folder(content: bytes, own: Path) -> None:
    (own / "folder/classes.yaml").write_bytes(content)
    tame(lambda: Folder().open(own / "folder"))


@given(data=st.data())
@tries(40)
def test_annotations_of_coco(data: st.DataObject, own: Path) -> None:
    original = json.loads((own / "original.json").read_text())
    (own / "coco/annotations.json").write_bytes(data.draw(json_of(original)))

    def read() -> None:
        dataset = CocoJson(masks=data.draw(st.sampled_from(["exact", "first_polygon_convex", "first_polygon_map"])))
        dataset.open(own / "coco")
        for number in [*dataset.numbers("train"), *dataset.numbers("val")]:
            dataset.episode_mask(number, (1,))

    def check() -> None:
        dataset = CocoJson()
        dataset.locate(own / "coco")
        for number in [*dataset.numbers("train"), *dataset.numbers("val")]:
            tame(partial(dataset.check, number))

    tame(read)
    tame(check)


@given(content=bytes_of(b"2007_000000\n2007_000001\n/JPEGImages/2007_000002.jpg /x/2007_000002.png\n"))
@tries(20)
def test_lists_of_voc(content: bytes, tmp_path_factory: pytest.TempPathFactory) -> None:
    root = tmp_path_factory.getbasetemp() / "lists"
    for part in ("JPEGImages", "SegmentationClassAug", "ImageSets/Segmentation"):
        (root / part).mkdir(parents=True, exist_ok=True)
    (root / "ImageSets/Segmentation/val.txt").write_text("2008_000000\n")
    (root / "ImageSets/Segmentation/trainaug.txt").write_bytes(content)
    tame(lambda: Pascal().open(root))


EPISODES = {
    "format": "fsseg episodes 1", "dataset": "Shapes", "protocol": "fsseg#9dd814", "way": 1, "shot": 1, "query": 1,
    "runs": [[{"classes": ["square"], "support": [["a"]], "query": ["b"], "query_way": [0]} for _ in range(2)]] * 2,
}  # fmt: skip


@pytest.fixture(scope="module")
def shapes() -> Shapes:
    dataset = Shapes(size=32, train=60, val=60)
    dataset.open(None)
    return dataset


@given(data=st.data())
@tries(60)
def test_lists_of_episodes(data: st.DataObject, shapes: Shapes, tmp_path: Path) -> None:
    class_id = shapes.novel(0)[0]
    names = [shapes.image_name(int(n)) for n in shapes.index.images(class_id, shapes.numbers("val"))[:2]]
    original = copy.deepcopy(EPISODES)
    for episode in (episode for run in original["runs"] for episode in run):  # type: ignore[attr-defined]
        episode.update(classes=[shapes.class_name(class_id)], support=[names[:1]], query=names[1:])
    path = tmp_path / "episodes.json"
    path.write_bytes(data.draw(json_of(original)))
    tame(lambda: load(path, shapes, shapes.novel(0), (1, 1, 1)))


CONFIG = {
    "seed_everything": 0,
    "model": {"method": {"class_path": "fsseg.methods.PANet", "init_args": {
                 "encoder": {"class_path": "fsseg.encoders.ConvNet", "init_args": {"widths": [8]}}}},
              "optimizer": {"class_path": "torch.optim.SGD", "init_args": {"lr": 0.1}}},
    "data": {"dataset": {"class_path": "fsseg.datasets.Shapes", "init_args": {"size": 32}}, "shot": 1,
             "images": {"augment": [{"class_path": "albumentations.HorizontalFlip"}]}},
    "trainer": {"max_steps": 4, "logger": True}, "protocol": {"name": "fsseg"}, "checkpoint": {"dirpath": None},
}  # fmt: skip
CARD = {"version": "0.1", "config": yaml.safe_dump(CONFIG), "dataset": "Shapes", "fold": 0, "trained_on": ["circle"],
        "selection": "last"}  # fmt: skip
CHECKPOINT = {"fsseg": CARD, "state_dict": {"method.w": torch.zeros(2)}, "global_step": 4, "epoch": 0,
              "pytorch-lightning_version": "2.6.0"}  # fmt: skip


def saved(content: Any, **how: Any) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer, **how)
    return buffer.getvalue()


CHECKPOINTS = [saved(CHECKPOINT), saved(CHECKPOINT, _use_new_zipfile_serialization=False)]


@given(content=st.one_of(st.sampled_from(CHECKPOINTS).flatmap(bytes_of), shapes_of(CHECKPOINT).map(saved)))
@tries(80)
@pytest.mark.filterwarnings("ignore")
def test_checkpoints(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "last.ckpt"
    path.write_bytes(content)
    tame(lambda: read_card(str(path)))
    tame(lambda: load_pretrained(torch.nn.Linear(2, 1), "vgg16", str(path)))


def segmenter_content() -> dict[str, Any]:
    segmenter = Segmenter(PANet(ConvNet(widths=(8,), strides=(4,), convolutions=1)), 32, device="cpu")
    segmenter.learn(np.zeros((9, 9, 3), np.uint8), np.eye(9, dtype=np.uint8), "cat")
    with tempfile.TemporaryDirectory() as folder:
        segmenter.save(Path(folder) / "x")
        content: dict[str, Any] = torch.load(Path(folder) / "x", weights_only=True)
    return content


SEGMENTER = segmenter_content()


@given(content=st.one_of(st.just(saved(SEGMENTER)).flatmap(bytes_of), shapes_of(SEGMENTER).map(saved)))
@tries(60)
@pytest.mark.filterwarnings("ignore")
@pytest.mark.slow
def test_segmenters(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "x.fsseg"
    path.write_bytes(content)
    tame(lambda: Segmenter.load(path, "cpu").segment(np.zeros((9, 12, 3), np.uint8)))


@given(card=shapes_of(CARD), config=yaml_of(CONFIG))
@tries(80)
@pytest.mark.slow
def test_cards(card: Any, config: bytes) -> None:
    text = config.decode(errors="replace")
    tame(lambda: checked_card("x", {**CHECKPOINT, "fsseg": card}))
    tame(lambda: checked_card("x", {**CHECKPOINT, "fsseg": {**CARD, "config": text}}))
    tame(lambda: stored(text, "x", Path()))


@given(content=yaml_of(CONFIG))
@tries(12)
@pytest.mark.filterwarnings("ignore")
@pytest.mark.slow
def test_experiments(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "experiment.yaml"
    path.write_bytes(content)
    tame(lambda: settled("fit", ["--config", str(path)]).__enter__())


SWEEP = {
    "program": "fsseg", "method": "random", "metric": {"name": "val/mean_iou", "goal": "maximize"}, "run_cap": 5,
    "command": ["${env}", "fsseg", "fit", "--config", "x.yaml", "${args}"],
    "parameters": {
        "a": {"values": [1, 2]}, "b": {"value": 3}, "c": {"min": 0, "max": 3}, "d": {"min": 0.1, "max": 0.3},
        "e": {"distribution": "q_uniform", "min": 0, "max": 1, "q": 0.1},
        "f": {"distribution": "log_uniform_values", "min": 0.1, "max": 0.3},
        "g": {"distribution": "normal", "mu": 1, "sigma": 2}, "h": {"values": [1, 2], "probabilities": [0.5, 0.5]},
    },
}  # fmt: skip


@given(content=yaml_of(SWEEP), method=st.sampled_from(["random", "grid"]))
@tries(80)
def test_sweeps(content: bytes, method: str, tmp_path: Path) -> None:
    path = tmp_path / "sweep.yaml"
    path.write_bytes(content.replace(b"method: random", f"method: {method}".encode()))

    def read() -> None:
        sweep = read_sweep(path)
        for point in sweep.points(20, 0):
            sweep.arguments(point)

    tame(read)


@pytest.fixture(scope="module")
def tested(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any, bytes]:
    folder = tmp_path_factory.mktemp("tested")
    make_test(folder / "test")
    folder = folder / "test"
    return folder, json.loads((folder / "table.json").read_text()), (folder / "rows.csv").read_bytes()


def csv_of(original: bytes) -> st.SearchStrategy[bytes]:
    """CSV, with other cells or other bytes."""

    def text(lines: list[list[Any]]) -> bytes:
        buffer = io.StringIO()
        csv.writer(buffer).writerows(line if isinstance(line, list) else [line] for line in lines or [])
        return buffer.getvalue().encode(errors="replace")

    lines = [list(line) for line in csv.reader(original.decode().splitlines())]
    return st.one_of(shapes_of(lines).map(lambda v: text(v if isinstance(v, list) else [[v]])), bytes_of(original))


@given(data=st.data())
@tries(40)
@pytest.mark.filterwarnings("ignore")
def test_folders_of_tests(data: st.DataObject, tested: tuple[Path, Any, bytes]) -> None:
    folder, table, rows = tested
    both = data.draw(st.sampled_from(["table", "rows", "both"]))
    for name, content in (("table.json", json.dumps(table).encode()), ("rows.csv", rows)):
        (folder / name).write_bytes(content)
    if both != "rows":
        (folder / "table.json").write_bytes(data.draw(json_of(table)))
    if both != "table":
        (folder / "rows.csv").write_bytes(data.draw(csv_of(rows)))
    (folder / "config.yaml").touch()
    (folder / "episodes.json").touch()

    def read() -> None:
        results = find_results([folder])
        for grid in [*make_grids(results, None, intervals=True), make_class_grid(results)]:
            for write in FORMATS.values():
                write(grid, True)

    tame(read)
    tame(lambda: read_test(folder))
    tame(lambda: queries_of(find_results([folder])[0].rows))


@given(content=json_of(json.loads(index_of_zoo(card_of_zoo(), card_of_zoo("b", tests=[])))))
@tries(60)
def test_indexes_of_a_zoo(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "index.json").write_bytes(content)

    def read() -> None:
        for entry in read_index(place(str(tmp_path))).values():
            front = yaml.safe_load(readme_text(entry.card).split("---\n")[1])
            assert front["library_name"] == "fsseg"
            for test in entry.card.tests:
                assert set(command_of_test("x", entry.card, test)) <= set(SHELL)

    tame(read)


LOG = b"epoch,step,train/loss,val/mean_iou\n0,1,0.5,\n0,2,0.4,\n1,3,,0.3\n"


@given(log=csv_of(LOG), run=json_of({"steps": 4, "seconds": 1.5, "command": "fsseg fit"}))
@tries(40)
def test_logs(log: bytes, run: bytes, tmp_path: Path) -> None:
    (tmp_path / "logs/version_0").mkdir(parents=True, exist_ok=True)
    (tmp_path / "logs/version_x").mkdir(parents=True, exist_ok=True)
    (tmp_path / "logs/version_0/metrics.csv").write_bytes(log)
    (tmp_path / "logs/version_x/metrics.csv").write_bytes(log)
    (tmp_path / "run.json").write_bytes(run)
    tame(lambda: read_logs(tmp_path))
    tame(lambda: finished(tmp_path))


@given(data=st.data())
@tries(40)
def test_caches(data: st.DataObject, own: Path) -> None:
    arrays = {"pixels": np.arange(12, dtype=np.int32).reshape(4, 3)}

    def read() -> Any:
        return cached("fuzz", [], lambda: arrays, {"pixels": (4, 3)})

    path = read().cache
    path.unlink()
    read()
    path.write_bytes(data.draw(bytes_of(path.read_bytes())))
    tame(read)
    assert read().arrays["pixels"].shape == (4, 3)


@given(data=st.data())
@tries(40)
@pytest.mark.slow
def test_caches_of_regions(data: st.DataObject, own: Path) -> None:
    (own / "coco/annotations.json").write_bytes((own / "original.json").read_bytes())
    dataset = CocoJson()
    dataset.open(own / "coco")
    folder = dataset.index.cache
    assert folder is not None
    name = data.draw(st.sampled_from(sorted(path.name for path in folder.iterdir())))
    before = (folder / name).read_bytes()
    try:
        (folder / name).write_bytes(data.draw(bytes_of(before)))

        def read() -> None:
            try:
                regions = load_regions(folder)
            except (OSError, ValueError):  # made anew
                return
            for number in range(len(regions)):
                for class_id in regions.class_ids(number):
                    regions.region(number, class_id)
                regions.boxes(number, 1)

        tame(read)
    finally:
        (folder / name).write_bytes(before)
