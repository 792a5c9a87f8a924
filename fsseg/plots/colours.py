"""Colours of classes, prototypes and tests, the same in every picture: Okabe and Ito's, for colour-blind eyes."""

from fsseg.episode import IGNORE

RGB = tuple[int, int, int]
_ORANGE, _SKY, _PURPLE, _GREEN = (230, 159, 0), (86, 180, 233), (204, 121, 167), (0, 158, 115)
_YELLOW, _VERMILION, _BLUE, _BLACK = (240, 228, 66), (213, 94, 0), (0, 114, 178), (0, 0, 0)
COLOURS: tuple[RGB, ...] = (_ORANGE, _SKY, _PURPLE, _GREEN, _YELLOW, _VERMILION, _BLUE)  # one per way
_UNUSED, _WHITE = (128, 128, 128), (255, 255, 255)


def colour(label: int) -> RGB:
    """The colour of a class by its episode label, from 1 on; more classes than colours begin again."""
    return COLOURS[(label - 1) % len(COLOURS)]


def hexadecimal(rgb: RGB) -> str:
    """A colour as CSS and matplotlib have it."""
    return "#{:02x}{:02x}{:02x}".format(*rgb)


def flat(classes: int) -> list[int]:
    """Colours of labels 0 to ``classes`` as a palette of PIL's: black, then the classes' colours."""
    return [value for rgb in (_BLACK, *(colour(label) for label in range(1, classes + 1))) for value in rgb]


def palette(classes: int) -> list[int]:
    """Colours of a label map as PIL takes them: black, the classes' colours, white for 255."""
    return [*flat(classes), *_UNUSED * (IGNORE - 1 - classes), *_WHITE]


# Of lines on white, dark enough for it.
LINES = tuple(map(hexadecimal, (_BLUE, _ORANGE, _GREEN, _PURPLE, _VERMILION, _SKY, _BLACK)))
