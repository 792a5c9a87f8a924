"""Reader of labelme's folders as they are: each image has a JSON file beside it.

The format is described at https://github.com/wkentaro/labelme (``labelme/_label_file.py``).
"""

from pathlib import Path, PurePosixPath
from typing import Any

from fsseg.datasets.export_images import Export, ExportImage
from fsseg.errors import FssegError
from fsseg.files.annotation_json import read_json, shapes_of
from fsseg.files.decoders import endings, is_image, list_files
from fsseg.untrusted.text import leads_out


def is_labelme(content: Any) -> bool:
    """Whether a JSON file's content is one of labelme."""
    return isinstance(content, dict) and isinstance(content.get("shapes"), list)


def read(folder: Path, files: list[Path]) -> Export:
    """Read the JSON files of a folder.

    Args:
        folder: of the export.
        files: JSON files in and below it; others than labelme's are left out, and a note counts them.

    Raises:
        FssegError: a file is broken.
    """
    there = {path for path in list_files(folder, below=True) if is_image(path)}
    contents = [(path, read_json(path)) for path in files]
    own = [(path, content) for path, content in contents if is_labelme(content)]
    images = [_image(folder, path, content, there) for path, content in own]
    marked = {path.with_suffix("") for path, _ in own}
    bare = sum(path.with_suffix("") not in marked for path in there)
    notes = [f"other JSON files are left out: {len(files) - len(own):,}"] if len(own) < len(files) else []
    notes += [f"images without a JSON file are left out: {bare:,}"] if bare else []
    return Export("labelme", images, [], "; ".join(notes))


def _image(folder: Path, path: Path, content: dict[str, Any], there: set[Path]) -> ExportImage:
    """An image, which is the file that the JSON names, if it lies beside the JSON, or the one that has its name."""
    given = content.get("imagePath")
    named = PurePosixPath(given.replace("\\", "/")) if isinstance(given, str) else PurePosixPath()
    beside = [path.with_suffix(ending) for ending in endings()]
    beside += [path.with_suffix(ending.upper()) for ending in endings()]
    if path.parent / named.name in there:
        names = [path.parent / named.name]
    else:
        names = [other for other in beside if other in there]
    below = path.parent.relative_to(folder).as_posix()
    if len(names) > 1:
        raise FssegError(f"{path} has the name of {names[0].name} and of {names[1].name}. Rename or remove one.")
    texts = [str(name.relative_to(folder).as_posix()) for name in names]
    if not texts:
        texts = [str(PurePosixPath(below) / named)] if str(named) != "." else [str(PurePosixPath(below) / path.stem)]
        if leads_out(str(named)) and not leads_out(texts[0]):  # such as ../photos/a.jpg, within the folder
            parts: list[str] = []
            for part in PurePosixPath(texts[0]).parts:
                parts = parts[:-1] if part == ".." else [*parts, part]
            texts = ["/".join(parts)]
    found = shapes_of(path, content)
    return ExportImage(tuple(texts), found.shapes, found.size, str(path), path)
