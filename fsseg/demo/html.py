"""The parts of the page that the server writes. Names come from visitors: the templates escape all text."""

from typing import Any

from jinja2 import Environment, PackageLoader

from fsseg.demo import drawing
from fsseg.demo.painting import BACK
from fsseg.demo.pictures import Limits
from fsseg.demo.session import Result, Session

_STAGE = 400  # pixels of a query's height at most, on the screen
_TEMPLATES = Environment(loader=PackageLoader("fsseg", "demo"), autoescape=True, trim_blocks=True, lstrip_blocks=True)
_RESULT = _TEMPLATES.get_template("result.html")


def page(limits: Limits, about: str, note: str) -> str:
    """The page before anything is shown on it.

    Args:
        limits: of images that are sent; the browser checks the size of a file before it sends one.
        about: the method, in a line.
        note: what to know of it, e.g. that it is not trained.
    """
    return _TEMPLATES.get_template("page.html").render(
        about=about, note=note, megabytes=f"{limits.megabytes:g}", back=BACK
    )


def painter(session: Session) -> dict[str, Any]:
    """What the canvas needs to know, see painter.js."""
    support = session.supports.get(session.support)
    return {
        "supports": [
            {"number": number, "name": one.picture.name, "picture": one.picture.thumbnail}
            for number, one in session.supports.items()
        ],
        "selected": session.support,
        "picture": drawing.photo(support.picture.image) if support else "",
        "layer": drawing.layer(support.layer) if support else "",
        "width": support.layer.shape[1] if support else 0,
        "height": support.layer.shape[0] if support else 0,
        "way": support.way if support else "mask",
        "classes": [
            {"name": name, "colour": drawing.hexadecimal(label)} for label, name in enumerate(session.names, 1)
        ],
        "known": max(session.taught, default=1),
    }


def result(session: Session, found: Result | None) -> str:
    """Queries, the one that is shown with what was found in it, and what can be done with that."""
    if not session.queries:
        return ""
    query = session.queries[session.query]
    height, width = query.image.shape[:2]
    shown = {"photo": drawing.photo(query.image), "height": height, "width": width, "stage": _STAGE}
    return _RESULT.render(session=session, found=found, **shown, **(_found(session, found) if found else {}))


def _found(session: Session, found: Result) -> dict[str, Any]:
    """The template's names that stand for what was found."""
    height, width = found.query.image.shape[:2]
    classes = [
        {**_label(session, label), "share": 100 * float((found.mask == label).mean()), "score": score}
        for label, score in found.scores.items()
    ]
    maps = [
        {**_label(session, one.label, f": {one.name}"), "source": drawing.heat(one.probability, (height, width))}
        for one in (found.maps if session.maps else ())
    ]
    return {
        "overlay": drawing.overlay(found.mask),
        "classes": classes,
        "mask": drawing.png_url(drawing.mask_file(found.mask, found.query.size)),
        "mask_name": drawing.mask_name(found.query.name),
        "maps": maps,
    }


def _label(session: Session, label: int, more: str = "") -> dict[str, str]:
    return {"name": session.names[label - 1] + more, "colour": drawing.hexadecimal(label)}
