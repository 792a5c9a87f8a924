"""Which files of a folder are images of a person's: no hidden or system files, and formats that can be decoded here."""

import os
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path

import PIL.features
import PIL.Image

# Formats that are decoded. Pillow knows more by their content, whatever a file's name, and starts Ghostscript for EPS.
_FORMATS = {
    "JPEG": (".jpg", ".jpeg", ".jfif", ".jpe", ".mpo"), "PNG": (".png",), "WEBP": (".webp",),
    "BMP": (".bmp",), "TIFF": (".tif", ".tiff"), "GIF": (".gif",), "PPM": (".ppm", ".pgm"), "JPEG2000": (".jp2",),
    "AVIF": (".avif",), "HEIF": (".heic", ".heif"),
}  # fmt: skip
_ENDINGS = {ending: form for form, endings in _FORMATS.items() for ending in endings}
_BUILT_IN = {"WEBP": "webp", "JPEG2000": "jpg_2000", "AVIF": "avif"}  # Pillow may have been built without
_NEEDED = {"HEIF": 'pip install "fsseg[heif]"', "AVIF": "pip install 'pillow>=11.3'"}
# What file managers, NAS boxes, archivers and file systems leave in folders, next to hidden files.
_SYSTEM = {
    "@eadir", "@tmp", "@recycle", "@recently-snapshot", "#recycle", "#snapshot", "__macosx", "lost+found",
    "$recycle.bin", "recycler", "system volume information", "thumbs.db", "ehthumbs.db", "desktop.ini", "__pycache__",
}  # fmt: skip
_NAMED = 3  # files that a note names


@cache
def decoders() -> tuple[str, ...]:
    """Pillow's names of the formats that can be decoded here; HEIF where pillow-heif is installed."""
    PIL.Image.init()
    try:
        import pillow_heif
    except ImportError:
        pass
    else:
        pillow_heif.register_heif_opener()
    built = {form for form, feature in _BUILT_IN.items() if form in PIL.Image.OPEN and PIL.features.check(feature)}
    return tuple(form for form in _FORMATS if form in PIL.Image.OPEN and (form in built or form not in _BUILT_IN))


def endings() -> list[str]:
    """Endings of images that can be decoded here."""
    return [ending for ending, form in _ENDINGS.items() if form in decoders()]


def is_image(path: Path) -> bool:
    """Whether a file's ending is one of an image that can be decoded here."""
    return _ENDINGS.get(path.suffix.lower()) in decoders()


def is_undecodable(path: Path) -> bool:
    """Whether a file's ending is one of an image, but the decoder is not installed."""
    return path.suffix.lower() in _ENDINGS and not is_image(path)


def installation(path: Path) -> str:
    """What a person does so that an image can be decoded; empty where the decoder is there, or none is known."""
    needed = _NEEDED.get(_ENDINGS.get(path.suffix.lower(), ""), "") if is_undecodable(path) else ""
    return f"{path.suffix.lower()} needs a package that is not installed: {needed}, or convert it." if needed else ""


def is_ignored(name: str) -> bool:
    """Whether a file or folder is hidden or the system's, by its name: nobody put it there as data."""
    return name.startswith(".") or name.casefold() in _SYSTEM


def list_files(folder: Path, below: bool = False) -> list[Path]:
    """Files of a folder, and of the folders below it, in the order of their names, without the ignored ones."""
    found: list[Path] = []
    for here, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if below and not is_ignored(name)]
        found += [Path(here, name) for name in files if not is_ignored(name)]
    return sorted(path for path in found if path.is_file())


def list_folders(folder: Path) -> list[Path]:
    """Folders in a folder, likewise."""
    return sorted(path for path in folder.iterdir() if path.is_dir() and not is_ignored(path.name))


def count_endings(paths: Iterable[Path]) -> str:
    """Files by their ending: ``3 .txt, 1 .json``; empty where there are none."""
    counts = Counter(path.suffix.lower() or "without ending" for path in paths)
    return ", ".join(f"{count:,} {ending}" for ending, count in sorted(counts.items(), key=lambda c: (-c[1], c[0])))


def first_names(paths: Sequence[Path]) -> str:
    """The first names of files, and that there are more."""
    return ", ".join(path.name for path in paths[:_NAMED]) + ", ..." * (len(paths) > _NAMED)
