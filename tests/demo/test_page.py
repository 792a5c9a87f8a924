"""The page in a real browser: paint, see the mask change, download it."""

import base64
import io
import json
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest

from fsseg.datasets.shapes import draw
from fsseg.encoders import Torchvision
from fsseg.methods import PANet
from fsseg.segmenter import Segmenter
from tests.conftest import needs
from tests.demo.conftest import SIZE, TAPS, Server

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not (shutil.which("chromium") and shutil.which("chromedriver")), reason="needs chromium and chromedriver"
    ),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),  # selenium leaves its sockets to the interpreter
]
PIXELS = 160


def until(tell: Callable[[], Any], what: str, seconds: float = 30) -> Any:
    """The first true answer; a page that was redrawn meanwhile is asked again."""
    from selenium.common.exceptions import StaleElementReferenceException

    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            if answer := tell():
                return answer
        except StaleElementReferenceException:
            pass
        time.sleep(0.05)
    raise AssertionError(f"waited in vain: {what}")


class Reader:
    """A visitor of the page."""

    def __init__(self, address: str, downloads: Path) -> None:
        from selenium import webdriver
        from selenium.webdriver.chrome.service import Service

        options = webdriver.ChromeOptions()
        options.binary_location = shutil.which("chromium") or ""
        for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--window-size=1280,1000"):
            options.add_argument(argument)
        options.add_experimental_option("prefs", {"download.default_directory": str(downloads)})
        options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
        self.browser = webdriver.Chrome(options=options, service=Service(shutil.which("chromedriver")))
        self.downloads = downloads
        self.browser.get(address)
        until(lambda: self.all("#supports input[type=file]"), "the page")

    def all(self, selector: str) -> list:
        return self.browser.find_elements("css selector", selector)

    def one(self, selector: str) -> Any:
        return until(lambda: self.all(selector), selector)[0]

    def click(self, selector: str) -> None:
        """Click; click again if the page has redrawn the part meanwhile."""
        until(lambda: self.one(selector).click() is None, selector)

    def drop(self, where: str, *paths: Path, count: int) -> None:
        self.one(f"#{where} input[type=file]").send_keys("\n".join(map(str, paths)))
        shown = "#thumbs .thumb" if where == "supports" else "#grid .tile"
        until(lambda: len(self.all(shown)) == count, f"{count} pictures")

    def brush(self) -> None:
        """Choose to paint whole masks with the brush."""
        self.click("[data-way=mask]")
        self.click("[data-tool=brush]")

    def press(self, keys: str) -> None:
        """Press keys over the canvas."""
        from selenium.webdriver.common.action_chains import ActionChains

        ActionChains(self.browser).send_keys(keys).perform()

    def run(self, script: str) -> Any:
        return self.browser.execute_script(script)

    def drag(self, start: tuple[float, float], *stops: tuple[float, float]) -> None:
        """Paint along points given as fractions of the canvas."""
        from selenium.webdriver.common.action_chains import ActionChains

        canvas, stage = self.one("#painter .paint"), self.one("#painter .stage")
        until(lambda: self.browser.execute_script("return arguments[0].width", canvas) == PIXELS, "the canvas")
        size = stage.size

        def at(place: tuple[float, float]) -> tuple[int, int]:
            return int((place[0] - 0.5) * size["width"]), int((place[1] - 0.5) * size["height"])

        chain = ActionChains(self.browser, duration=50).move_to_element_with_offset(stage, *at(start)).click_and_hold()
        for stop in stops:
            chain.move_to_element_with_offset(stage, *at(stop))
        chain.release().perform()

    def settled(self, before: str = "") -> str:
        """The result's overlay, once no update is on its way and it differs from another one."""
        script = "const i = document.querySelector('#result .overlay'); return i ? i.src : ''"
        source = until(lambda: (s := self.browser.execute_script(script)) != before and s, "another mask")
        while True:
            time.sleep(0.7)
            if (now := self.browser.execute_script(script)) == source:
                return str(source)
            source = now

    def labels(self) -> np.ndarray:
        """What is painted, as classes; all that is painted in these tests is one of them or background."""
        source = self.browser.execute_script("return document.querySelector('#painter .paint').toDataURL('image/png')")
        return pixels(source)

    def mask(self) -> np.ndarray:
        """The mask, downloaded by a click."""
        for old in self.downloads.glob("*"):
            old.unlink()
        self.click("#download")
        path = until(lambda: list(self.downloads.glob("*_mask.png")), "a download")[0]
        with PIL.Image.open(path) as picture:
            assert picture.mode == "P"
            return np.asarray(picture)

    @property
    def passes(self) -> int:
        return int(self.one("#result .status").get_attribute("data-passes"))


