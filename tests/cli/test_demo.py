"""`fsseg demo` on the command line: what it refuses, before a page is there."""

import builtins
import socket
import sys
from importlib.util import find_spec

import pytest

# Looked for and not imported: every worker collects this file, and few run it.
pytestmark = pytest.mark.skipif(find_spec("uvicorn") is None, reason="needs fsseg[demo]: uvicorn is not installed")

ENCODER = (
    "--model.method.encoder", "Torchvision", "--model.method.encoder.weights=none",
    "--model.method.encoder.architecture",
)  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--prot", "1"], "no option --prot. Did you mean --port?"),
        (["a"], "a"),
        (["--tile", "64"], "--tile is for `fsseg predict`"),
        (["--port", "many"], "--port"),
        (["--port", "70000"], "--port 70000: 0 (any free one) to 65535 is needed"),
        (["--port", "-1"], "--port -1"),
        (["--host", "no.such.host.invalid"], "--host no.such.host.invalid: no address of that name"),
        (["--host", "192.0.2.1", "--port", "0"], "192.0.2.1, port 0: Cannot assign requested address"),
        (["--max_mb", "0"], "--max_mb 0: more than 0 and at most 1000 is needed"),
        (["--max_mb", "nan"], "--max_mb"),
        (["--max_pixels", "3"], "--max_pixels 3: 64 to 150000000 is needed"),
        (["--ckpt_path", "none.ckpt", "--port", "0"], "--ckpt_path none.ckpt: no such file"),
        (["--ckpt_path", "/etc/hostname", "--port", "0"], "/etc/hostname cannot be read"),
        ([*ENCODER, "squeezenet9", "--port", "0"], "squeezenet9"),
        ([*ENCODER, "resnet18", "--model.method.encoder.taps=[layer9]", "--port", "0"], "layer9"),
        ([*ENCODER, "resnet18", "--model.method.encoder.weights=none.pth", "--port", "0"], "none.pth"),
        ([*ENCODER, "resnet18", "--size", "9", "--port", "0"], "size 9: at least 32"),
    ],
)
def test_mistakes_are_one_line(fsseg, arguments, said):
    ran = fsseg("demo", *arguments)
    assert ran.code == 2
    assert said in ran.line
    assert len(ran.err.strip().splitlines()) == 1


def test_a_file_that_is_no_checkpoint_is_refused(fsseg, tmp_path):
    (tmp_path / "a.ckpt").write_text("nothing")
    ran = fsseg("demo", "--ckpt_path", "a.ckpt", "--port", "0")
    assert ran.code == 2
    assert "a.ckpt" in ran.line


def test_a_port_that_is_taken_is_refused(fsseg):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        ran = fsseg("demo", "--port", str(taken.getsockname()[1]))
    assert ran.code == 2
    assert "Address already in use. Choose another --port" in ran.line


def test_without_a_server_the_line_says_what_to_install(fsseg, monkeypatch):
    real = builtins.__import__

    def without(name, *arguments, **options):
        if name.split(".")[0] == "uvicorn":
            raise ImportError(name)
        return real(name, *arguments, **options)

    monkeypatch.delitem(sys.modules, "uvicorn", raising=False)
    monkeypatch.setattr(builtins, "__import__", without)
    ran = fsseg("demo", "--port", "0")
    assert ran.code == 2
    assert ran.line.startswith("fsseg: fsseg demo needs Starlette and uvicorn, which are not installed.")
    assert ran.line.endswith('Install them: pip install "fsseg[demo]"')


def test_help_is_instant_and_names_the_options(fsseg):
    ran = fsseg("demo", "--help")
    assert ran.code == 0
    assert "--max_pixels N" in ran.out
    assert "demo          paint and see" in fsseg("--help").out
