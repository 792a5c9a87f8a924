"""What every test shares: a quiet machine, checked shapes, golden values, and a fake VOC tree."""

import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

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

torch.set_num_threads(1)
settings.register_profile("fixed", derandomize=True, deadline=None, database=None)
settings.load_profile("fixed")

_TENSOR_MODULES = ("episode", "ops", "losses", "metrics", "methods", "encoders", "pictures")
install_import_hook([f"fsseg.{module}" for module in _TENSOR_MODULES], "beartype.beartype")

if TYPE_CHECKING:
    from fsseg.episode import Batch

ROOT = Path(__file__).parents[1]
SHARED = Path(os.environ.get("FSSEG_SHARED") or ROOT.parent / "shared")


def pytest_unconfigure() -> None:
    shutil.rmtree(os.environ["XDG_CACHE_HOME"], ignore_errors=True)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "oracle_folder" in getattr(item, "fixturenames", ()):
            item.add_marker("oracle")


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def oracle_folder() -> Path:
    """Golden values of the official codes; tests that need them are skipped where they are not at hand."""
    folder = SHARED / "oracle"
    if not folder.is_dir():
        pytest.skip(f"no golden values in {folder}")
    return folder


@pytest.fixture(scope="session")
def oracle(oracle_folder: Path) -> Callable[[str], dict[str, np.ndarray]]:
    """Loads the arrays of ``oracle/NAME.npz``."""

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


@pytest.fixture
def no_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """An empty cache folder of the test's own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "fsseg"


def make_batch(
    episodes: int = 1, way: int = 1, shot: int = 1, query: int = 1, size: int = 24, void: bool = True, seed: int = 0
) -> "Batch":
    """Random images, and masks of which every image shows background, all ways and, if asked for, ignored pixels."""
    from fsseg.episode import Batch  # after the hook, which checks the shapes in its signatures

    random = torch.Generator().manual_seed(seed)

    def images(*shape: int) -> torch.Tensor:
        return torch.randint(0, 256, (*shape, 3, size, size), dtype=torch.uint8, generator=random)

    def masks(*shape: int) -> torch.Tensor:
        cells = torch.rand((*shape, 1 + way, size // 4, size // 4), generator=random).argmax(-3)
        labels = cells.repeat_interleave(4, -2).repeat_interleave(4, -1).to(torch.uint8)
        if void:
            labels[..., :2, :] = 255
        return labels

    return Batch(
        support_image=images(episodes, way, shot),
        support_mask=masks(episodes, way, shot),
        query_image=images(episodes, query),
        query_mask=masks(episodes, query),
        classes=torch.arange(1, way + 1).expand(episodes, -1).clone(),
        support_id=torch.arange(episodes * way * shot).view(episodes, way, shot),
        query_id=torch.arange(episodes * query).view(episodes, query),
        run=torch.zeros(episodes, dtype=torch.long),
        number=torch.arange(episodes),
    )


@pytest.fixture(name="make_batch")
def _make_batch() -> "Callable[..., Batch]":
    return make_batch
