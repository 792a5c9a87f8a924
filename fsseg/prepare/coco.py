"""COCO-20i's tree: images and instance annotations, from the official archives."""

import re
from pathlib import Path, PurePosixPath

from fsseg.prepare.archives import COCO
from fsseg.prepare.download import check_space, fetch
from fsseg.prepare.extract import members, write
from fsseg.prepare.state import State
from fsseg.prepare.told import Told
from fsseg.protocol import Year


def prepare(root: Path, told: Told, year: Year, archives: Path | None = None) -> None:
    """Make the tree below ``root``; whatever is there already is left alone.

    Args:
        root: folder to make ``annotations``, ``trainYEAR`` and ``valYEAR`` in.
        told: tells how far it is.
        year: release.
        archives: folder that holds the archives; they are downloaded to ``root/archives`` where it is not given.

    Raises:
        FssegError: an archive cannot be had or is damaged, or the disk is full; the next call goes on.
    """
    state = State(root)
    wanted = tuple(archive for archive in COCO[year] if not state.has(archive))
    missing = tuple(archive for archive in wanted if not (root / "archives" / archive.name).is_file())
    check_space(() if archives else missing, root, sum(archive.gigabytes for archive in wanted))
    for archive in wanted:
        path = fetch(archive, root / "archives", told, archives)
        for name, content in members(path, lambda name: _is_kept(name, year), told):
            write(root / PurePosixPath(name), content)
        state.add(archive)


def _is_kept(name: str, year: Year) -> bool:
    return bool(re.fullmatch(rf"(annotations/instances_(train|val){year}\.json|(train|val){year}/[^/]+\.jpg)", name))
