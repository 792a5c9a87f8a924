"""Makes COCO-20i's folders of images and instance annotations from the official archives."""

import re
from pathlib import Path, PurePosixPath

from fsseg.prepare.archives import COCO
from fsseg.prepare.download import check_space, fetch
from fsseg.prepare.extract import members, write
from fsseg.prepare.state import PreparedArchives
from fsseg.protocols.protocol import SPLITS, Year


def prepare(root: Path, year: Year, archives: Path | None = None) -> bool:
    """Make the folders below ``root``; existing files stay, and so do folders that another program made.

    Args:
        root: folder for ``annotations``, ``trainYEAR`` and ``valYEAR``.
        year: release.
        archives: folder with the archives; by default they are downloaded to ``root/archives``.

    Returns:
        whether files were made.

    Raises:
        FssegError: an archive cannot be downloaded or is damaged, or the disk is full; the next call resumes.
    """
    state = PreparedArchives(root)
    annotations = [root / f"annotations/instances_{split}{year}.json" for split in SPLITS]
    if not state.begun and all(path.is_file() for path in annotations):
        return False
    if all(state.has(archive) for archive in COCO[year]):
        return False
    with state.lock():
        wanted = [archive for archive in COCO[year] if not state.has(archive)]
        check_space(wanted, root, sum(archive.gigabytes for archive in wanted), archives)
        for archive in wanted:
            state.note_lost(archive)
            path = fetch(archive, root / "archives", archives)
            for name, content in members(path, lambda name: _is_used(name, year)):
                write(root / PurePosixPath(name), content)
            state.add(archive, [archive.folder])
    return True


def _is_used(name: str, year: Year) -> bool:
    return bool(re.fullmatch(rf"(annotations/instances_(train|val){year}\.json|(train|val){year}/[^/]+\.jpg)", name))
