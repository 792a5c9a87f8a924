"""FSS-1000 (Li et al., CVPR 2020): 1,000 classes of ten images, in class-disjoint splits of 520, 240 and 240 classes.

::

    apple/1.jpg ... 10.jpg      images of a class
    apple/1.png ... 10.png      their masks; grey levels of 128 and more are the class
    splits/trn.txt              optional, with val.txt and test.txt: a class per line; also in the folder above

Without ``splits``, `fss1000_classes.json` gives the classes: the test list of the authors, and HSNet's choice of train
and validation classes (data/splits/fss in juhongm999/hsnet; read in isl-org/lang-seg, fewshot_data/data/splits/fss),
which Matcher and the cross-domain codes use too. The authors publish the test list alone (HKUSTCV/FSS-1000, issue 7).
"""

import json
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path, PurePosixPath

from fsseg.datasets.base import Count
from fsseg.datasets.class_masks import ClassMaskDataset, MaskedImage
from fsseg.errors import FssegError
from fsseg.files.decoders import list_files, list_folders
from fsseg.untrusted.text import decoded, is_line, leads_out

_LISTS = ("trn", "val", "test")
_EACH = 10  # images of a class
_COMPLETE = {"trn": 520, "val": 240, "test": 240}
# Folders of the archive, of HSNet's, Matcher's and LSeg's code.
_PLACES = (
    "",
    "FSS-1000",
    "data",
    "FSS-1000/data",
    "fewshot_data",
    "fewshot_data/fewshot_data",
    "FSS-1000/fewshot_data",
)
_LONGEST = 100  # characters of a class name; the longest official one has 25
_NAMED = 3  # classes that an error or a note names


class FSS1000(ClassMaskDataset):
    """FSS-1000: one fold; its novel classes are the 240 of the test, and 240 others are for validation alone.

    Class ids number the sorted train, validation and test classes, as in HSNet's code.
    """

    name = "FSS-1000"
    family = "fss1000"
    layout = (
        "the folder of fewshot_data.zip (HKUSTCV/FSS-1000, Google Drive 16TgqOeI_0P41Eh3jWQlxlRXG9KIqtMgI), which "
        "holds a folder per class with 1.jpg, 1.png ... 10.jpg, 10.png"
    )

    def novel(self, fold: int) -> tuple[int, ...]:
        """Class ids of the test."""
        return self._ids("test")

    def validation(self, fold: int) -> tuple[int, ...]:
        """Class ids for validation alone."""
        return self._ids("val")

    def counts(self) -> dict[str, Count]:
        """Number of classes of each list, of images and of masks, and in the official data set."""
        found = {f"{part} classes": Count(len(self._ids(part)), number) for part, number in _COMPLETE.items()}
        masks = sum(path.is_file() for found in self._images for path in found.masks.values())
        official = sum(_COMPLETE.values()) * _EACH
        return found | {"images": Count(len(self._images), official), "masks": Count(masks, official)}

    def _ids(self, part: str) -> tuple[int, ...]:
        before = sum(len(self._parts[earlier]) for earlier in _LISTS[: _LISTS.index(part)])
        return tuple(range(before + 1, before + len(self._parts[part]) + 1))

    def _find(self, root: Path) -> tuple[list[MaskedImage], list[MaskedImage]]:
        folders = _class_folders(root)
        if not folders:
            raise FssegError(f"`data.root` {root} is no FSS-1000: it has no class. {self.needed}")
        published = _published()
        source = _lists_folder(root, folders)
        self._parts = published if source is None else _given(source)
        _refuse_missing(folders, self._parts, source, root)
        self.class_names = tuple(name for part in _LISTS for name in self._parts[part])
        sizes = [len(self._parts[part]) for part in _LISTS]
        self.fold_words = "class-disjoint: {} classes to train on, {} to validate on, {} novel".format(*sizes)
        images = [_images(folders[name], class_id) for class_id, name in enumerate(self.class_names, 1)]
        self._describe(len(folders) - len(self.class_names), self._parts == published, images)
        train = [found for of_class in images[: sizes[0]] for found in of_class]
        return train, [found for of_class in images[sizes[0] :] for found in of_class]

    def _describe(self, others: int, complete: bool, images: Sequence[Sequence[MaskedImage]]) -> None:
        """Set name and note; a subset or other lists must not be compared with FSS-1000."""
        odd = [(name, len(found)) for name, found in zip(self.class_names, images, strict=True) if len(found) != _EACH]
        sizes = ", ".join(str(len(names)) for names in self._parts.values())
        notes = [] if complete else [f"class lists of one's own: {sizes} classes"]
        if odd:
            notes.append(f"{len(odd):,} classes have other than {_EACH} images, e.g. {odd[0][0]} ({odd[0][1]})")
        if others:
            notes.append(f"folders that no list names, left out: {others:,}")
        if type(self) is FSS1000:
            self.name = FSS1000.name if complete and not odd else "FSS-1000 subset"
        self.note = "; ".join(notes)

    def _walk(self) -> tuple[tuple[int, int], ...]:
        """Images in the order of their paths as text, 1, 10, 2 ..., in which HSNet's code takes them as queries."""
        pairs = [(min(found.masks), f"{found.name}.jpg", number) for number, found in enumerate(self._images)]
        return tuple((number, class_id) for class_id, _, number in sorted(pairs))


