"""The page: Gradio carries events and pictures; what they mean is `fsseg.demo.session`'s affair."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import gradio as gr

from fsseg.data.shapes import draw
from fsseg.demo import drawing, html
from fsseg.demo.painting import BACK, read_layer, way_of
from fsseg.demo.pictures import Limits, Picture, file_name, read_picture
from fsseg.demo.session import Session
from fsseg.demo.sessions import Sessions
from fsseg.errors import FssegError

_HERE = Path(__file__).parent
_SECONDS = 300  # after which a file that was sent, and never read, is deleted
_SHAPES = 256  # pixels of an example
_EXAMPLES = (
    (1202, 1288),
    (1340, 1402),
)  # of the built-in data, all with a plain disc and a striped star: supports, queries
QUIET: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}  # no spinner, no page of the API
CSS = (_HERE / "page.css").read_text()

# What a person does: changes the session, by what the browser says of it.
Step = Callable[[Session, Any], None]


class Page(NamedTuple):
    """Parts of the page that answers go to."""

    message: Any
    painter: Any
    result: Any


def theme() -> Any:
    """Fonts of the reader's own machine, so that none is fetched."""
    fonts = ["system-ui", "-apple-system", "Segoe UI", "sans-serif"]
    return gr.themes.Base(
        primary_hue="blue", neutral_hue="gray", font=fonts, font_mono=["ui-monospace", "monospace"], radius_size="md"
    )


def build(sessions: Sessions, limits: Limits, folder: Path, about: str, note: str = "") -> gr.Blocks:
    """The page.

    Args:
        sessions: of all who look at it.
        limits: of pictures that are sent.
        folder: where Gradio puts them; nothing else is read.
        about: the method, in a line.
        note: what to know of it, e.g. that it is not trained.
    """
    with gr.Blocks(title="fsseg demo", analytics_enabled=False, delete_cache=(_SECONDS, _SECONDS)) as blocks:
        gr.HTML(html.heading(about, note))
        message = gr.HTML("", elem_id="message")
        with gr.Row(equal_height=False, elem_id="columns"):
            with gr.Column(min_width=380):
                gr.HTML(html.title("Supports", "paint what is to be found"))
                supports = _dropped("Supports", "supports")
                painter = _painter()
            with gr.Column(min_width=380):
                gr.HTML(html.title("Queries", "see it found while you paint"))
                queries = _dropped("Queries", "queries")
                result = gr.HTML(
                    "",
                    js_on_load=(_HERE / "result.js").read_text(),
                    elem_id="result",
                    apply_default_css=False,
                    archive="",
                )
        example = gr.Button("Try it with built-in pictures", size="sm", elem_id="example")
        page = Page(message, painter, result)
        _wire_drops(page, sessions, partial(_received, folder.resolve(), limits), supports, queries, example)
        _wire_painter(page, sessions)
        _wire_result(page, sessions)
        blocks.load(_fresh(sessions), None, list(page), **QUIET)
        blocks.unload(_leaving(sessions))
    return blocks


def _received(folder: Path, limits: Limits, path: Path) -> Picture:
    """A picture that was sent, which is deleted when it is read: it is in memory then, or of no use.

    Raises:
        FssegError: see `read_picture`; or it is another file, which a forged request names.
    """
    if not path.resolve().is_relative_to(folder):
        raise FssegError(f"{file_name(path.name)} was not sent. Drop it again.")
    try:
        return read_picture(path, limits)
    finally:
        path.unlink(missing_ok=True)
        for left in folder.glob("tmp*"):  # Gradio makes an empty one for each picture, and forgets it
            left.unlink(missing_ok=True)


def _dropped(label: str, name: str) -> Any:
    """Where pictures are dropped. Their kind is told from their content, not from their names."""
    place = gr.File(label=label, file_count="multiple", elem_id=name, height=46, show_label=False)
    move = place.async_move_resource_to_block_cache

    async def only_files(path: str | None) -> str | None:
        """Gradio would fetch the address that a forged request names in the place of a file."""
        if path is None or not Path(path).is_absolute():
            raise gr.Error("only pictures that were sent are taken.", print_exception=False)
        moved: str | None = await move(path)
        return moved

    place.async_move_resource_to_block_cache = only_files
    return place


def _painter() -> Any:
    empty: dict[str, Any] = {"supports": [], "selected": 0, "picture": "", "layer": "", "width": 0, "height": 0,
                             "way": "mask", "classes": [], "known": 1, "hint": ""}  # fmt: skip
    return gr.HTML(
        empty,
        html_template=(_HERE / "painter.html").read_text(),
        js_on_load=(_HERE / "painter.js").read_text(),
        elem_id="painter",
        apply_default_css=False,
        back=BACK,
        answered=0,
        hint="",
    )


