"""What every test shares: a quiet machine, checked shapes, golden values, and a fake VOC tree."""

import json
import os
import shutil
import signal
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

# Before torch is imported, and inherited by the processes that tests start.
os.environ["OMP_NUM_THREADS"] = "1"
os.environ["WANDB_MODE"] = "disabled"
os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"
os.environ["XDG_CACHE_HOME"] = tempfile.mkdtemp(prefix="fsseg-tests-")
os.environ["HYPOTHESIS_STORAGE_DIRECTORY"] = os.environ["XDG_CACHE_HOME"]
os.environ.pop("FSSEG_DATA_ROOT", None)

import numpy as np
import PIL.Image
import pytest
import torch
from hypothesis import settings
from jaxtyping import install_import_hook
from pycocotools import mask as mask_code

torch.set_num_threads(1)
settings.register_profile("fixed", derandomize=True, deadline=None, database=None)
settings.load_profile("fixed")

_TENSOR_MODULES = ("episode", "ops", "losses", "metrics", "methods", "encoders", "plots", "segmenter")
install_import_hook([f"fsseg.{module}" for module in _TENSOR_MODULES], "beartype.beartype")

if TYPE_CHECKING:
    from fsseg.episode import Batch

ROOT = Path(__file__).parents[1]
SEED = int(os.environ.get("FSSEG_TEST_SEED") or 0)  # of networks and batches; each test holds whatever it is
SHARED = Path(os.environ.get("FSSEG_SHARED") or ROOT.parent / "shared")


def needs(module: str, extra: str) -> Any:
    """A module of an optional extra; a test that asks for it is skipped where the extra is not installed."""
    return pytest.importorskip(module, reason=f"needs fsseg[{extra}]: {module} is not installed")


def pytest_configure() -> None:
    """What a shell starts with "&" ignores SIGINT, what nohup starts SIGHUP: tests and their processes do not."""
    for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP):
        if signal.getsignal(number) == signal.SIG_IGN:
            signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)


def pytest_unconfigure() -> None:
    shutil.rmtree(os.environ["XDG_CACHE_HOME"], ignore_errors=True)


# Every case of these tests is a command, or a page, of its own and takes a third of a second: the fast suite has the
# first of each.
_COMMANDS = ("tests/cli/", "tests/test_docs.py", "tests/demo/test_files.py")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    seen = set()
    for item in items:
        if "oracle_folder" in getattr(item, "fixturenames", ()):
            item.add_marker("oracle")
        test = item.nodeid.partition("[")[0]
        if test.startswith(_COMMANDS) and test in seen:
            item.add_marker("slow")
        seen.add(test)
    # Two processes are at work for a minute before the first test about them: no other worker shall steal the last.
    items.sort(key=lambda item: "work" not in getattr(item, "fixturenames", ()))


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(SEED)


@pytest.fixture(scope="session")
def oracle_folder() -> Path:
    """Golden values of the official codes; README.md there says where they come from."""
    return ROOT / "tests" / "golden"


@pytest.fixture(scope="session")
def oracle(oracle_folder: Path) -> Callable[[str], dict[str, np.ndarray]]:
    """Loads the arrays of ``golden/NAME.npz``."""

    def load(name: str) -> dict[str, np.ndarray]:
        with np.load(oracle_folder / f"{name}.npz", allow_pickle=False) as stored:
            return dict(stored)

    return load


def write_image(folder: Path, name: str, mask: np.ndarray, random: np.random.Generator) -> None:
    """An image and its mask as VOC stores them: JPEG, and PNG with a palette."""
    image = random.integers(0, 256, (*mask.shape, 3), dtype=np.uint8)
    PIL.Image.fromarray(image).save(folder / "JPEGImages" / f"{name}.jpg")
    picture = PIL.Image.fromarray(mask).convert("P")
    picture.putdata(mask.ravel().tolist())
    picture.putpalette([(37 * i) % 256 for i in range(768)])
    picture.save(folder / "SegmentationClassAug" / f"{name}.png")