def _published() -> dict[str, list[str]]:
    text = files("fsseg.datasets").joinpath("fss1000_classes.json").read_text(encoding="utf-8")
    return {part: sorted(names.split()) for part, names in json.loads(text).items()}


def _class_folders(root: Path) -> dict[str, Path]:
    """Class folders by name; of the known places, the one with the most."""
    places = [root / place for place in _PLACES if (root / place).is_dir()]
    found = [{path.name: path for path in list_folders(place) if (path / "1.jpg").is_file()} for place in places]
    return max(found, key=len, default={})


def _lists_folder(root: Path, folders: dict[str, Path]) -> Path | None:
    """The folder of the lists; None without one."""
    data = next(iter(folders.values())).parent
    for place in (root, data, data.parent):
        if any((place / "splits" / f"{part}.txt").is_file() for part in _LISTS):
            return place / "splits"
    return None


def _given(source: Path) -> dict[str, list[str]]:
    """The sorted classes of each list file; a list that is missing is empty, except test.txt.

    Raises:
        FssegError: test.txt is missing or empty, a name is no folder's name, or a class is listed twice.
    """
    parts = {part: sorted(_listed(source / f"{part}.txt")) for part in _LISTS}
    if not parts["test"]:
        raise FssegError(f"{source / 'test.txt'} is missing or empty. Write the name of one test class per line.")
    every = [name for names in parts.values() for name in names]
    if twice := sorted({name for name in every if every.count(name) > 1}):
        raise FssegError(f"{source}: {twice[0]} is listed twice. The lists share no class; name each class once.")
    return parts


def _listed(path: Path) -> list[str]:
    if not path.is_file():
        return []
    names = [line.strip() for line in decoded(path.read_bytes(), "replace").splitlines() if line.strip()]
    for name in names:
        if not is_line(name) or leads_out(name) or PurePosixPath(name).name != name or len(name) > _LONGEST:
            raise FssegError(f"{path}: {name[:_LONGEST]!a} is no name of a class folder. Write one name per line.")
    return names


def _refuse_missing(folders: dict[str, Path], parts: dict[str, list[str]], source: Path | None, root: Path) -> None:
    missing = [name for names in parts.values() for name in names if name not in folders]
    if missing:
        names = ", ".join(missing[:_NAMED]) + ", ..." * (len(missing) > _NAMED)
        fix = "Unpack fewshot_data.zip again, or list the classes that are there in splits/trn.txt, val.txt, test.txt."
        where = f"the lists of {source}" if source else f"FSS-1000 in {root}"
        raise FssegError(f"{where}: {len(missing):,} classes have no folder with 1.jpg: {names}. {fix}")


def _images(folder: Path, class_id: int) -> list[MaskedImage]:
    """Images of a class in the order of their numbers.

    Raises:
        FssegError: a mask has no image.
    """
    found = list_files(folder)
    images = {path.stem: path for path in found if path.suffix == ".jpg"}
    if orphans := [path for path in found if path.suffix == ".png" and path.stem not in images]:
        raise FssegError(f"mask {orphans[0]} has no image {orphans[0].stem}.jpg. Put it there, or remove the mask.")
    names = sorted(images, key=lambda stem: (int(stem) if stem.isdecimal() else len(images) + _EACH, stem))
    return [MaskedImage(f"{folder.name}/{n}", images[n], {class_id: folder / f"{n}.png"}) for n in names]
