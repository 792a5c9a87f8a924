"""Checksums: of a file's bytes, and of a checkpoint's content."""

import hashlib
import zipfile
from pathlib import Path

from fsseg.progress import Progress

_CHUNK = 1 << 20  # bytes
_LENGTH = 16  # hexadecimal digits of a content's digest


def file_digest(path: Path, algorithm: str = "sha256", name: str = "") -> str:
    """Checksum of a file's bytes in hexadecimal digits.

    Args:
        path: path of the file.
        algorithm: ``sha256``, or ``md5`` against damage only.
        name: name of the file in the progress; without it, no progress is shown.

    Raises:
        OSError: the file cannot be read.
    """
    digest = hashlib.new(algorithm, usedforsecurity=algorithm != "md5")
    size = path.stat().st_size
    with path.open("rb") as file, Progress(f"checking {name}:", size, "GB", shown=bool(name)) as step:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
            step.add(len(chunk))
    return digest.hexdigest()


def content_digest(path: Path) -> str:
    """Digest of a checkpoint's content, which does not change when the file is moved or renamed.

    The digest is computed from the checksums in the zip file's directory, so that the tensors are not read.
    """
    digest = hashlib.sha256()
    try:
        with zipfile.ZipFile(path) as file:
            for part in file.infolist():
                name = part.filename.partition("/")[2]  # the first part is the name under which the file was written
                digest.update(f"{name} {part.CRC} {part.file_size}\n".encode())
    except (OSError, zipfile.BadZipFile):
        return file_digest(path)[:_LENGTH]
    return digest.hexdigest()[:_LENGTH]
