"""The parts of the page that the server writes. Names come from strangers: all text is escaped."""

from html import escape
from pathlib import Path
from string import Template
from typing import Any

from fsseg.datasets.base import Image
from fsseg.demo import drawing
from fsseg.demo.maps import Map
from fsseg.demo.painting import BACK
from fsseg.demo.pictures import Limits
from fsseg.demo.session import Result, Session

_STAGE = 400  # pixels of a query's height at most, on the screen
_HERE = Path(__file__).parent


def page(limits: Limits, about: str, note: str) -> str:
    """The page before anything is shown on it.

    Args:
        limits: of images that are sent; the browser checks the size of a file before it sends one.
        about: the method, in a line.
        note: what to know of it, e.g. that it is not trained.
    """
    return Template((_HERE / "page.html").read_text(encoding="utf-8")).substitute(
        about=escape(about),
        note=f'<p class="note">{escape(note)}</p>' if note else "",
        megabytes=f"{limits.megabytes:g}",
        back=BACK,
        painter=(_HERE / "painter.html").read_text(encoding="utf-8"),
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
    parts = [_thumbs(session), _stage(query.image, found)]
    if found is None:
        parts.append('<div class="status">Paint an object on a support to see it found here.</div>')
    else:
        parts += [_status(found), _classes(session, found), _downloads(session, found)]
        parts.append(_maps(session, found))
    return "".join(parts)


def _thumbs(session: Session) -> str:
    each = [
        f'<button type="button" class="thumb{" chosen" * (number == session.query)}" data-do="pick" '
        f'data-number="{number}" title="{escape(query.name)}" '
        f'style="background-image:url({query.thumbnail})"></button>'
        for number, query in session.queries.items()
    ]
    away = f'<button type="button" class="plain" data-do="drop" data-number="{session.query}">Remove</button>'
    return f'<div class="thumbs">{"".join(each)}<span class="space"></span>{away}</div>'


def _stage(image: Image, found: Result | None) -> str:
    height, width = image.shape[:2]
    over = "" if found is None else f'<img class="overlay" alt="prediction" src="{drawing.overlay(found.mask)}">'
    return (
        f'<div class="stage" style="aspect-ratio:{width}/{height};max-width:{_STAGE * width / height:.0f}px">'
        f'<img class="photo" alt="query" src="{drawing.photo(image)}">{over}</div>'
    )


def _status(found: Result) -> str:
    passes = "no encoder pass" if not found.passes else f"{found.passes} encoder pass{'es' * (found.passes > 1)}"
    opacity = (
        '<label class="sizing">mask <input class="opacity" type="range" min="0" max="100" value="100" '
        'aria-label="opacity of the mask"></label>'
    )
    return (
        f'<div class="status" data-passes="{found.passes}" data-milliseconds="{found.milliseconds:.1f}">'
        f"<span>updated in <b>{found.milliseconds:.0f} ms</b>, <b>{passes}</b></span>"
        f'<span class="space"></span>{opacity}</div>'
    )


def _classes(session: Session, found: Result) -> str:
    rows = []
    for label, score in found.scores.items():
        share = 100 * float((found.mask == label).mean())
        if share == 0:
            said = "not found"
        elif score is None:
            said = '<span title="a score compares supports with each other">score: from 2 supports on</span>'
        else:
            said = (
                f'<span title="above 0.5: more like the supports than like what they are not">score {score:.2f}</span>'
            )
        rows.append(
            f'<div class="row"><span class="swatch" style="background:{drawing.hexadecimal(label)}"></span>'
            f"<b>{escape(session.names[label - 1])}</b><span>{share:.1f} % of the picture</span>"
            f'<span class="space"></span>{said}</div>'
        )
    return f'<div class="found">{"".join(rows)}</div>'


def _downloads(session: Session, found: Result) -> str:
    data = drawing.png_url(drawing.mask_file(found.mask, found.query.size))
    name = escape(drawing.mask_name(found.query.name))
    every = ""
    if len(session.queries) > 1:
        every = f'<button type="button" data-do="all">All {len(session.queries)} masks (zip)</button>'
    return (
        f'<div class="tools"><a class="button" id="download" download="{name}" href="{data}">Download mask</a>{every}'
        f'<span class="space"></span><button type="button" data-do="maps" class="{"chosen" * session.maps}">'
        "Prototype maps</button></div>"
    )


def _maps(session: Session, found: Result) -> str:
    if not session.maps:
        return ""
    if not found.maps:
        return '<div class="status">This method has no prototypes to show.</div>'
    size = found.query.image.shape[:2]
    tiles = "".join(_tile(session, one, (size[0], size[1])) for one in found.maps)
    return (
        f'<div class="maps">{tiles}</div>'
        '<div class="status">Probability of each prototype: dark 0 <span class="scale"></span> light 1</div>'
    )


def _tile(session: Session, one: Map, size: tuple[int, int]) -> str:
    name = f"{session.names[one.label - 1]}: {one.name}"
    return (
        f'<figure><img alt="{escape(name)}" src="{drawing.heat(one.probability, size)}">'
        f'<figcaption><span class="swatch" style="background:{drawing.hexadecimal(one.label)}"></span>'
        f"{escape(name)}</figcaption></figure>"
    )
