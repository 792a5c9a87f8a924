"""Miniature archives in the official layouts, and a server that gives them as real ones do, and as they should not."""

import hashlib
import io
import json
import socket
import struct
import tarfile
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
from scipy.io import savemat

from fsseg import download
from fsseg.datasets import Coco
from fsseg.prepare import archives, coco, isic2018, pascal
from fsseg.prepare.archives import Archive
from tests.cli.conftest import fsseg  # noqa: F401 - a fixture
from tests.conftest import CATEGORY_IDS

VOC_NAMES = [f"2007_{i:06d}" for i in range(24)]  # have a mask of VOC's own: 12 train, 12 val
SBD_NAMES = [f"2008_{i:06d}" for i in range(30)] + VOC_NAMES[:4]  # four have both
SIZE = (40, 70)


def jpeg(seed: int) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (*SIZE, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    PIL.Image.fromarray(pixels).save(buffer, "JPEG")
    return buffer.getvalue()


def voc_mask(i: int) -> np.ndarray:
    mask = np.zeros(SIZE, dtype=np.uint8)
    mask[0:39, 0:69] = 255
    mask[1:38, 1:68] = i % 20 + 1  # four of the grid's six points
    return mask


def sbd_mask(i: int) -> np.ndarray:
    mask = np.zeros(SIZE, dtype=np.uint8)
    mask[1:36, 0:40] = (i + 7) % 20 + 1
    mask[1:36, 40:70] = (i + 11) % 20 + 1
    return mask


def palette_png(mask: np.ndarray) -> bytes:
    picture = PIL.Image.fromarray(mask).convert("P")
    picture.putdata(mask.ravel().tolist())
    picture.putpalette([(37 * i) % 256 for i in range(768)])
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return buffer.getvalue()


def mat(kind: str, mask: np.ndarray) -> bytes:
    """As SBD has it: a structure with boundaries in cells beside the segmentation."""
    boundaries = np.empty((20, 1), dtype=object)
    boundaries[:, 0] = [np.zeros((2, 2))] * 20
    name = {"cls": "CategoriesPresent", "inst": "Categories"}[kind]
    content = {f"GT{kind}": {"Segmentation": mask, "Boundaries": boundaries, name: np.array([[1], [2]])}}
    buffer = io.BytesIO()
    savemat(buffer, content, do_compression=True)
    return buffer.getvalue()


def tar(members: dict[str, bytes], compressed: bool) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz" if compressed else "w") as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def voc_members() -> dict[str, bytes]:
    base = "VOCdevkit/VOC2012"
    members = {f"{base}/Annotations/{name}.xml": b"<annotation/>" for name in VOC_NAMES}
    members |= {f"{base}/JPEGImages/{n}.jpg": jpeg(i) for i, n in enumerate(sorted({*VOC_NAMES, *SBD_NAMES}))}
    for i, name in enumerate(VOC_NAMES):
        members[f"{base}/SegmentationClass/{name}.png"] = palette_png(voc_mask(i))
        members[f"{base}/SegmentationObject/{name}.png"] = palette_png(np.minimum(voc_mask(i), 3))
    for split, names in (("train", VOC_NAMES[:12]), ("val", VOC_NAMES[12:]), ("trainval", VOC_NAMES)):
        members[f"{base}/ImageSets/Segmentation/{split}.txt"] = ("\n".join(names) + "\n").encode()
        members[f"{base}/ImageSets/Main/{split}.txt"] = b"unused\n"
    return members


def sbd_members() -> dict[str, bytes]:
    base = "benchmark_RELEASE/dataset"
    members = {f"{base}/train.txt": b"unused\n", "benchmark_RELEASE/README": b"unused"}
    for i, name in enumerate(SBD_NAMES):
        members[f"{base}/img/{name}.jpg"] = b"unused"
        members[f"{base}/cls/{name}.mat"] = mat("cls", sbd_mask(i))
        members[f"{base}/inst/{name}.mat"] = mat("inst", (sbd_mask(i) > 0).astype(np.uint8) + (np.arange(70) >= 40))
    return members


def coco_members(year: int) -> dict[str, dict[str, bytes]]:
    found: dict[str, dict[str, bytes]] = {f"annotations_trainval{year}.zip": {}}
    categories = [{"id": i, "name": name} for i, name in zip(CATEGORY_IDS, Coco.class_names, strict=True)]
    for split, first in (("train", 1), ("val", 100)):
        images, annotations, files = [], [], {}
        for i in range(first, first + 6):
            name = f"{'COCO_' + split + '2014_' if year == 2014 else ''}{i:012d}.jpg"
            files[f"{split}{year}/{name}"] = jpeg(i)
            images.append({"id": i, "file_name": name, "height": SIZE[0], "width": SIZE[1]})
            annotations.append({"id": i, "image_id": i, "category_id": CATEGORY_IDS[i % 80], "iscrowd": 0,
                                "segmentation": [[2, 2, 30, 2, 30, 30, 2, 30]]})  # fmt: skip
        content = {"images": images, "annotations": annotations, "categories": categories}
        instances = f"annotations/instances_{split}{year}.json"
        found[f"annotations_trainval{year}.zip"] |= {instances: json.dumps(content).encode()}
        found[f"annotations_trainval{year}.zip"] |= {f"annotations/captions_{split}{year}.json": b"{}"}
        found[f"{split}{year}.zip"] = files
    return found


def isic_members() -> dict[str, dict[str, bytes]]:
    """Ten photos and masks, and the licences that the archives have too."""
    photos, truth = (archive.folder for archive in reversed(archives.ISIC2018))
    found: dict[str, dict[str, bytes]] = {f"{part}.zip": {f"{part}/LICENSE.txt": b"CC-0"} for part in (photos, truth)}
    for i in range(10):
        buffer = io.BytesIO()
        PIL.Image.fromarray(np.uint8(255) * (sbd_mask(i) > 7)).save(buffer, "PNG")
        found[f"{photos}.zip"][f"{photos}/ISIC_{i:07d}.jpg"] = jpeg(i)
        found[f"{truth}.zip"][f"{truth}/ISIC_{i:07d}_segmentation.png"] = buffer.getvalue()
    return found


def zipped(members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return buffer.getvalue()


@pytest.fixture(scope="session")
def contents() -> dict[str, bytes]:
    """The miniature archives by name."""
    found = {archives.VOC.name: tar(voc_members(), False), archives.SBD.name: tar(sbd_members(), True)}
    for files in (coco_members(2017), coco_members(2014), isic_members()):
        found |= {name: zipped(members) for name, members in files.items()}
    return found


class Server:
    """Serves archives over HTTP with ranges.

    Attributes:
        files: content by name.
        broken: a transfer ends after so many bytes; for so many requests (by name).
        fault: how it ends: ``end``, a ``reset`` of the connection or ``silence``.
        ranges: whether ranges are known.
        asked: names and ranges of all requests.
        sent: bytes in all.
        tokens: names and authorizations of all requests.
        moved: address that a request is sent on to, by name.
    """

    def __init__(self, files: dict[str, bytes]) -> None:
        self.files, self.broken, self.ranges = dict(files), {}, True
        self.fault = "end"
        self.asked: list[tuple[str, str | None]] = []
        self.sent = 0
        self.tokens: list[tuple[str, str | None]] = []
        self.moved: dict[str, str] = {}
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.answer(self)

            def log_message(self, *arguments: Any) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}"
        threading.Thread(target=self.http.serve_forever, args=(0.01,), daemon=True).start()

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        name = handler.path.strip("/")
        self.asked.append((name, handler.headers.get("Range")))
        self.tokens.append((name, handler.headers.get("Authorization")))
        if name in self.moved:
            handler.send_response(302)
            handler.send_header("Location", self.moved[name])
            handler.end_headers()
            return
        if name not in self.files:
            handler.send_error(404)
            return
        content, start = self.files[name], 0
        if self.ranges and (asked := handler.headers.get("Range")):
            start = int(asked.removeprefix("bytes=").rstrip("-"))
            if start >= len(content):
                handler.send_error(416)
                return
        handler.send_response(206 if start else 200)
        rest = content[start:]
        breaks = self.broken.get(name, (0, 0))[1] > 0
        handler.send_header("Content-Length", str(len(rest)))
        handler.end_headers()
        if breaks:
            length, times = self.broken[name]
            self.broken[name] = (length, times - 1)
            rest = rest[:length]
            handler.close_connection = True
        self.sent += len(rest)  # before the client has them, and asks for the number
        handler.wfile.write(rest)
        if breaks and self.fault == "reset":
            handler.wfile.flush()
            linger = struct.pack("ii", 1, 0)
            handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        if breaks and self.fault == "silence":
            time.sleep(1)


@pytest.fixture
def server(contents: dict[str, bytes], monkeypatch: pytest.MonkeyPatch, no_cache: Path) -> Iterator[Server]:
    """The server, with the archives' addresses and checksums turned to it."""
    made = Server(contents)

    def turned(archive: Archive) -> Archive:
        content = contents[archive.name]
        kind = "md5" if archive.md5 else "sha256"
        found = {kind: hashlib.new(kind, content).hexdigest()}
        return archive._replace(url=f"{made.url}/{archive.name}", gigabytes=len(content) / 1e9, **found)

    for name in ("VOC", "SBD"):
        monkeypatch.setattr(pascal, name, turned(getattr(archives, name)))
    monkeypatch.setattr(pascal, "_UNPACKED", 0.001)
    monkeypatch.setattr(download, "_PAUSE", 0.0)
    monkeypatch.setattr(isic2018, "ISIC2018", tuple(map(turned, archives.ISIC2018)))
    monkeypatch.setattr(coco, "COCO", {year: tuple(map(turned, every)) for year, every in archives.COCO.items()})
    yield made
    made.http.shutdown()
    made.http.server_close()


@pytest.fixture
def prepare(fsseg: Callable[..., Any]) -> Callable[..., Any]:  # noqa: F811
    return lambda *arguments: fsseg("data", "prepare", *arguments)
