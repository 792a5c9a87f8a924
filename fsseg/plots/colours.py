"""Colours of classes, prototypes and tests, the same in every figure: the colour-blind safe set of Okabe and Ito."""

from fsseg.episode import IGNORE

RGB = tuple[int, int, int]
_ORANGE, _SKY, _PURPLE, _GREEN = (230, 159, 0), (86, 180, 233), (204, 121, 167), (0, 158, 115)
_YELLOW, _VERMILION, _BLUE, _BLACK = (240, 228, 66), (213, 94, 0), (0, 114, 178), (0, 0, 0)
COLOURS: tuple[RGB, ...] = (_ORANGE, _SKY, _PURPLE, _GREEN, _YELLOW, _VERMILION, _BLUE)  # one per way
_UNUSED, _WHITE = (128, 128, 128), (255, 255, 255)


def colour(label: int) -> RGB:
    """The colour of an episode label of 1 or more; the colours repeat if there are more labels."""
    return COLOURS[(label - 1) % len(COLOURS)]


def hexadecimal(rgb: RGB) -> str:
    """A colour in the notation of CSS and matplotlib."""
    return "#{:02x}{:02x}{:02x}".format(*rgb)


def flat(classes: int) -> list[int]:
    """Palette for PIL of the labels 0 to ``classes``: black, then the classes' colours."""
    return [value for rgb in (_BLACK, *(colour(label) for label in range(1, classes + 1))) for value in rgb]


def palette(classes: int) -> list[int]:
    """Palette for PIL of all labels: black, the classes' colours, white for 255."""
    return [*flat(classes), *_UNUSED * (IGNORE - 1 - classes), *_WHITE]


# Colours of lines that are dark enough on white.
LINES = tuple(map(hexadecimal, (_BLUE, _ORANGE, _GREEN, _PURPLE, _VERMILION, _SKY, _BLACK)))
