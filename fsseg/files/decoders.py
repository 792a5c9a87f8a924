"""Which files of a folder are images: no hidden or system files, only formats that the installed Pillow decodes."""

import os
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path

import PIL.features
import PIL.Image

# Allowed formats. Pillow detects more formats by content, whatever the file's name, and runs Ghostscript for EPS.
_FORMATS = {
    "JPEG": (".jpg", ".jpeg", ".jfif", ".jpe", ".mpo"), "PNG": (".png",), "WEBP": (".webp",),
    "BMP": (".bmp",), "TIFF": (".tif", ".tiff"), "GIF": (".gif",), "PPM": (".ppm", ".pgm"), "JPEG2000": (".jp2",),
    "AVIF": (".avif",), "HEIF": (".heic", ".heif"),
}  # fmt: skip
_ENDINGS = {ending: form for form, endings in _FORMATS.items() for ending in endings}
_BUILT_IN = {"WEBP": "webp", "JPEG2000": "jpg_2000", "AVIF": "avif"}  # optional features of a Pillow build
_NEEDED = {"HEIF": 'pip install "fsseg[heif]"', "AVIF": "pip install 'pillow>=11.3'"}
# Files and folders that file managers, NAS systems, archivers and file systems create.
_SYSTEM = {
    "@eadir", "@tmp", "@recycle", "@recently-snapshot", "#recycle", "#snapshot", "__macosx", "lost+found",
    "$recycle.bin", "recycler", "system volume information", "thumbs.db", "ehthumbs.db", "desktop.ini", "__pycache__",
}  # fmt: skip
_NAMED = 3  # files that a note names


@cache
def decoders() -> tuple[str, ...]:
    """Pillow's names of the supported formats: the installed decoders, and HEIF if pillow-heif is installed."""
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
    """File endings of the supported formats."""
    return [ending for ending, form in _ENDINGS.items() if form in decoders()]


def is_image(path: Path) -> bool:
    """Whether a file's ending belongs to a supported format."""
    return _ENDINGS.get(path.suffix.lower()) in decoders()


def is_undecodable(path: Path) -> bool:
    """Whether a file's ending belongs to an image format whose decoder is not installed."""
    return path.suffix.lower() in _ENDINGS and not is_image(path)


def installation(path: Path) -> str:
    """How to install the decoder of an image; empty if the decoder is installed or unknown."""
    needed = _NEEDED.get(_ENDINGS.get(path.suffix.lower(), ""), "") if is_undecodable(path) else ""
    return f"{path.suffix.lower()} needs a package that is not installed: {needed}, or convert it." if needed else ""


def is_ignored(name: str) -> bool:
    """Whether a file or folder is hidden or a system file, judged by its name."""
    return name.startswith(".") or name.casefold() in _SYSTEM


def list_files(folder: Path, below: bool = False) -> list[Path]:
    """Files of a folder (with ``below``, of its subfolders too), sorted by name, without ignored files."""
    found: list[Path] = []
    for here, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if below and not is_ignored(name)]
        found += [Path(here, name) for name in files if not is_ignored(name)]
    return sorted(path for path in found if path.is_file())


def list_folders(folder: Path) -> list[Path]:
    """Folders in a folder, sorted by name, without ignored folders."""
    return sorted(path for path in folder.iterdir() if path.is_dir() and not is_ignored(path.name))


def count_endings(paths: Iterable[Path]) -> str:
    """Number of files per ending, such as ``3 .txt, 1 .json``; empty without files."""
    counts = Counter(path.suffix.lower() or "without ending" for path in paths)
    return ", ".join(f"{count:,} {ending}" for ending, count in sorted(counts.items(), key=lambda c: (-c[1], c[0])))


def first_names(paths: Sequence[Path]) -> str:
    """Names of the first files, with ``...`` if there are more."""
    return ", ".join(path.name for path in paths[:_NAMED]) + ", ..." * (len(paths) > _NAMED)
