"""`fsseg zoo` against a local server: whole, interrupted, damaged and hostile."""

import hashlib
import io
import json
import threading
from collections.abc import Iterator
from email.message import Message
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request

import pytest
import yaml

from fsseg import download
from fsseg.zoo.index import read_index
from fsseg.zoo.model_card import card_of, is_safe
from fsseg.zoo.places import place
from fsseg.zoo.readme import readme_text
from tests.prepare.conftest import Server
from tests.zoo.conftest import CONTENT, Zoo, card, index

TARGET = Path("zoo/panet-fold0/panet-fold0.ckpt")
PART = TARGET.with_name("panet-fold0.ckpt.part")


def refused(ran: Any) -> str:
    """The one line of a refused command."""
    progress = ("downloading ", "checking ", "copying ")
    lines = [line for line in ran.err.strip().splitlines() if not line.startswith(progress)]
    assert (ran.code, len(lines), lines[0][:7]) == (2, 1, "fsseg: "), ran.err
    return ran.line


# What works


def test_a_zoo_is_listed_and_fetched_once(fsseg: Any, zoo: Zoo) -> None:
    ran = fsseg("zoo", "list", "--index", zoo.url)
    assert ran.code == 0, ran.err
    head, line = (row.split() for row in ran.out.splitlines())
    assert head == ["name", "method", "encoder", "data", "protocol", "mean-IoU", "licence", "size"]
    facts, numbers = "panet-fold0 PANet VGG16 PASCAL-5i fold 0", "panet, 1-way 5-shot 48.1 +- 0.3 apache-2.0 0.3 MB"
    assert " ".join(line) == f"{facts} {numbers}"
    ran = fsseg("zoo", "fetch", "panet-fold0", "--index", zoo.url)
    assert ran.code == 0, ran.err
    assert TARGET.read_bytes() == CONTENT
    assert not PART.exists()
    assert ran.out.index("size      0.3 MB") < ran.out.index("licence   apache-2.0") < ran.out.index("fetched, SHA-256")
    assert f"fsseg test --ckpt_path {TARGET} --data.root DIR --protocol.name panet --data.test_shot 5" in ran.out
    assert f"fsseg predict --ckpt_path {TARGET} --support" in ran.out
    assert "downloading panet-fold0.ckpt: 0.3 of 0.3 MB" in ran.err
    assert json.loads(TARGET.with_name("card.json").read_text()) == card()
    assert TARGET.with_name("README.md").read_text() == readme_text(card_of(card(), ""))
    asked = len(zoo.server.asked)
    ran = fsseg("zoo", "fetch", "panet-fold0", "--index", zoo.url)
    assert (ran.code, "there already, SHA-256" in ran.out) == (0, True)
    assert [name for name, _ in zoo.server.asked[asked:]] == ["zoo/index.json"]


