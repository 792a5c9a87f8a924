"""Makes LVIS-92i's folders of annotations and images from the official archives."""

from pathlib import Path, PurePosixPath

from fsseg.datasets.lvis import IMAGES, PARTS
from fsseg.prepare.archives import LVIS
from fsseg.prepare.download import check_space, fetch
from fsseg.prepare.extract import members, write
from fsseg.prepare.state import PreparedArchives
from fsseg.protocols.protocol import SPLITS

_ANNOTATIONS = {f"lvis_v1_{split}.json" for split in SPLITS}
_COMPLETE = {"train2017": 118_287, "val2017": 5_000}


def prepare(root: Path, archives: Path | None = None) -> bool:
    """Make what is missing of the annotation files and the folders of images below ``root``.

    Existing files stay, and so do folders that another program made: COCO's images of 2017 are not downloaded again.

    Args:
        root: folder for ``annotations``, ``train2017`` and ``val2017``.
        archives: folder with the archives; by default they are downloaded to ``root/archives``.

    Returns:
        whether files were made.

    Raises:
        FssegError: an archive cannot be downloaded or is damaged, or the disk is full; the next call resumes.
    """
    state = PreparedArchives(root)
    there = _there(root)
    wanted = [a for a in LVIS if not state.has(a) and (state.lost(a) or a.name not in there)]
    if not wanted:
        return False
    with state.lock():
        check_space(wanted, root, sum(archive.gigabytes for archive in wanted), archives)
        for archive in wanted:
            state.note_lost(archive)
            path = fetch(archive, root / "archives", archives)
            for name, content in members(path, _is_used):
                where = root / "annotations" / name if name in _ANNOTATIONS else root / PurePosixPath(name)
                write(where, content)
            state.add(archive, [archive.folder])
    return True


def _there(root: Path) -> set[str]:
    """Names of the archives whose files another program has put below ``root``.

    After a start of ours, which may have been interrupted, folders of images must be complete.
    """
    begun = PreparedArchives(root).begun
    found = {f"{name}.zip" for name in _ANNOTATIONS for place in ("annotations", "") if (root / place / name).is_file()}
    for place in IMAGES:
        folders = {part: root / place / part for part in PARTS}
        if all(path.is_dir() and (not begun or _files(path) >= _COMPLETE[part]) for part, path in folders.items()):
            found |= {f"{part}.zip" for part in PARTS}
    return found


def _files(folder: Path) -> int:
    return sum(1 for _ in folder.glob("*.jpg"))


def _is_used(name: str) -> bool:
    path = PurePosixPath(name)
    return name in _ANNOTATIONS or (len(path.parts) == 2 and path.parts[0] in PARTS and path.suffix == ".jpg")
