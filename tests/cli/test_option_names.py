"""A typing error in an option is refused before torch is imported; nothing else is."""

import json

import pytest

from fsseg.errors import FssegError
from fsseg.experiment import option_names

NAMES = ["--config", "--out", "--data.shot", "--data.images.size", "--data.dataset", "--data.dataset.help",
         "--trainer.max_steps", "--model.method", "--protocol.episodes", "--checkpoint.monitor"]  # fmt: skip


@pytest.fixture
def known(no_cache):
    option_names.store(NAMES)
    return no_cache / "option-names.json"


def test_an_option_that_there_is_not_is_refused_with_the_nearest(known):
    with pytest.raises(FssegError, match=r"^no option --data\.shto\. Did you mean --data\.shot\?$"):
        option_names.refuse_unknown(["fit", "--config", "x.yaml", "--data.shto", "5"])
    with pytest.raises(FssegError, match=r"^no option --trainer\.max_step\. Did you mean --trainer\.max_steps\?$"):
        option_names.refuse_unknown(["fit", "--trainer.max_step=5"])
    with pytest.raises(FssegError, match=r"^no option --data\.images\.sise\. Did you mean --data\.images\.size\?$"):
        option_names.refuse_unknown(["fit", "--data.images.sise=5"])


@pytest.mark.parametrize(
    "word",
    [
        "--data.shot=5",
        "--data.dataset+=Shapes",
        "--data.dataset.yeer",  # of a class that the user names
        "--data.anything.deeper=1",
        "--data.dataset.help=Shapes",
        "--model.method.mine=1",
        "--model.own",
        "--protocols",
        "--tpyo",
        "--other.group=1",
        "-c",
        "data.shto",
    ],
)
@pytest.mark.usefixtures("known")
def test_what_cannot_be_told_for_certain_is_left_to_the_parser(word):
    option_names.refuse_unknown(["fit", word, "value"])


@pytest.mark.parametrize("content", ["", "{", "[]", "null", '{"code": 1}', '{"code": "x", "names": 3}', "\x00\xff"])
def test_a_broken_cache_is_ignored_and_written_anew(known, content):
    known.write_text(content)
    option_names.refuse_unknown(["fit", "--data.shto=5"])
    option_names.store(NAMES)
    assert json.loads(known.read_text())["names"] == NAMES


def test_names_of_another_code_are_ignored(known, monkeypatch):
    monkeypatch.setattr(option_names.fsseg, "__version__", "0.0.0")
    option_names.refuse_unknown(["fit", "--data.shto=5"])


def test_a_group_without_a_known_option_is_left_to_the_parser(no_cache):
    option_names.store(["--data", "--trainer.max_steps"])  # a data module of one's own
    option_names.refuse_unknown(["fit", "--data.whatever=5"])


def test_a_cache_that_cannot_be_written_is_done_without(no_cache, monkeypatch):
    no_cache.parent.mkdir(exist_ok=True)
    no_cache.write_text("a file where the folder would be")
    option_names.store(NAMES)
    option_names.refuse_unknown(["fit", "--data.shto=5"])
