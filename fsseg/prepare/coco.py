"""COCO-20i's tree: images and instance annotations, from the official archives."""

import re
from pathlib import Path, PurePosixPath

from fsseg.prepare.archives import COCO
from fsseg.prepare.download import check_space, fetch
from fsseg.prepare.extract import members, write
from fsseg.prepare.state import PreparedArchives
from fsseg.protocols.protocol import SPLITS, Year


def prepare(root: Path, year: Year, archives: Path | None = None) -> bool:
    """Make the tree below ``root``; whatever is there already is left alone, and so is a tree made by other means.

    Args:
        root: folder to make ``annotations``, ``trainYEAR`` and ``valYEAR`` in.
        year: release.
        archives: folder that holds the archives; they are downloaded to ``root/archives`` where it is not given.

    Returns:
        whether it made something.

    Raises:
        FssegError: an archive cannot be had or is damaged, or the disk is full; the next call goes on.
    """
    state = PreparedArchives(root)
    given = [root / f"annotations/instances_{split}{year}.json" for split in SPLITS]
    if not state.begun and all(path.is_file() for path in given):
        return False
    if all(state.has(archive) for archive in COCO[year]):
        return False
    with state.lock():
        wanted = [archive for archive in COCO[year] if not state.has(archive)]
        check_space(wanted, root, sum(archive.gigabytes for archive in wanted), archives)
        for archive in wanted:
            state.note_lost(archive)
            path = fetch(archive, root / "archives", archives)
            for name, content in members(path, lambda name: _is_kept(name, year)):
                write(root / PurePosixPath(name), content)
            state.add(archive, [archive.folder])
    return True


def _is_kept(name: str, year: Year) -> bool:
    return bool(re.fullmatch(rf"(annotations/instances_(train|val){year}\.json|(train|val){year}/[^/]+\.jpg)", name))