@pytest.fixture(scope="session")
def _voc_original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("voc")
    folder, random = root / "VOC2012", np.random.default_rng(0)
    for part in ("JPEGImages", "SegmentationClassAug", "ImageSets/SegmentationAug"):
        (folder / part).mkdir(parents=True)
    for split, year in (("train_aug", 2007), ("val", 2008)):
        names = [f"{year}_{i:06d}" for i in range(60)]
        for i, name in enumerate(names):
            mask = np.zeros((24 + i % 5, 30 - i % 7), dtype=np.uint8)
            # Every class is in six images; neighbours share images.
            for class_id, left in ((i % 20 + 1, 1), ((i % 20 + 1 + i // 20) % 20 + 1, 13)):
                mask[4:15, left : left + 9] = 255
                mask[5:14, left + 1 : left + 8] = class_id
            write_image(folder, name, mask, random)
        (folder / "ImageSets" / "SegmentationAug" / f"{split}.txt").write_text("\n".join(names) + "\n")
    return root


@pytest.fixture
def fake_voc(_voc_original: Path, tmp_path: Path) -> Path:
    """A folder that holds ``VOC2012``: 60 train and 60 val images of different sizes; a test may break its copy."""
    return shutil.copytree(_voc_original, tmp_path / "voc")


OWN_CLASSES = ("cat", "dog", "fish", "newt", "bird")


def write_folder(root: Path, per_class: bool = False, count: int = 30) -> None:
    """A data set of one's own: photos with two classes each, label maps or a folder of masks per class."""
    random = np.random.default_rng(1)
    (root / "images").mkdir(parents=True)
    for i in range(count):
        height, width = 26 + i % 4, 30 - i % 3
        photo = PIL.Image.fromarray(random.integers(0, 256, (height, width, 3), dtype=np.uint8))
        photo.save(root / "images" / f"photo{i:02d}.{'png' if i % 4 else 'jpg'}")
        first, second = i % 5, (i + 1 + i // 5 % 4) % 5
        left, right = np.zeros((2, height, width), dtype=np.uint8)
        left[4:20, 3:15], right[8:22, 11 if per_class else 16 : 27] = 1, 1  # folders of classes may overlap
        if per_class:
            for class_id, region in ((first, left), (second, right)):
                folder = root / "masks" / OWN_CLASSES[class_id]
                folder.mkdir(parents=True, exist_ok=True)
                PIL.Image.fromarray(region * 255).save(folder / f"photo{i:02d}.png")
        else:
            (root / "masks").mkdir(exist_ok=True)
            mask = np.where(left, first + 1, np.where(right, second + 1, 0)).astype(np.uint8)
            mask[:2] = 255
            PIL.Image.fromarray(mask).save(root / "masks" / f"photo{i:02d}.png")
    if not per_class:
        (root / "classes.yaml").write_text("classes: [cat, dog, fish, newt, bird]\nfolds: 2\n")


@pytest.fixture(scope="session")
def _folder_originals(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("own")
    write_folder(root / "maps")
    write_folder(root / "classes", per_class=True)
    return root


@pytest.fixture
def own_maps(_folder_originals: Path, tmp_path: Path) -> Path:
    """30 photos with label maps; a test may change its copy."""
    return shutil.copytree(_folder_originals / "maps", tmp_path / "own_maps")


@pytest.fixture
def own_classes(_folder_originals: Path, tmp_path: Path) -> Path:
    """30 photos with a folder of masks per class; a test may change its copy."""
    return shutil.copytree(_folder_originals / "classes", tmp_path / "own_classes")


CATEGORY_IDS = sorted(set(range(1, 91)) - {12, 26, 29, 30, 45, 66, 68, 69, 71, 83})  # COCO's; they have gaps


def write_coco(root: Path, split: str, images: "list[tuple[PIL.Image.Image, list[dict]]]", first_id: int = 1) -> None:
    """A split of COCO 2017: images with their annotations, given as class id (not category), segmentation and crowd."""
    from fsseg.datasets import Coco

    folder = root / f"{split}2017"
    folder.mkdir(parents=True)
    (root / "annotations").mkdir(exist_ok=True)
    listed, annotations = [], []
    for image_id, (picture, marked) in enumerate(images, first_id):
        name = f"{image_id:012d}.jpg"
        picture.save(folder / name)
        listed.insert(0, {"id": image_id, "file_name": name, "height": picture.height, "width": picture.width})
        for mark in marked:
            found = {"id": len(annotations) + 1, "image_id": image_id, "iscrowd": int(mark.get("crowd", 0))}
            found |= {"category_id": CATEGORY_IDS[mark["class_id"] - 1], "segmentation": mark["segmentation"]}
            annotations.append(found)
    categories = [{"id": i, "name": name} for i, name in zip(CATEGORY_IDS, Coco.class_names, strict=True)]
    content = {"images": listed, "annotations": annotations, "categories": categories}
    (root / "annotations" / f"instances_{split}2017.json").write_text(json.dumps(content))


def _coco_image(i: int, random: np.random.Generator) -> "tuple[PIL.Image.Image, list[dict]]":
    """Image ``i`` of a split: four classes that overlap; some images are grey, some have a crowd, the last nothing."""
    height, width = 24 + i % 5, 30 - i % 7
    picture = PIL.Image.fromarray(random.integers(0, 256, (height, width, 3), dtype=np.uint8))
    if i == 100:
        return picture, []
    concave = [4.3, 4.1, 17.6, 4.4, 17.2, 18.9, 14.1, 18.2, 13.7, 9.3, 8.2, 9.9, 7.9, 18.7, 4.6, 18.3]
    crowd = np.zeros((height, width), dtype=np.uint8)
    crowd[10:, 12:] = 1
    ring = np.zeros((height, width), dtype=np.uint8)
    ring[6:20, 9:21] = 1
    ring[9:15, 12:18] = 0
    runs = np.diff(np.flatnonzero(np.diff(ring.ravel("F"), prepend=1 - ring[0, 0], append=2)))
    encoded = mask_code.encode(np.asfortranarray(crowd))["counts"].decode()
    classes = [(i + step) % 80 + 1 for step in (0, 27, 53, 71)]
    marks = [
        {"class_id": classes[0], "segmentation": [concave, [1.2, 1.5, 3.5, 1.5, 3.5, 8.25, 1.2, 8.25]]},
        {"class_id": classes[1], "segmentation": {"size": [height, width], "counts": runs.tolist()}},
        {"class_id": classes[2], "segmentation": [[2.5, 12.5, 20.5, 12.5, 11.0, 22.0]]},
        {"class_id": classes[0], "segmentation": [[15.0, 15.0, 21.0, 15.0, 21.0, 21.0]]},
        {
            "class_id": classes[3 if i % 2 else 0],
            "segmentation": {"size": [height, width], "counts": encoded},
            "crowd": i % 3 == 0,
        },
        {"class_id": classes[3], "segmentation": [[0.0, 16.0, 9.0, 16.0, 9.0, 22.0, 0.0, 22.0]]},
    ]
    return picture.convert("L") if i % 9 == 0 else picture, marks


@pytest.fixture(scope="session")
def _coco_original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root, random = tmp_path_factory.mktemp("coco"), np.random.default_rng(0)
    for split, first_id in (("train", 1), ("val", 501)):
        write_coco(root, split, [_coco_image(i, random) for i in range(101)], first_id)
    return root


@pytest.fixture
def fake_coco(_coco_original: Path, tmp_path: Path) -> Path:
    """A tree of COCO 2017 with 101 train and 101 val images, each class in at least four of either.

    A test may change its annotations, and remove its images; these are links, so it must not write into one.
    """

    def copy(source: str, target: str) -> None:
        (os.link if source.endswith(".jpg") else shutil.copy2)(source, target)

    return shutil.copytree(_coco_original, tmp_path / "coco", copy_function=copy)


@pytest.fixture
def no_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """An empty cache folder of the test's own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "fsseg"


def make_batch(seed: int = 0, **sizes: Any) -> "Batch":
    """A random batch of `fsseg.contracts.batches`, with the tests' seed."""
    from fsseg.contracts.batches import random_batch  # after the hook, which checks the shapes in its signatures

    return random_batch(seed=SEED + seed, **sizes)


@pytest.fixture(name="make_batch")
def _make_batch() -> "Callable[..., Batch]":
    return make_batch


def own_photos(folder: Path) -> None:
    """Photos with a red square; of the first two there are masks."""
    (folder / "photos").mkdir()
    for i in range(4):
        image, mask = np.full((60, 80, 3), 90, dtype=np.uint8), np.zeros((60, 80), dtype=np.uint8)
        image[10 + i : 34 + i, 20:44], mask[10 + i : 34 + i, 20:44] = (220, 40, 40), 255
        name = f"cat{i + 1}" if i < 2 else f"photos/cat{i + 1}"
        PIL.Image.fromarray(image).save(folder / f"{name}.jpg")
        if i < 2:
            PIL.Image.fromarray(mask).save(folder / f"{name}.png")
