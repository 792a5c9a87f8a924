"""Makes the folders of photos and masks of ISIC 2018, task 1, from the official archives."""

from pathlib import Path, PurePosixPath

from fsseg.datasets.isic2018 import IMAGES, MASKS
from fsseg.prepare.archives import ISIC2018
from fsseg.prepare.download import check_space, fetch
from fsseg.prepare.extract import members, write
from fsseg.prepare.state import PreparedArchives

_ENDINGS = {IMAGES: ".jpg", MASKS: ".png"}


def prepare(root: Path, archives: Path | None = None) -> bool:
    """Make the folders below ``root``; existing files stay, and so do folders that another program made.

    Args:
        root: folder for the photos and the masks.
        archives: folder with the archives; by default they are downloaded to ``root/archives``.

    Returns:
        whether files were made.

    Raises:
        FssegError: an archive cannot be downloaded or is damaged, or the disk is full; the next call resumes.
    """
    state = PreparedArchives(root)
    if not state.begun and _is_tree(root):
        return False
    if all(state.has(archive) for archive in ISIC2018):
        return False
    with state.lock():
        wanted = [archive for archive in ISIC2018 if not state.has(archive)]
        check_space(wanted, root, sum(archive.gigabytes for archive in wanted), archives)
        for archive in wanted:
            state.note_lost(archive)
            path = fetch(archive, root / "archives", archives)
            for name, content in members(path, _is_used):
                write(root / PurePosixPath(name), content)
            state.add(archive, [archive.folder])
    return True


def _is_tree(root: Path) -> bool:
    """Whether another program has made the folders, perhaps in a folder that ISIC2018 knows."""
    return any((place / IMAGES).is_dir() for place in (root, root / "ISIC", root / "ISIC/ISIC", root / "ISIC2018"))


def _is_used(name: str) -> bool:
    path = PurePosixPath(name)
    return len(path.parts) == 2 and _ENDINGS.get(path.parts[0]) == path.suffix
