"""CVAT's colour masks: ``labelmap.txt`` names the colour of each class.

CVAT's export "Segmentation mask 1.1" has this layout::

    labelmap.txt                 lines such as cat:128,0,0:: (label, colour, parts, actions)
    JPEGImages/NAME.jpg          or images/
    SegmentationClass/NAME.png   or masks/
    ImageSets/Segmentation/      optional: train.txt, val.txt
"""

from pathlib import Path

from fsseg.datasets.custom import check_names
from fsseg.episode import BACKGROUND, IGNORE
from fsseg.errors import FssegError
from fsseg.files.names import plain
from fsseg.untrusted.text import decoded, shown

FILE = "labelmap.txt"
_VOID = ("ignore", "ignored", "void", "__ignore__")  # labels of pixels that are not labelled
_BORDER = (224, 224, 192)  # VOC's colour of such pixels

Colour = tuple[int, int, int]


def read_labelmap(path: Path) -> tuple[list[str], dict[Colour, int]]:
    """Names of the classes in the file's order, and the class id (0 background, 255 not labelled) of each colour.

    Raises:
        FssegError: a line is no label and colour, two labels have one name or colour, or there are too many classes.
    """
    names: list[str] = []
    colours: dict[Colour, int] = {}
    for line in decoded(path.read_bytes(), "replace").splitlines():
        if not line.strip() or line.startswith("#"):
            continue
        name, colour = _parsed(path, line)
        if colour in colours or name in names:
            raise FssegError(f"{path}: {shown(line)} has the name or the colour of another label. Change one.")
        if name == "background" or name in _VOID:
            colours[colour] = BACKGROUND if name == "background" else IGNORE
        else:
            names.append(name)
            colours[colour] = len(names)
    if not 0 < len(names) < IGNORE:
        raise FssegError(f"{path} has {len(names)} classes; 1 to {IGNORE - 1} are possible.")
    check_names(names, str(path))
    return names, {(0, 0, 0): BACKGROUND, _BORDER: IGNORE} | colours


def _parsed(path: Path, line: str) -> tuple[str, Colour]:
    name, _, rest = line.partition(":")
    try:
        red, green, blue = (int(value) for value in rest.split(":")[0].split(","))
        if not 0 <= min(red, green, blue) <= max(red, green, blue) <= IGNORE:
            raise ValueError
    except ValueError as error:
        raise FssegError(f"{path}: {shown(line)[:60]!r} is no line such as cat:128,0,0::. Fix it.") from error
    return plain(name.strip()), (red, green, blue)
