"""Events of the page: what they change in a session, and what the browser shows then."""

import base64
import json
from collections.abc import Callable
from typing import Any

from fsseg.datasets.shapes import draw
from fsseg.demo import drawing, html, saving
from fsseg.demo.click import region_around
from fsseg.demo.painting import read_layer, way_of
from fsseg.demo.pictures import Picture, file_name
from fsseg.demo.session import Session
from fsseg.demo.supports_file import png, read_annotation, write_supports
from fsseg.errors import FssegError

# Changes the session by an event and the data that the browser sends with it.
Step = Callable[[Session, dict[str, Any]], None]
# Answers an event that changes nothing.
Answer = Callable[[Session, dict[str, Any]], dict[str, Any]]

_SHAPES = 256  # side of an example in pixels
# Numbers of built-in images with a plain disc and a striped star: supports, queries.
_EXAMPLES = ((1202, 1288), (1340, 1402))


def content_of(body: bytes) -> dict[str, Any]:
    """Data of an event; empty if the body is no JSON object."""
    try:
        content = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def run_step(session: Session, step: Callable[[], None], repaints: bool = True) -> dict[str, Any]:
    """Run a step and answer with the new state; an error becomes the message, and the session stays unchanged."""
    since, message = session.now(), ""
    try:
        step()
    except FssegError as error:
        message = str(error)
    return answer(session, message, since, repaints)


def answer(
    session: Session, message: str, since: tuple[float, int] | None = None, repaints: bool = True, **more: str
) -> dict[str, Any]:
    """The new state for the browser, see page.js."""
    try:
        found = session.result(since)
    except FssegError as error:
        found, message = None, message or str(error)
    painter = html.painter(session) if repaints else None
    shown = {"message": message, "painter": painter, "hint": session.hint(), "result": html.result(session, found)}
    return {**shown, "supports": html.supports(session), "queries": html.queries(session), **more}


def _stroke(session: Session, sent: dict[str, Any]) -> None:
    layer, way = sent.get("layer"), way_of(sent.get("way"))
    session.paint(sent.get("number"), lambda size: read_layer(layer, size), way)


def _annotate(session: Session, sent: dict[str, Any]) -> None:
    support, name = session.find_support(sent.get("number")), file_name(str(sent.get("name")))
    given = read_annotation(str(sent.get("json")).encode(), support.picture, name)
    saving.annotate(session, sent["number"], given)


def _example(session: Session, _: dict[str, Any]) -> None:
    for add, numbers in zip((session.add_support, session.add_query), _EXAMPLES, strict=True):
        for number in numbers[::-1]:
            image = draw(_SHAPES, 0, number)[0]
            add(Picture(f"shapes-{number:05d}.png", image, (_SHAPES, _SHAPES)))


def _maps(session: Session, _: dict[str, Any]) -> None:
    session.maps = not session.maps


def _all_masks(session: Session, _: dict[str, Any]) -> dict[str, Any]:
    found = [result for number in session.queries if (result := session.result(number=number))]
    files = [(drawing.mask_name(one.query.name), drawing.mask_file(one.mask, one.query.size)) for one in found]
    return {"message": "", "archive": drawing.archive(files)}


def _saved(session: Session, _: dict[str, Any]) -> dict[str, Any]:
    content = base64.b64encode(write_supports(saving.annotated(session))).decode()
    return {"message": "", "archive": f"data:application/zip;base64,{content}", "archive_name": "supports.zip"}


def _click(session: Session, sent: dict[str, Any]) -> dict[str, Any]:
    """The region around a pixel, as a layer of 0 and 1."""
    image = session.find_support(sent.get("number")).picture.image
    height, width = image.shape[:2]
    x, y, reach = (sent.get(name) for name in ("x", "y", "reach"))
    for value, most in ((x, width - 1), (y, height - 1), (reach, 1)):
        if not (isinstance(value, int | float) and 0 <= value <= most):
            raise FssegError("this place is not on the image. Click on the image.")
    region = region_around(session.segmenter, image, int(y), int(x), float(reach))  # type: ignore[arg-type]
    return {"message": "", "region": drawing.layer(region)}


def _tile(session: Session, sent: dict[str, Any]) -> dict[str, Any]:
    """A query with its prediction for the grid, and its uncertainty."""
    number = sent.get("number")
    if not isinstance(number, int) or number not in session.queries:
        return {"message": ""}  # removed meanwhile
    found = session.result(number=number, unsure=True)
    picture = drawing.tile(session.queries[number].image, found.mask if found else None)
    doubt = None if found is None or session.is_support(number) else found.uncertainty
    return {"message": "", "tile": {"number": number, "picture": picture, "uncertainty": doubt}}


def _kept(session: Session, sent: dict[str, Any]) -> dict[str, Any]:
    """An image without loss, which the browser keeps; and the layer of a support."""
    number = sent.get("number")
    if isinstance(number, int) and number in session.queries:
        picture = session.queries[number]
        return {"message": "", "kept": {"name": picture.name, "image": base64.b64encode(png(picture.image)).decode()}}
    support = session.find_support(number)
    image = base64.b64encode(png(support.picture.image)).decode()
    layer = {"layer": drawing.layer(support.layer), "way": support.way}
    return {"message": "", "kept": {"name": support.picture.name, "image": image, **layer}}


# Events by name: the step, and whether the canvas gets a new state.
STEPS: dict[str, tuple[Step, bool]] = {
    "stroke": (_stroke, False),
    "annotate": (_annotate, True),
    "choose": (lambda session, sent: session.choose_support(sent.get("number")), True),
    "remove": (lambda session, sent: session.remove_support(sent.get("number")), True),
    "rename": (lambda session, sent: session.classes.rename(sent.get("names")), False),
    "pick": (lambda session, sent: session.choose_query(sent.get("number")), False),
    "drop": (lambda session, sent: session.remove_query(sent.get("number")), False),
    "correct": (lambda session, sent: session.correct(sent.get("number")), True),
    "threshold": (lambda session, sent: session.set_threshold(sent.get("value")), False),
    "maps": (_maps, False),
    "rest": (lambda session, sent: None, True),
    "example": (_example, True),
}
ANSWERS: dict[str, Answer] = {
    "all": _all_masks,
    "save": _saved,
    "click": _click,
    "tile": _tile,
    "keep": _kept,
}
