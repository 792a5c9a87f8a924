"""The page of a run: whole, and free of any network."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.results.folders import make_test

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@pytest.mark.slow
def test_a_run_becomes_one_page(fsseg, finished_test):
    run = finished_test.parent
    ran = fsseg("report", str(run))
    assert ran.code == 0, ran.err
    page = (run / "report.html").read_text()
    assert not re.findall(r"(?:src|href)=\"(?!data:|#)", page)
    assert "http://" not in page.replace("http://www.w3.org", "")
    assert "<script" not in page
    for section in ("results", "training", "pictures", "protocol", "configuration", "environment"):
        assert f'id="{section}"' in page
    for text in ("plain disc", "mean-IoU", "bootstrap interval", "max_steps: 4", "evaluate_at", "threads", "torch"):
        assert text in page, text
    assert page.count('src="data:image/png;base64,') >= 5  # curves, classes, sizes, episodes, prototypes


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here")
def test_a_browser_shows_it_without_a_network(fsseg, finished_test, tmp_path):
    assert fsseg("report", str(finished_test), "--quick", "--out", "page/report.html").code == 0
    page = tmp_path / "page/report.html"
    offline = ["--headless", "--no-sandbox", "--disable-gpu", "--host-resolver-rules=MAP * ~NOTFOUND"]
    script = (
        "<script>document.title = [...document.images].every(i => i.naturalWidth > 0) + ' ' + document.images.length"
    )
    (tmp_path / "page/probe.html").write_text(page.read_text().replace("</body>", f"{script}</script></body>"))
    ran = subprocess.run(
        [str(CHROMIUM), *offline, "--dump-dom", (tmp_path / "page/probe.html").as_uri()],
        capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    title = re.search("<title>(true|false) (\\d+)</title>", ran.stdout)
    assert title, ran.stderr[-500:]
    assert title[1] == "true"
    assert int(title[2]) >= 3


@pytest.mark.slow
def test_a_page_of_many_tests_without_their_checkpoints(fsseg, tmp_path):
    for fold in range(4):
        make_test(tmp_path / f"runs/fold{fold}/test", fold=fold)
    ran = fsseg("report", "runs", "--out", "all.html")
    assert ran.code == 0, ran.err
    page = Path("all.html").read_text()
    assert "published, VGG16" in page
    assert "no test: config.yaml is missing" in page or "is missing" in page
    assert "not recorded" in page
    assert "`fsseg look` draws those of the other 3" in page


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("report", "none"), "none: no such folder"),
        (("report", "."), "holds no finished test"),
        (("report", ".", "--fast"), "no option --fast"),
        (("report", ".", ".."), "one argument too many"),
    ],
)
def test_wrong_input_is_one_line(fsseg, options, said):
    ran = fsseg(*options)
    assert ran.code == 2
    assert said in ran.line