def test_a_folder_and_a_variable_name_a_zoo(fsseg: Any, local: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for where in (local, local / "index.json"):
        assert "panet-fold0" in fsseg("zoo", "list", "--index", str(where)).out
    monkeypatch.setenv("FSSEG_ZOO", str(local))
    ran = fsseg("zoo", "fetch", "panet-fold0", "--out", "here")
    assert ran.code == 0, ran.err
    assert Path("here/panet-fold0.ckpt").read_bytes() == CONTENT
    assert "fsseg test --ckpt_path here/panet-fold0.ckpt" in ran.out
    (local / "panet-fold0/panet-fold0.ckpt").write_bytes(CONTENT[:-1])
    assert "has 299,999 bytes, its card says 300,000" in refused(fsseg("zoo", "fetch", "panet-fold0", "--out", "b"))
    (local / "panet-fold0/panet-fold0.ckpt").write_bytes(CONTENT[:-1] + b"x")
    assert "it is damaged or was changed" in refused(fsseg("zoo", "fetch", "panet-fold0", "--out", "b"))
    (local / "panet-fold0/panet-fold0.ckpt").unlink()
    assert "no such file" in refused(fsseg("zoo", "fetch", "panet-fold0", "--out", "b"))


def test_a_url_may_name_the_folder_of_an_index(fsseg: Any, zoo: Zoo) -> None:
    assert fsseg("zoo", "list", "--index", zoo.url.removesuffix("index.json")).code == 0
    assert fsseg("zoo", "list", "--index", f"{zoo.url}?download=true").code == 2  # the server takes it for a name
    assert zoo.server.asked[-1][0] == "zoo/index.json?download=true"


# Transfers


def test_an_interrupted_download_resumes(fsseg: Any, zoo: Zoo) -> None:
    zoo.server.broken = {zoo.file: (100_000, 2)}
    ran = fsseg("zoo", "fetch", "panet-fold0", "--index", zoo.url)
    assert ran.code == 0, ran.err
    ranges = [asked for name, asked in zoo.server.asked if name == zoo.file]
    assert ranges == [None, "bytes=100000-", "bytes=200000-"]
    assert TARGET.read_bytes() == CONTENT


def test_a_later_command_resumes_and_a_server_without_ranges_restarts(fsseg: Any, zoo: Zoo) -> None:
    for ranges in (True, False):
        zoo.server.ranges, zoo.server.sent = ranges, 0
        TARGET.parent.mkdir(parents=True, exist_ok=True)
        TARGET.unlink(missing_ok=True)
        PART.write_bytes(CONTENT[:250_000])
        ran = fsseg("zoo", "fetch", "panet-fold0", "--index", zoo.url)
        assert ran.code == 0, ran.err
        assert TARGET.read_bytes() == CONTENT
        sent = 50_000 if ranges else 300_000
        assert zoo.server.sent == sent + len(zoo.server.files["zoo/index.json"])


def test_a_download_that_gets_nowhere_keeps_its_part(fsseg: Any, zoo: Zoo) -> None:
    zoo.server.broken = {zoo.file: (100_000, 1)}
    zoo.server.files["zoo/other"] = b""
    TARGET.parent.mkdir(parents=True)
    PART.write_bytes(CONTENT[:1000])
    zoo.server.broken = {zoo.file: (0, 100)}
    assert "breaks off at 0.00 GB" in fsseg("zoo", "fetch", "panet-fold0", "--index", zoo.url).line
    assert PART.read_bytes() == CONTENT[:1000]


def test_a_part_of_another_file_is_replaced_once(fsseg: Any, zoo: Zoo) -> None:
    for old in (b"x" * 1000, b"x" * 300_000, b"x" * 400_000):
        TARGET.parent.mkdir(parents=True, exist_ok=True)
        TARGET.unlink(missing_ok=True)
        PART.write_bytes(old)
        ran = fsseg("zoo", "fetch", "panet-fold0", "--index", zoo.url)
        assert ran.code == 0, ran.err
        assert TARGET.read_bytes() == CONTENT


def test_a_wrong_hash_is_one_line_and_loses_nothing(fsseg: Any, zoo: Zoo) -> None:
    zoo.server.files[zoo.file] = CONTENT[:-1] + b"x"
    line = fsseg("zoo", "fetch", "panet-fold0", "--index", zoo.url).line
    assert "panet-fold0.ckpt has the SHA-256" in line
    assert hashlib.sha256(CONTENT).hexdigest()[:12] in line
    assert list(TARGET.parent.iterdir()) == []
    TARGET.write_bytes(b"mine")
    assert "is another file than panet-fold0's" in refused(fsseg("zoo", "fetch", "panet-fold0", "--index", zoo.url))
    assert [(path, path.read_bytes()) for path in TARGET.parent.iterdir()] == [(TARGET, b"mine")]


def test_another_size_is_refused_before_the_download(fsseg: Any, zoo: Zoo) -> None:
    zoo.server.files[zoo.file] = CONTENT * 2
    line = refused(fsseg("zoo", "fetch", "panet-fold0", "--index", zoo.url))
    assert "has 600,000 bytes, 300,000 are expected" in line
    assert not PART.exists()


def test_what_a_server_lacks_and_a_server_that_is_gone(fsseg: Any, zoo: Zoo) -> None:
    del zoo.server.files[zoo.file]
    assert "cannot be reached (HTTP 404)" in refused(fsseg("zoo", "fetch", "panet-fold0", "--index", zoo.url))
    assert "cannot be reached (HTTP 404)" in refused(fsseg("zoo", "list", "--index", f"{zoo.server.url}/none.json"))
    gone = fsseg("zoo", "list", "--index", "http://127.0.0.1:9/index.json")
    assert "cannot be reached" in refused(gone)


# Hugging Face's addresses, tokens and redirects


@pytest.fixture
def other() -> Iterator[Server]:
    """A server on another host than the zoo's: another port of this machine."""
    made = Server({"cdn/file": CONTENT})
    yield made
    made.http.shutdown()
    made.http.server_close()


def test_a_repository_of_hugging_face(fsseg: Any, zoo: Zoo, other: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", zoo.server.url)
    monkeypatch.setenv("HF_TOKEN", "secret")
    base = "lab/models/resolve/v1.0"
    zoo.server.files[f"{base}/index.json"] = index(card())
    zoo.server.moved = {
        f"{base}/panet-fold0/panet-fold0.ckpt": "/renamed",  # Hugging Face does so where a repository was renamed
        "renamed": f"{other.url}/cdn/file",  # and so to its store of large files
    }
    ran = fsseg("zoo", "fetch", "panet-fold0", "--index", "hf:lab/models@v1.0")
    assert ran.code == 0, ran.err
    assert TARGET.read_bytes() == CONTENT
    assert [token for _, token in zoo.server.tokens] == ["Bearer secret"] * 3
    assert other.tokens == [("cdn/file", None)]


def test_addresses_of_hugging_face(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HF_ENDPOINT", "HF_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    assert place("hf:a/b").source == "https://huggingface.co/a/b/resolve/main/index.json"
    assert place("hf:a/b@refs/pr/1").source == "https://huggingface.co/a/b/resolve/refs%2Fpr%2F1/index.json"
    assert place("hf:a/b").file("x", "x.ckpt") == "https://huggingface.co/a/b/resolve/main/x/x.ckpt"
    monkeypatch.setenv("HF_TOKEN", "secret")
    assert place("hf:a/b").token == "secret"
    assert place("https://huggingface.co/a/b/resolve/main/index.json").token == ""


def test_a_token_is_not_sent_to_a_plain_url(fsseg: Any, zoo: Zoo, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "secret")
    assert fsseg("zoo", "fetch", "panet-fold0", "--index", zoo.url).code == 0
    assert {token for _, token in zoo.server.tokens} == {None}


@pytest.mark.parametrize("target", ["file:///etc/hostname", "ftp://127.0.0.1/x", "gopher://x/y", "data:text/plain,x"])
def test_a_redirect_out_of_http_is_refused(fsseg: Any, zoo: Zoo, target: str) -> None:
    zoo.server.moved = {zoo.file: target}
    line = refused(fsseg("zoo", "fetch", "panet-fold0", "--index", zoo.url))
    assert "cannot be reached (HTTP 302, to an address that is refused)" in line
    zoo.server.moved = {"zoo/index.json": target}
    assert "HTTP 302, to an address that is refused" in refused(fsseg("zoo", "list", "--index", zoo.url))


def test_a_redirect_from_https_to_http_and_a_broken_address_are_refused(zoo: Zoo, fsseg: Any) -> None:
    asked = Request("https://host/a", headers={"X": "y"})
    answer = (io.BytesIO(), 302, "Found", Message())
    with pytest.raises(HTTPError):
        download._Redirects().redirect_request(asked, *answer, "http://host/a")
    assert download._Redirects().redirect_request(asked, *answer, "https://other/a").full_url == "https://other/a"
    zoo.server.moved = {zoo.file: "http://[::1/x"}
    assert "cannot be reached (Invalid IPv6 URL" in refused(fsseg("zoo", "fetch", "panet-fold0", "--index", zoo.url))


def test_a_token_with_a_line_end_is_trimmed_and_a_broken_one_refused(
    fsseg: Any, zoo: Zoo, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "secret\n")
    assert place("hf:a/b").token == "secret"
    for token in ("a\nb", "ä"):
        monkeypatch.setenv("HF_TOKEN", token)
        line = refused(fsseg("zoo", "list", "--index", "hf:a/b"))
        assert "HF_TOKEN has characters that no token has" in line
        assert token not in line
    monkeypatch.setenv("HF_ENDPOINT", "file:///etc")
    assert "HF_ENDPOINT file:///etc: a URL like" in refused(fsseg("zoo", "list", "--index", "hf:a/b"))


# Indexes


@pytest.mark.parametrize(
    ("where", "message"),
    [
        (None, "there is no official zoo yet. Name one: --index hf:OWNER/NAME"),
        ("nowhere", "--index nowhere: no such file. Make it with fsseg zoo index FOLDER"),
        ("ftp://host/index.json", "a URL like https://HOST/FOLDER/index.json is needed"),
        ("file:///etc/hostname", "a URL like https://HOST/FOLDER/index.json is needed"),
        ("https://me:secret@host/index.json", "a URL like"),
        ("http://[::1/index.json", "a URL like"),
        ("http://127.0.0.1:x/index.json", "breaks off"),
        ("http://127.0.0.1:9/ä b/index.json", "cannot be reached"),
        ("hf:lab", "hf:OWNER/NAME is needed"),
        ("hf:lab/../x", "hf:OWNER/NAME is needed"),
        ("hf:lab/models@../../other", "hf:OWNER/NAME is needed"),
    ],
)
def test_places_that_are_none(fsseg: Any, zoo: Zoo, where: str | None, message: str) -> None:
    ran = fsseg("zoo", "list", *(["--index", where] if where else []))
    assert message in refused(ran)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"<html>not found</html>", "is no JSON"),
        (b"\xff\xfe\xfa", "is no text"),
        (b"[1, 2]", "is no index of a zoo"),
        (b'{"models": []}', "is no index of a zoo"),
        (b"[" * 100_000, "nested too deeply"),
        (index(fsseg_zoo=2), "is of version 2; this fsseg reads 1. Upgrade fsseg"),
        (index(card(fsseg_card=2)), "model 1 is of version 2; this fsseg reads 1. Upgrade fsseg"),
        (index(fsseg_zoo="1"), "is a broken index"),
        (index(models={"a": 1}), "is a broken index"),
        (index(models=[3]), "has the folder 'None'"),
        (index(card(), card()), "has the name panet-fold0 twice"),
        (index(card(sha256="abc")), "is no card of fsseg"),
        (index(card(size=0)), "is no card of fsseg"),
        (index(card(size=10**30)), "is no card of fsseg"),
        (index(card(tests=[{}])), "is no card of fsseg"),
        (index(card(label="x" * 1000)), "is no card of fsseg"),
        (index(card(file="run.sh")), "a name that ends with .ckpt is needed"),
    ],
)
def test_indexes_that_are_broken(fsseg: Any, zoo: Zoo, content: bytes, message: str) -> None:
    zoo.server.files["zoo/index.json"] = content
    assert message in refused(fsseg("zoo", "list", "--index", zoo.url))


