"""A zoo of made-up files on a local server."""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from fsseg import download
from tests.cli.conftest import finished_test, fsseg, trained  # noqa: F401 - fixtures
from tests.prepare.conftest import Server

CONTENT = np.random.default_rng(0).bytes(300_000)  # larger than the buffers on its way


def card(name: str = "panet-fold0", content: bytes = CONTENT, **changes: Any) -> dict[str, Any]:
    """A card.json as plain values."""
    training = {"dataset": "PASCAL-5i", "fold": 0, "classes": ["cat", "dog"], "way": 1, "shot": 1, "steps": 30_000,
                "seed": 0, "selection": "last", "before": "", "origin": ""}  # fmt: skip
    test = {"dataset": "PASCAL-5i", "fold": 0, "way": 1, "shot": 5, "annotation": "mask", "protocol": "panet",
            "digest": "abc123", "changed": {}, "how": "5 x 1,000 episodes", "mean_iou": {"mean": 48.06, "std": 0.31},
            "binary_iou": {"mean": 66.5, "std": None}, "notes": []}  # fmt: skip
    made = {
        "fsseg_card": 1, "name": name, "file": f"{name}.ckpt", "size": len(content),
        "sha256": hashlib.sha256(content).hexdigest(), "licence": "apache-2.0", "method": "fsseg.methods.PANet",
        "label": "PANet", "encoder": {"kind": "fsseg.encoders.VGG16", "name": "VGG16", "weights": "pretrained"},
        "training": training, "tests": [test], "fsseg": "0.1.0",
    }  # fmt: skip
    return {**made, **changes}


def index(*cards: dict[str, Any], **changes: Any) -> bytes:
    """An index.json of cards, each in a folder of its name."""
    models = [{"folder": one["name"], "card": one} for one in cards]
    return json.dumps({"fsseg_zoo": 1, "models": models, **changes}).encode()


class Zoo(NamedTuple):
    """A server with a zoo of one checkpoint.

    Attributes:
        server: the server.
        file: address of the checkpoint, without the server.
        url: URL of the index.
    """

    server: Server
    file: str
    url: str

    def with_card(self, **changes: Any) -> None:
        """Change the card of the index."""
        self.server.files["zoo/index.json"] = index(card(**changes))


@pytest.fixture
def zoo(monkeypatch: pytest.MonkeyPatch) -> Iterator[Zoo]:
    for name in ("FSSEG_ZOO", "HF_ENDPOINT", "HF_TOKEN", "http_proxy", "https_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(download, "_PAUSE", 0.0)
    file = "zoo/panet-fold0/panet-fold0.ckpt"
    server = Server({"zoo/index.json": index(card()), file: CONTENT})
    yield Zoo(server, file, f"{server.url}/zoo/index.json")
    server.http.shutdown()
    server.http.server_close()


@pytest.fixture
def local(tmp_path: Path) -> Path:
    """The same zoo as a folder."""
    folder = tmp_path / "local" / "panet-fold0"
    folder.mkdir(parents=True)
    (folder / "panet-fold0.ckpt").write_bytes(CONTENT)
    (folder.parent / "index.json").write_bytes(index(card()))
    return folder.parent