def pixels(source: str) -> np.ndarray:
    with PIL.Image.open(io.BytesIO(base64.b64decode(source.partition(",")[2]))) as picture:
        return np.asarray(picture.convert("RGBA"))


@pytest.fixture
def reader(server: Server, tmp_path: Path) -> Iterator[Reader]:
    needs("selenium", "dev")
    (tmp_path / "downloads").mkdir()
    made = Reader(server.address, tmp_path / "downloads")
    yield made
    made.browser.quit()


@pytest.fixture
def photos(tmp_path: Path) -> list[Path]:
    paths = [tmp_path / f"photo{number}.png" for number in (0, 20, 40, 60)]
    for path in paths:
        PIL.Image.fromarray(draw(PIXELS, 0, int(path.stem[5:]))[0]).save(path)
    return paths


def expected(server: Server, photos: list[Path], labels: np.ndarray) -> np.ndarray:
    method = PANet(Torchvision("squeezenet1_0", (TAPS,), weights=str(server.weights)))
    segmenter = Segmenter(method, SIZE, device="cpu")
    segmenter.learn(photos[0], labels)
    return segmenter.segment(photos[2])


def test_paint_see_the_mask_change_and_download_it(reader, server, photos):
    reader.drop("supports", photos[0], count=1)
    reader.drop("queries", photos[2], count=1)
    reader.brush()
    reader.drag((0.3, 0.3), (0.6, 0.35), (0.5, 0.6))
    first = reader.settled()
    assert reader.passes == 0
    painted = (reader.labels()[..., 3] > 0).astype(np.uint8)
    assert 100 < painted.sum() < PIXELS**2 / 4
    downloaded = reader.mask()
    np.testing.assert_array_equal(downloaded, expected(server, photos, painted))
    assert 0 < downloaded.mean() < 1

    reader.drag((0.8, 0.8), (0.9, 0.6))
    reader.settled(first)
    assert reader.passes == 0
    more = (reader.labels()[..., 3] > 0).astype(np.uint8)
    assert more.sum() > painted.sum()
    np.testing.assert_array_equal(reader.mask(), expected(server, photos, more))

    reader.click("#painter .undo")
    until(lambda: (reader.labels()[..., 3] > 0).sum() == painted.sum(), "one stroke less")
    assert reader.settled() == first