HOSTILE = ("../victim.ckpt", "/victim.ckpt", "a/victim.ckpt", "..\\victim.ckpt", "C:victim.ckpt", "~/victim.ckpt",
           ".ckpt", "", "con.ckpt", "a b.ckpt", "a%2f.ckpt", "a?b.ckpt", "a#.ckpt", "-rf.ckpt", "$(x).ckpt",
           "a\nb.ckpt",            "\x1b[31m.ckpt", "\u202e.ckpt", "ä.ckpt", "x" * 120 + ".ckpt")  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE, ids=ascii)
def test_names_that_leave_the_folder_are_refused(fsseg: Any, zoo: Zoo, name: str, tmp_path: Path) -> None:
    assert not is_safe(name)
    before = sorted(tmp_path.rglob("*"))
    for changed in (card(file=name), card(name=name.removesuffix(".ckpt") or "..")):
        zoo.server.files["zoo/index.json"] = index(changed)
        refused(fsseg("zoo", "fetch", changed["name"], "--index", zoo.url))
    for folder in (name, f"a/{name}", "..", "a/../..", "http://host", "//host/x", "a//b", "a/b/c/d/e"):
        model = {"folder": folder, "card": card()}
        if not all(map(is_safe, folder.split("/"))) and folder:
            zoo.server.files["zoo/index.json"] = index(models=[model])
            assert "a relative path of plain names" in refused(fsseg("zoo", "fetch", "panet-fold0", "--index", zoo.url))
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("text", ["\x1b[2J", "a\rb", "\u202eabc", "a\nb", "\x9b31m"], ids=ascii)
def test_no_text_of_a_card_reaches_the_terminal_with_control_characters(fsseg: Any, zoo: Zoo, text: str) -> None:
    of = card()
    changes = [{"label": text}, {"licence": text}, {"training": {**of["training"], "dataset": text}},
               {"encoder": {**of["encoder"], "name": text}},
               {"tests": [{**of["tests"][0], "notes": [text]}]}]  # fmt: skip
    for changed in changes:
        zoo.with_card(**changed)
        ran = fsseg("zoo", "list", "--index", zoo.url)
        assert "is no card of fsseg" in refused(ran)
        assert all(sign.isprintable() for sign in ran.line)