def _key(request: gr.Request) -> str:
    key = request.session_hash
    if not key:
        raise gr.Error("a session's key is needed.", print_exception=False)
    return str(key)


def _leaving(sessions: Sessions) -> Callable[..., None]:
    def leave(request: gr.Request) -> None:
        sessions.forget(str(request.session_hash))

    return leave


def _fresh(sessions: Sessions) -> Callable[..., Any]:
    def load(request: gr.Request) -> list[Any]:
        session = sessions.get(_key(request))
        return _answer(session, "", session.now())

    return load


def _step(sessions: Sessions, step: Step, repaints: bool = True) -> Callable[..., Any]:
    """A listener: takes a step, and shows what came of it; a mistake is a line, and all else stays as it is.

    Args:
        sessions: of all.
        step: what to do with a session and the event's data.
        repaints: give the canvas a new state; else only say that its stroke was answered.
    """

    def listen(event: gr.EventData, request: gr.Request) -> list[Any]:
        session, said = sessions.get(_key(request)), ""
        with session.lock:
            since = session.now()
            try:
                step(session, event._data if isinstance(event._data, dict) else {})
            except FssegError as error:
                said = str(error)
            return _answer(session, said, since, repaints)

    return listen


def _answer(session: Session, said: str, since: tuple[float, int], repaints: bool = True) -> list[Any]:
    try:
        found = session.result(since)
    except FssegError as error:
        found, said = None, said or str(error)
    answered = {"answered": session.answered, "hint": session.hint()}
    canvas = gr.HTML(html.painter(session), **answered) if repaints else gr.HTML(**answered)
    return [html.message(said), canvas, gr.HTML(html.result(session, found), archive="")]


def _wire_drops(
    page: Page, sessions: Sessions, read: Callable[[Path], Picture], supports: Any, queries: Any, example: Any
) -> None:
    """What is dropped, and the examples."""

    def taken(add: Callable[[Session, Picture], None]) -> Callable[..., Any]:
        def take(files: list[str] | None, request: gr.Request) -> list[Any]:
            session, said = sessions.get(_key(request)), []
            with session.lock:
                since = session.now()
                for path in map(Path, files or []):
                    try:
                        add(session, read(path))
                    except FssegError as error:
                        said.append(str(error))
                return [*_answer(session, " ".join(said), since), None]

        return take

    def shapes(session: Session, _: Any) -> None:
        for add, numbers in zip((session.add_support, session.add_query), _EXAMPLES, strict=True):
            for number in numbers[::-1]:
                image = draw(_SHAPES, 0, number)[0]
                add(Picture(f"shapes-{number:05d}.png", image, (_SHAPES, _SHAPES)))

    for place, add in ((supports, Session.add_support), (queries, Session.add_query)):
        place.upload(
            taken(add), place, [*page, place], show_progress="minimal", show_progress_on=place, api_visibility="private"
        )
    example.click(_step(sessions, shapes), None, list(page), **QUIET)


def _wire_painter(page: Page, sessions: Sessions) -> None:
    def stroke(session: Session, sent: Any) -> None:
        session.answered += 1
        layer, way = sent.get("layer"), way_of(sent.get("way"))
        session.paint(sent.get("number"), lambda size: read_layer(layer, size), way)

    steps: dict[str, tuple[Step, bool]] = {
        "stroke": (stroke, False),
        "choose": (lambda session, sent: session.choose_support(sent.get("number")), True),
        "remove": (lambda session, sent: session.remove_support(sent.get("number")), True),
        "rename": (lambda session, sent: session.rename(sent.get("names")), False),
    }
    for name, (step, repaints) in steps.items():
        listener = _step(sessions, step, repaints)
        getattr(page.painter, name)(listener, None, list(page), trigger_mode="multiple", **QUIET)


def _wire_result(page: Page, sessions: Sessions) -> None:
    def maps(session: Session, _: Any) -> None:
        session.maps = not session.maps

    steps: dict[str, Step] = {
        "pick": lambda session, sent: session.choose_query(sent.get("number")),
        "drop": lambda session, sent: session.remove_query(sent.get("number")),
        "maps": maps,
    }
    for name, step in steps.items():
        getattr(page.result, name)(_step(sessions, step, False), None, list(page), **QUIET)

    def every(request: gr.Request) -> Any:
        session = sessions.get(_key(request))
        with session.lock:
            found = [result for number in session.queries if (result := session.result(number=number))]
        files = [(drawing.mask_name(one.query.name), drawing.mask_file(one.mask, one.query.size)) for one in found]
        return gr.HTML(archive=drawing.archive(files))

    page.result.all(every, None, page.result, **QUIET)
