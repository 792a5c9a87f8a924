"""Renders the parts of the page. Names are untrusted, so the templates escape all text."""

from typing import Any

from jinja2 import Environment, PackageLoader

from fsseg.demo import drawing
from fsseg.demo.painting import BACK
from fsseg.demo.pictures import MEGABYTE, Limits
from fsseg.demo.results import Result
from fsseg.demo.session import Session

_TEMPLATES = Environment(loader=PackageLoader("fsseg", "demo"), autoescape=True, trim_blocks=True, lstrip_blocks=True)
_RESULT = _TEMPLATES.get_template("result.html")


def page(limits: Limits, about: str, note: str, file: int) -> str:
    """The page before any image is added.

    Args:
        limits: Limits of uploaded images; the browser checks the size of a file before it uploads it.
        about: One line about the method.
        note: A note about the method, e.g. that it is untrained.
        file: Largest size of other files in bytes.
    """
    sizes = {"megabytes": f"{limits.megabytes:g}", "file_megabytes": file // MEGABYTE}
    return _TEMPLATES.get_template("page.html").render(about=about, note=note, back=BACK, **sizes)


def painter(session: Session) -> dict[str, Any]:
    """State of the canvas, see painter.js."""
    support, guide = session.supports.get(session.support), session.guide()
    return {
        "selected": session.support,
        "picture": drawing.photo(support.picture.image) if support else "",
        "guide": "" if guide is None else drawing.overlay(guide),
        "layer": drawing.layer(support.layer) if support else "",
        "width": support.layer.shape[1] if support else 0,
        "height": support.layer.shape[0] if support else 0,
        "way": support.way if support else session.way,
        "classes": [
            {"name": name, "colour": drawing.hexadecimal(label)} for label, name in enumerate(session.names, 1)
        ],
        "known": max(session.known_labels, default=1),
    }


def supports(session: Session) -> list[dict[str, Any]]:
    """Thumbnails of the supports, with the labels that the segmenter adapted to."""
    return [
        {
            "number": number,
            "name": one.picture.name,
            "picture": one.picture.thumbnail,
            "labels": one.labels,
            "state": "used" if one.number is not None else "painted" if one.layer.any() else "empty",
        }
        for number, one in session.supports.items()
    ]


def queries(session: Session) -> dict[str, Any]:
    """Thumbnails of the queries, and the chosen one."""
    return {
        "selected": session.query,
        "all": [
            {"number": number, "name": one.name, "picture": one.thumbnail} for number, one in session.queries.items()
        ],
    }


def result(session: Session, found: Result | None) -> str:
    """The queries, the shown query with its prediction, and the actions on it, as HTML."""
    if not session.queries:
        return ""
    query = session.queries[session.query]
    height, width = query.image.shape[:2]
    shown = {"photo": drawing.photo(query.image), "height": height, "width": width}
    return _RESULT.render(session=session, found=found, **shown, **(_found(session, found) if found else {}))


def _found(session: Session, found: Result) -> dict[str, Any]:
    """Variables of the template that describe the prediction."""
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