def test_markup_of_a_card_stays_text_in_its_readme() -> None:
    hostile = "<img src=x onerror=alert(1)> [a](javascript:x) `b` | c\u00a0**d** ---"
    made = card(label=hostile, licence="My: licence # 1", fsseg=hostile)
    made["training"] |= {"dataset": hostile, "classes": [hostile], "before": hostile, "origin": hostile}
    made["tests"][0] |= {"dataset": hostile, "how": hostile, "notes": [hostile], "protocol": "p; rm -rf ~"}
    made["tests"][0]["changed"] = {"runs": "1; rm -rf ~", "x rm -rf": 1, "seed": 7, "repeat_supports": True}
    text = readme_text(card_of(made, ""))
    front, body = text.removeprefix("---\n").split("\n---\n", 1)
    read = yaml.safe_load(front)
    assert read["license"] == "other"
    assert read["license_name"] == "my-licence-1"
    assert read["model-index"][0]["results"][0]["dataset"]["name"].startswith("<img src=x")
    assert "<img" not in body.replace("\\<", "")
    assert "](javascript" not in body.replace("\\]", "")
    (line,) = (line for line in body.splitlines() if line.startswith("fsseg test"))
    assert line.endswith(".ckpt --data.root DIR --protocol.seed 7 --protocol.repeat_supports true --data.test_shot 5")


