"""What a session takes from files and gives to files: annotated supports, and the segmenter's state."""

import copy
from dataclasses import replace

from fsseg.demo.painting import from_labels, painted, to_labels
from fsseg.demo.session import SUPPORTS, Session
from fsseg.demo.supports_file import Annotated
from fsseg.errors import FssegError
from fsseg.segmenter import Segmenter
from fsseg.segmenter.inputs import relabelled
from fsseg.segmenter.state import SegmenterState


def add_annotated(session: Session, given: list[Annotated]) -> None:
    """Add supports with their masks. Classes of unknown names take free colours.

    Raises:
        FssegError: there are too many supports or classes; then none is added.
    """
    if len(session.supports) + len(given) > SUPPORTS:
        raise FssegError(f"at most {SUPPORTS} supports are allowed; {len(given)} more are too many. Remove some first.")
    placed = session.classes.place([name for one in given for name in one.names], _used(session))
    session.classes.show(placed)
    for one in given:
        session.add_support(one.picture)
        _set_mask(session, session.support, one, placed)
    session.adapt()


def annotate(session: Session, number: int, given: Annotated) -> None:
    """Replace what is painted on a support by a mask.

    Raises:
        FssegError: there are too many classes.
    """
    placed = session.classes.place(given.names, _used(session))
    session.classes.show(placed)
    _set_mask(session, number, given, placed)
    session.adapt()


def annotated(session: Session) -> list[Annotated]:
    """All supports with the masks that their layers mean.

    Raises:
        FssegError: there are no supports.
    """
    if not session.supports:
        raise FssegError("there are no supports to save. Drop an image first.")
    return [Annotated(s.picture, to_labels(s.layer, s.way), session.names) for s in session.supports.values()]


def learnt(session: Session) -> Segmenter:
    """The segmenter with the shown names of its classes, to be saved.

    Raises:
        FssegError: two classes have the same name, or there are no classes.
    """
    names = {key: session.names[label - 1] for key, label in session.labels.items()}
    if not names:
        raise FssegError("nothing is learnt yet. Paint an object and background on a support.")
    if len(set(names.values())) < len(names):
        raise FssegError("two classes have the same name. Rename one, and save again.")
    made, (state, number) = copy.copy(session.segmenter), session.segmenter.known
    made.known = replace(state, classes=tuple(key and names[key] for key in state.classes)), number
    return made


def begin_with(session: Session, state: SegmenterState, number: int) -> None:
    """Start from the classes of another state of the same method; painted supports are added to them.

    Raises:
        FssegError: there are more classes than colours.
    """
    used = [label for support in session.supports.values() for label in painted(support.layer)]
    placed = session.classes.place(state.names, used)
    session.classes.know(placed)
    session.begin = state, number
    session.adapt()


def _used(session: Session) -> list[int]:
    return [*session.known_labels, *(label for s in session.supports.values() for label in painted(s.layer))]


def _set_mask(session: Session, number: int, given: Annotated, placed: dict[str, int]) -> None:
    support = session.find_support(number)
    table = {place: placed[name] for place, name in enumerate(given.names, 1)}
    support.layer, support.way = from_labels(relabelled(given.labels, table))