def test_boxes_scribbles_and_outlines_mean_what_they_say(reader, server, photos):
    reader.drop("supports", photos[0], count=1)
    reader.drop("queries", photos[2], count=1)
    reader.click("[data-way=box]")
    reader.drag((0.25, 0.25), (0.5, 0.4), (0.75, 0.6))
    box = reader.settled()
    region = reader.labels()[..., 3] > 0
    rows, columns = np.flatnonzero(region.any(1)), np.flatnonzero(region.any(0))
    assert region.sum() == len(rows) * len(columns)
    assert abs(len(columns) - PIXELS / 2) < 4
    assert abs(len(rows) - 0.35 * PIXELS) < 4
    assert len(reader.all("#painter .boxes div")) == 1
    np.testing.assert_array_equal(reader.mask(), expected(server, photos, region.astype(np.uint8)))

    reader.click("[data-way=scribble]")
    reader.click("[data-tool=brush]")
    until(lambda: "background" in reader.one("#painter .hint").text, "what is missing")
    reader.click("#painter .swatch.back")
    reader.drag((0.1, 0.9), (0.9, 0.9))
    reader.settled(box)
    colours = reader.labels()
    labels = np.full(colours.shape[:2], 255, np.uint8)
    labels[colours[..., 3] > 0] = 0
    labels[(colours[..., :3] == (230, 159, 0)).all(2)] = 1
    assert {0, 1, 255} == set(np.unique(labels))
    np.testing.assert_array_equal(reader.mask(), expected(server, photos, labels))

    reader.click("#painter .clear")
    until(lambda: not reader.all("#result .overlay"), "no mask")
    reader.click("[data-way=mask]")
    reader.click("[data-tool=outline]")
    reader.drag((0.2, 0.2), (0.8, 0.2), (0.8, 0.8), (0.2, 0.8))
    reader.settled()
    filled = reader.labels()[..., 3] > 0
    assert abs(filled.mean() - 0.36) < 0.03
    assert filled[PIXELS // 2, PIXELS // 2]


def test_classes_by_colour_names_scores_maps_and_all_masks(reader, photos):
    reader.drop("supports", *photos[:2], count=2)
    reader.drop("queries", *photos[1:3], count=2)
    reader.brush()
    reader.drag((0.2, 0.2), (0.4, 0.4))
    reader.settled()
    assert "needs 2 supports" in reader.one("#result .found").text
    reader.click("#painter .more")
    reader.drag((0.6, 0.7), (0.8, 0.8))
    until(lambda: len(reader.all("#result .found .row")) == 2, "two classes")
    field = reader.all("#painter .chip input")[1]
    field.clear()
    field.send_keys("<i>star</i>\n")
    reader.one("h1").click()
    until(lambda: "<i>star</i>" in reader.one("#result .found").text, "the name")
    assert {1, 2} & set(np.unique(reader.mask()))

    reader.all("#thumbs .thumb")[0].click()
    until(lambda: not (reader.labels()[..., 3] > 0).any(), "the other support")
    reader.brush()
    reader.all("#painter .swatch")[0].click()
    reader.drag((0.3, 0.3), (0.5, 0.5))
    until(lambda: "needs 2 supports" in reader.all("#result .found .row")[1].text, "one score")
    until(lambda: "needs 2 supports" not in reader.all("#result .found .row")[0].text, "one score")
    reader.click("[data-do=maps]")
    until(lambda: len(reader.all("#result figure")) == 4, "maps of two classes")
    assert reader.passes == 0
    tile = reader.all("#grid .tile")[0]  # a prediction may redraw it between press and release
    tile.click()
    until(lambda: "photo20" in reader.one("#download").get_attribute("download"), "the other query")
    assert tile.get_attribute("class") == "tile chosen", "the same button"
    reader.click("[data-do=all]")
    until(lambda: list(reader.downloads.glob("masks.zip")), "all masks")

    reader.click("[data-way=nothing]")
    until(lambda: "chosen" in reader.one("[data-way=nothing]").get_attribute("class"), "not this")
    until(lambda: "needs 2 supports" in reader.all("#result .found .row")[0].text, "one support less")


def test_mistakes_are_a_line_and_no_request_leaves_the_machine(reader, server, photos, tmp_path):
    (tmp_path / "text.jpg").write_text("no picture")
    reader.one("#supports input[type=file]").send_keys(str(tmp_path / "text.jpg"))
    until(lambda: "text.jpg cannot be decoded" in reader.one("#message").text, "a line")
    reader.drop("supports", photos[0], count=1)
    until(lambda: not reader.all("#message .message"), "no line any more")
    asked = set()
    for line in reader.browser.get_log("performance"):
        message = json.loads(line["message"])["message"]
        if message["method"] == "Network.requestWillBeSent":
            asked.add(message["params"]["request"]["url"])
    assert f"{server.address}/pictures/supports?name=text.jpg" in asked
    assert [a for a in asked if not a.startswith((f"{server.address}/", "data:", "blob:", "chrome"))] == []
    said = [line["message"] for line in reader.browser.get_log("browser") if line["level"] == "SEVERE"]
    assert said == []

    (tmp_path / "large.png").write_bytes(bytes(2**20 + 1))
    reader.one("#supports input[type=file]").send_keys(str(tmp_path / "large.png"))
    until(lambda: "large.png has 1.0 MB; at most 1 MB are allowed" in reader.one("#message").text, "what is too large")


def shown(reader: Reader) -> tuple:
    """What a visitor must not lose: supports with their state, queries, paint, and the result."""
    states = [one.get_attribute("data-state") for one in reader.all("#thumbs .thumb")]
    paint = (reader.labels()[..., 3] > 0).sum()
    return states, len(reader.all("#grid .tile")), paint, reader.run("return document.querySelector('.overlay')?.src")


def clicked(reader: Reader, photos: list[Path]) -> tuple:
    """Two supports and two queries; click on the second support's object and background."""
    reader.drop("supports", *photos[:2], count=2)
    reader.drop("queries", *photos[2:], count=2)
    reader.drag((0.5, 0.5))
    until(lambda: (reader.labels()[..., 3] > 0).any(), "a region")
    until(lambda: "striped" in reader.one("#painter .hint").text, "what is missing")
    reader.click("#painter .swatch.back")
    reader.drag((0.02, 0.02))
    reader.settled()
    return shown(reader)


def test_a_reload_an_ended_session_and_a_closed_tab_lose_nothing(reader, server, photos):
    before = clicked(reader, photos)
    assert before[0] == ["empty", "used"]
    reader.browser.refresh()
    until(lambda: "Your work is back" in reader.one("#message").text, "the work")
    until(lambda: shown(reader) == before, "the same page")

    reader.run("window.fetch = ((real) => (path, given) => { window.seen = given.headers['X-Session'];"
               " return real(path, given); })(window.fetch)")  # fmt: skip
    reader.click("#grid .tile")
    until(lambda: reader.run("return window.seen"), "the session's key")
    reader.run("navigator.sendBeacon('/leave', window.seen)")
    reader.drag((0.9, 0.9))
    reader.click("#grid .tile")
    until(lambda: "Your work is back" in reader.one("#message").text, "a new session")
    until(lambda: len(reader.all("#grid .tile")) == 2 and shown(reader)[0] == before[0], "the same page")
    assert (reader.labels()[..., 3] > 0).sum() >= before[2]

    reader.browser.switch_to.new_window("tab")
    reader.browser.get(server.address)
    until(lambda: "Bring back 2 supports and 2 queries" in reader.one("#back").text, "an offer in another tab")
    assert not reader.all("#thumbs .thumb")
    reader.click("#back")
    until(lambda: len(reader.all("#grid .tile")) == 2, "the queries of the first tab")
    until(lambda: [one.get_attribute("data-state") for one in reader.all("#thumbs .thumb")] == before[0], "supports")


def test_zoom_keys_grid_threshold_and_corrections(reader, photos):
    _, _, paint, overlay = clicked(reader, photos)
    until(lambda: len(reader.all("#grid .badge")) == 1, "a proposal")
    reader.press("++")
    assert reader.one(".percent").text == "2.3x"
    reader.click("[data-tool=brush]")
    size = int(reader.one("#painter .size").get_attribute("value"))
    reader.press("]]]]")
    assert int(reader.one("#painter .size").get_attribute("value")) == size + 4
    reader.drag((0.5, 0.5), (0.6, 0.5))
    now = reader.labels()
    reader.settled()
    assert (now[..., 3] > 0).sum() >= paint
    reader.press("u")
    until(lambda: (reader.labels()[..., 3] > 0).sum() == paint, "one stroke less")
    assert reader.settled() == overlay
    reader.press("0")
    assert reader.one(".percent").text == "1.0x"

    reader.click("[data-do=correct]")
    until(lambda: len(reader.all("#thumbs .thumb")) == 3, "the query as a support")
    until(lambda: reader.one("#painter .guide").is_displayed(), "the prediction below the paint")
    assert "Paint what is wrong" in reader.one("#painter .hint").text
    reader.drag((0.1, 0.1), (0.9, 0.9))
    until(lambda: reader.all("#thumbs .thumb")[2].get_attribute("data-state") == "used", "a correction")
    until(lambda: len(reader.all("#grid .badge")) == 0, "one query is left")
    reader.run("const t = document.getElementById('threshold'); t.value = 100; t.dispatchEvent(new Event('input'))")
    until(lambda: "1.00" in reader.one("#at").text, "the threshold")


def test_supports_and_the_learnt_file_are_saved_and_loaded(reader, photos):
    before = clicked(reader, photos)
    reader.click("#save")
    zipped = until(lambda: list(reader.downloads.glob("supports.zip")), "supports")[0]
    reader.click("#learnt")
    learnt = until(lambda: list(reader.downloads.glob("learnt.fsseg")), "the learnt file")[0]
    for _ in range(2):
        reader.click("#painter .away")
        time.sleep(0.5)
    until(lambda: not reader.all("#thumbs .thumb"), "no support")
    until(lambda: not reader.all("#result .overlay"), "no mask")
    reader.one("#supports input[type=file]").send_keys(str(learnt))
    assert reader.settled() == before[3]
    reader.browser.refresh()
    until(lambda: reader.run("return document.querySelector('.overlay')?.src") == before[3], "the learnt file")
    reader.drop("supports", zipped, count=2)
    until(lambda: shown(reader)[:3] == (["empty", "used"], *before[1:3]), "the supports")


def test_mistakes_of_a_visitor_are_a_line_and_nothing_is_lost(reader, photos, tmp_path):
    before = clicked(reader, photos)
    (tmp_path / "broken.fsseg").write_bytes(b"text")
    (tmp_path / "other.zip").write_bytes(b"text")
    (tmp_path / "alone.json").write_text('{"shapes": []}')
    (tmp_path / "photo20.json").write_text("{")
    (tmp_path / "empty.png").write_bytes(b"")
    for name, where, said in (
        ("broken.fsseg", "supports", "broken.fsseg cannot be read"),
        ("other.zip", "supports", "other.zip is no complete zip file"),
        ("alone.json", "supports", "alone.json: no support has this name"),
        ("photo20.json", "supports", "photo20.json is no complete JSON file"),
        ("empty.png", "queries", "empty.png cannot be decoded"),
        ("broken.fsseg", "queries", "broken.fsseg belongs to the supports"),
    ):
        reader.one(f"#{where} input[type=file]").send_keys(str(tmp_path / name))
        until(lambda said=said: said in reader.one("#message").text, said)
        assert "\n" not in reader.one("#message").text
        assert shown(reader) == before
