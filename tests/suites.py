"""Miniatures of FSS-1000 and the cross-domain sets in their official layouts, and what suites' tests share."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import PIL.Image

from fsseg.experiment.files import experiment_folder

PARTS = {"trn": ("acorn", "bus_stop", "cello"), "val": ("drum", "eel"), "test": ("fig", "gnu", "abe's_fish")}
EACH = 10


TINY = ("--data.images.size=32", "--data.loading.workers=0", "--data.episodes.val=2", "--data.episodes.train=4",
        "--data.batch_size=2", "--trainer.max_steps=1", "--trainer.accelerator=cpu",
        "--model.method.encoder.widths=[8,8]", "--model.method.encoder.strides=[2,2]")  # fmt: skip


def show_and_fit(fsseg: Callable, *data: str) -> None:
    """Show episodes of both stages, and train one step into ``run``."""
    config = ("--config", str(experiment_folder() / "quickstart.yaml"))
    for stage in ("train", "test"):
        shown = fsseg(
            "data", "show", *config, *data, "--data.images.size=48", "--stage", stage, "--out", f"{stage}.png"
        )
        assert shown.code == 0, shown.err
    fitted = fsseg("fit", *config, *data, *TINY, "--out", "run")
    assert fitted.code == 0, fitted.err


def chosen_supports(images: Sequence[int], query: int, shot: int) -> tuple[int, ...]:
    """Supports as the official codes draw them, with numpy's global generator: any images but the query, one by one."""
    supports: list[int] = []
    while len(supports) < shot:
        drawn = int(np.random.choice(images, 1, replace=False)[0])
        if drawn != query:
            supports.append(drawn)
    return tuple(supports)


def save(path: Path, pixels: np.ndarray, **options: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    PIL.Image.fromarray(pixels).save(path, **options)


def region(seed: int, shape: tuple[int, int] = (40, 48)) -> np.ndarray:
    """A rectangle of True, of another place and size for each seed."""
    random = np.random.default_rng(seed)
    top, left = (int(random.integers(2, side // 2)) for side in shape)
    found = np.zeros(shape, dtype=bool)
    found[top : top + int(random.integers(6, 16)), left : left + int(random.integers(6, 16))] = True
    return found


def photo(seed: int, shown: np.ndarray, colour: int) -> np.ndarray:
    noise = np.random.default_rng(seed).integers(0, 90, (*shown.shape, 3), dtype=np.uint8)
    noise[shown] = np.uint8(40 + colour * 53 % 200)
    return noise


def grey(shown: np.ndarray, seed: int) -> np.ndarray:
    """Four channels with the noise of a compression, as FSS-1000's masks have: 0 to 60, and 190 to 255."""
    noise = np.random.default_rng(seed).integers(0, 61, shown.shape)
    channel = np.where(shown, 255 - noise, noise).astype(np.uint8)
    return np.stack([channel, channel, channel, np.full_like(channel, 255)], axis=-1)


def write_deepglobe(root: Path) -> None:
    """Eight patches; each shows three of six classes, which share no pixel."""
    for i in range(8):
        bands = np.arange(48) // 16
        for band in range(3):
            c = (i + 2 * band) % 6
            shown = np.tile(bands == band, (40, 1))
            save(root / f"{c + 1}/test/origin/{i}_sat_{i}.jpg", photo(i, shown, c), quality=95)
            save(root / f"{c + 1}/test/groundtruth/{i}_sat_{i}.png", np.repeat(shown[..., None] * np.uint8(255), 3, 2))


ISIC_CLASSES = ("seborrheic_keratosis", "nevus", "melanoma")


def write_isic(root: Path, folders: bool = False) -> None:
    """Fifteen photos, five of each class: with a table of classes, or in folders, smaller than their masks."""
    lines = ["ID,Class"]
    for i in range(15):
        name, shown = f"ISIC_{i:07d}", region(i)
        place = root / "ISIC2018_Task1-2_Training_Input" / (str(i % 3 + 1) if folders else "")
        pixels = photo(i, shown, i % 3)
        save(place / f"{name}.jpg", pixels[::2, ::3] if folders else pixels, quality=95)
        masks = root / "ISIC2018_Task1_Training_GroundTruth"
        save(masks / f"{name}_segmentation.png", shown * np.uint8(255))
        lines.append(f"{name},{ISIC_CLASSES[i % 3]}")
    for part in ("ISIC2018_Task1-2_Training_Input", "ISIC2018_Task1_Training_GroundTruth"):
        (root / part / "LICENSE.txt").write_text("as in the archives")
    if not folders:
        (root / "class_id.csv").write_text("\r\n".join(lines))


def write_chest(root: Path) -> None:
    """Twelve X-rays, two of them without a mask; masks of Montgomery County have no ending."""
    for i in range(12):
        name, shown = (f"CHNCXR_{i:04d}_{i % 2}", region(i)) if i < 8 else (f"MCUCXR_{i:04d}_0", region(i))
        save(root / f"LungSegmentation/CXR_png/{name}.png", photo(i, shown, 1)[..., 0])
        if i not in (3, 10):
            ending = "_mask" if i < 8 else ""
            save(root / f"LungSegmentation/masks/{name}{ending}.png", shown * np.uint8(255))


SUIM_FOLDERS = ("FV", "HD", "PF", "RI", "RO", "SR", "WR")


def write_suim(root: Path) -> None:
    """Fourteen photos of two classes each, and an empty mask in each class; some masks are bitmaps."""
    for i in range(14):
        both = [region(10 * i + step) for step in (1, 2)]
        save(root / f"images/d_r_{i}_.jpg", photo(i, both[0], i % 7), quality=95)
        for step, shown in enumerate([*both, np.zeros_like(both[0])]):
            part = SUIM_FOLDERS[(i + 2 * step) % 7]
            save(root / f"masks/{part}/d_r_{i}_.{'png' if i % 2 else 'bmp'}", shown * np.uint8(255))


def write_fss1000(root: Path, lists: bool = True) -> None:
    """Eight classes of ten images, and the lists of three, two and three classes."""
    names = [name for part in PARTS.values() for name in part]
    for c, name in enumerate(names):
        for i in range(1, EACH + 1):
            shown = region(100 * c + i)
            save(root / name / f"{i}.jpg", photo(100 * c + i, shown, c), quality=95)
            save(root / name / f"{i}.png", grey(shown, 100 * c + i))
    for part, of in PARTS.items() if lists else ():
        path = root / "splits" / f"{part}.txt"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes("\r\n".join([*of, ""]).encode())  # as HSNet's test.txt ends its lines