def test_an_unknown_name_is_answered_with_the_known_ones(fsseg: Any, zoo: Zoo) -> None:
    line = refused(fsseg("zoo", "fetch", "panet-fold1", "--index", zoo.url))
    assert "Did you mean panet-fold0?" in line
    assert "missing: NAME" in refused(fsseg("zoo", "fetch", "--index", zoo.url))
    zoo.server.files["zoo/index.json"] = index()
    assert "It is empty." in refused(fsseg("zoo", "fetch", "a", "--index", zoo.url))
    assert "has no checkpoints" in fsseg("zoo", "list", "--index", zoo.url).out
    assert "no command 'zoo lst'. Did you mean list?" in refused(fsseg("zoo", "lst"))


def test_a_class_that_fsseg_lacks_is_named(fsseg: Any, zoo: Zoo) -> None:
    zoo.with_card(method="mine.Margin")
    ran = fsseg("zoo", "fetch", "panet-fold0", "--index", zoo.url)
    assert "needs     mine.Margin, which fsseg lacks: install it, and set FSSEG_TRUST" in ran.out


def test_each_test_of_a_checkpoint_has_a_line(fsseg: Any, zoo: Zoo) -> None:
    tests = card()["tests"]
    unknown = {**tests[0], "protocol": "fsseg", "mean_iou": {"mean": None, "std": None}, "annotation": "box"}
    zoo.server.files["zoo/index.json"] = index(card(tests=[*tests, unknown]), card("bare", tests=[], licence=None))
    lines = fsseg("zoo", "list", "--index", zoo.url).out.splitlines()
    assert [line.split("  ")[0] for line in lines] == ["name", "panet-fold0", "", "bare"]
    assert lines[2].split() == ["fsseg,", "1-way", "5-shot,", "box", "supports", "-"]
    assert "not stated" in lines[3]


def test_two_readers_of_one_index_agree(zoo: Zoo) -> None:
    found: list[Any] = []
    readers = [threading.Thread(target=lambda: found.append(read_index(place(zoo.url)))) for _ in range(2)]
    for reader in readers:
        reader.start()
    for reader in readers:
        reader.join()
    assert found[0] == found[1]
    assert [*found[0]] == ["panet-fold0"]


# One's own zoo


def test_an_index_is_made_of_cards(fsseg: Any, local: Path) -> None:
    (local / "index.json").unlink()
    assert "holds no card.json" in refused(fsseg("zoo", "index", str(local)))
    (local / "panet-fold0/card.json").write_text(json.dumps(card()))
    ran = fsseg("zoo", "index", str(local))
    assert ran.code == 0, ran.err
    assert json.loads((local / "index.json").read_text()) == json.loads(index(card()))
    assert f"next: fsseg zoo list --index {local}" in ran.out
    assert fsseg("zoo", "index", str(local / "panet-fold0")).code == 0  # a repository of one checkpoint
    ran = fsseg("zoo", "fetch", "panet-fold0", "--index", str(local / "panet-fold0"))
    assert (ran.code, TARGET.read_bytes() == CONTENT) == (0, True)


def test_cards_that_make_no_index(fsseg: Any, local: Path) -> None:
    path, file = local / "panet-fold0/card.json", local / "panet-fold0/panet-fold0.ckpt"
    for content, message in (
        (b"{", "cannot be read"),
        (b"\xff", "cannot be read"),
        (json.dumps(card(name="../x")).encode(), "only letters, digits"),
        (json.dumps(card(content=b"other")).encode(), "is not the file of"),
    ):
        path.write_bytes(content)
        assert message in refused(fsseg("zoo", "index", str(local)))
    path.write_text(json.dumps(card()))
    file.rename(local / "kept")
    assert "panet-fold0.ckpt of" in refused(fsseg("zoo", "index", str(local)))
    (local / "kept").rename(file)
    (local / "panet-fold0").rename(local / "a b")
    assert "names of letters, digits" in refused(fsseg("zoo", "index", str(local)))
    assert "no such folder" in refused(fsseg("zoo", "index", "nowhere"))
