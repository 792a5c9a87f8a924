"""A running page, and somebody who talks to it without a browser."""

import json
import os
import re
import secrets
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch

ROOT = Path(__file__).parents[2]
TAPS, SIZE, MEGABYTES = "features.4", 64, 1


class Server(NamedTuple):
    address: str
    process: subprocess.Popen
    said: str
    weights: Path


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """`fsseg demo` on a free port, with a small encoder of known weights."""
    pytest.importorskip("gradio")
    from torchvision.models import squeezenet1_0

    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("demo")
    torch.save(squeezenet1_0(weights=None).state_dict(), folder / "weights.pth")
    encoder = "--model.method.encoder"
    options = [encoder, "Torchvision", f"{encoder}.architecture", "squeezenet1_0", f"{encoder}.taps=[{TAPS}]",
               f"{encoder}.weights", str(folder / "weights.pth"),
               "--size", str(SIZE), "--device", "cpu", "--port", "0", "--max_mb", str(MEGABYTES)]  # fmt: skip
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), "TMPDIR": str(folder)}
    with (folder / "err.txt").open("w") as errors:
        process = subprocess.Popen(
            [sys.executable, "-u", "-m", "fsseg", "demo", *options],
            cwd=folder, env=environment, text=True, stdout=subprocess.PIPE, stderr=errors,
        )  # fmt: skip
    said = ""
    assert process.stdout is not None
    for line in process.stdout:
        said += line
        if found := re.search(r"http://127\.0\.0\.1:\d+", line):
            break
    else:
        raise AssertionError(said + (folder / "err.txt").read_text())
    yield Server(found[0], process, said, folder / "weights.pth")
    process.terminate()
    process.wait(20)
    process.stdout.close()
    assert not list(folder.glob("fsseg-demo-*")), "what was sent stays behind"
    said = (folder / "err.txt").read_text()
    assert "Traceback" not in said, said


class Visitor:
    """Speaks Gradio's protocol as the page does, and can lie."""

    def __init__(self, address: str) -> None:
        self.address, self.session = address, secrets.token_hex(6)
        config = json.loads(self.get("/config")[1])
        names = {part["id"]: part["props"].get("elem_id") for part in config["components"]}
        self.functions = {
            (names.get(target), event): one["id"] for one in config["dependencies"] for target, event in one["targets"]
        }

    def get(self, path: str, **headers: str) -> tuple[int, str]:
        return self._ask(urllib.request.Request(self.address + path, headers=headers))

    def upload(self, name: str, data: bytes) -> tuple[int, Any]:
        """Send a file; status, and what the server says."""
        edge = secrets.token_hex(8)
        head = f'--{edge}\r\nContent-Disposition: form-data; name="files"; filename="{name}"\r\n\r\n'
        body = head.encode() + data + f"\r\n--{edge}--\r\n".encode()
        kind = {"Content-Type": f"multipart/form-data; boundary={edge}"}
        code, said = self._ask(urllib.request.Request(f"{self.address}/gradio_api/upload", body, kind))
        return code, json.loads(said) if code == 200 else said

    def drop(self, where: str, name: str, data: bytes) -> str:
        """Drop a picture; what the page says of it."""
        code, said = self.upload(name, data)
        assert code == 200, said
        return self.drop_path(where, said[0], name)

    def drop_path(self, where: str, path: str, name: str = "a.png", **more: Any) -> str:
        file = {"path": path, "orig_name": name, "meta": {"_type": "gradio.FileData"}, **more}
        return self.call(where, "upload", [[file]])

    def call(self, part: str, event: str, data: list | None = None, sent: Any = None) -> str:
        """Cause an event; what the page shows after it, as JSON."""
        body = {"data": data or [], "fn_index": self.functions[part, event], "session_hash": self.session,
                "event_data": sent}  # fmt: skip
        kind = {"Content-Type": "application/json"}
        request = urllib.request.Request(f"{self.address}/gradio_api/queue/join", json.dumps(body).encode(), kind)
        code, said = self._ask(request)
        if code != 200:
            return f"{code} {said}"
        with urllib.request.urlopen(f"{self.address}/gradio_api/queue/data?session_hash={self.session}") as stream:
            for line in stream:
                message = json.loads(line.removeprefix(b"data: ")) if line.startswith(b"data: ") else {}
                if message.get("msg") == "process_completed":
                    return json.dumps(message["output"])
        raise AssertionError("no answer")

    @staticmethod
    def _ask(request: urllib.request.Request) -> tuple[int, str]:
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()


@pytest.fixture
def visitor(server: Server) -> Visitor:
    return Visitor(server.address)
