"""Small exports in the layouts of labelling programs, and what they mark, by hand from the programs' documentation.

labelme: https://github.com/wkentaro/labelme, CVAT: https://docs.cvat.ai/docs/other/xml_format, Label Studio:
https://labelstud.io/guide/export and https://labelstud.io/guide/task_format, YOLO:
https://docs.ultralytics.com/datasets/segment/.
"""

import json
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import PIL.Image
import PIL.ImageDraw
from pycocotools import mask as rle

HEIGHT, WIDTH = 40, 60
COUNT = 10
NAMES = ("sea lion", "dog")  # a class name with a space
Region = npt.NDArray[np.bool_]
Truth = dict[str, dict[str, Region]]  # by image and class


def outline(points: Sequence[tuple[float, float]], height: int = HEIGHT, width: int = WIDTH) -> Region:
    """pycocotools' polygon."""
    codes = rle.frPyObjects([[float(value) for point in points for value in point]], height, width)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of pycocotools on numpy 2
        return np.asarray(rle.decode(rle.merge(codes))).astype(bool)


def polygon_of(i: int) -> list[tuple[float, float]]:
    """A concave polygon, which moves with the image's number."""
    return [(5.25 + i, 4.5), (30 + i, 6.75), (18.5 + i, 14), (33 + i, 30.5), (6 + i, 33)]


def hole(points: Sequence[tuple[float, float]], inner: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """A polygon with a hole, joined by a bridge that is walked twice, as programs write it (even-odd)."""
    return [*points, points[0], inner[0], *inner[1:], inner[0], points[0]]


def box_of(i: int) -> tuple[float, float, float, float]:
    return 20.0 + i, 10.0, 40.0 + i, 25.0


def images(folder: Path, ending: str = ".png", count: int = COUNT) -> list[str]:
    folder.mkdir(parents=True, exist_ok=True)
    names = [f"img {i}{ending}" for i in range(count)]
    for i, name in enumerate(names):
        PIL.Image.fromarray(np.full((HEIGHT, WIDTH, 3), 20 * i, dtype=np.uint8)).save(folder / name)
    return names


def labelme(root: Path) -> Truth:
    """labelme 5: a file for each image, in the folder of the images. Its corners are pixels (PIL's polygons)."""
    truth: Truth = {}
    for i, name in enumerate(images(root)):
        points = [[round(x), round(y)] for x, y in polygon_of(i)]
        x, y, z, w = box_of(i)
        # A rectangle would be weak; labelme's users draw regions as polygons.
        corners = [[x, y], [z, y], [z, w], [x, w]]
        shapes = [shape("sea lion", "polygon", points), shape("dog", "polygon", corners)]
        content = {"version": "5.4.1", "flags": {}, "shapes": shapes, "imagePath": name, "imageData": None,
                   "imageHeight": HEIGHT, "imageWidth": WIDTH}  # fmt: skip
        (root / name).with_suffix(".json").write_text(json.dumps(content))
        drawn = PIL.Image.new("1", (WIDTH, HEIGHT))
        PIL.ImageDraw.Draw(drawn).polygon([(x, y) for x, y in points], fill=1)
        square = np.zeros((HEIGHT, WIDTH), dtype=bool)
        square[10:26, 20 + i : 41 + i] = True
        truth[f"img {i}"] = {"sea lion": np.asarray(drawn), "dog": square}
    return truth


def shape(label: Any, kind: str, points: Any, **more: Any) -> dict[str, Any]:
    return {"label": label, "points": points, "group_id": None, "description": "", "shape_type": kind, "flags": {},
            "mask": None, **more}  # fmt: skip


XML = """<?xml version="1.0" encoding="utf-8"?>
<annotations>
  <version>1.1</version>
  <meta><task><id>7</id><name>seals</name><size>10</size><mode>annotation</mode>
    <labels><label><name>sea lion</name><color>#ff0000</color><type>any</type><attributes></attributes></label>
            <label><name>dog</name><color>#00ff00</color><type>any</type><attributes></attributes></label></labels>
  </task><dumped>2024-02-03 10:11:12.000000+00:00</dumped></meta>
{images}
</annotations>
"""


def cvat(root: Path) -> Truth:
    """CVAT for images 1.1: outlines, an ellipse and masks; images in ``images/``."""
    truth: Truth = {}
    parts = []
    for i, name in enumerate(images(root / "images")):
        inner = [(12.0 + i, 12.0), (16.0 + i, 12.0), (16.0 + i, 20.0), (12.0 + i, 20.0)]
        points = hole(polygon_of(i), inner)
        region = np.zeros((8, 9), dtype=bool)
        region[2:6, 1:8], region[3, 3:5] = True, False
        runs = ", ".join(map(str, runs_of(region)))
        parts.append(
            f'<image id="{i}" name="{name}" width="{WIDTH}" height="{HEIGHT}">'
            f'<mask label="dog" source="semi-auto" occluded="0" rle="{runs}" left="{30 + i}" top="20" width="9" '
            'height="8" z_order="1"><attribute name="age">2</attribute></mask>'
            f'<polygon label="sea lion" source="manual" occluded="0" '
            f'points="{";".join(f"{x},{y}" for x, y in points)}" z_order="0"></polygon>'
            '<tag label="dog" source="manual"></tag></image>'
        )
        full = np.zeros((HEIGHT, WIDTH), dtype=bool)
        full[20:28, 30 + i : 39 + i] = region
        assert outline(points).sum() == outline(polygon_of(i)).sum() - 4 * 8
        truth[f"images/img {i}"] = {"sea lion": outline(points), "dog": full}
    (root / "annotations.xml").write_text(XML.format(images="\n".join(parts)))
    return truth


def runs_of(region: Region) -> list[int]:
    """Lengths of runs by rows, background first."""
    flat = [False, *region.ravel().tolist()]
    runs, value = [0], False
    for pixel in flat[1:]:
        if pixel != value:
            runs.append(0)
            value = pixel
        runs[-1] += 1
    return runs


def task(number: int, image: str, result: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
    annotation = {"id": number, "completed_by": 1, "result": result, "was_cancelled": False, "ground_truth": False,
                  "lead_time": 9.1, "result_count": len(result), **more}  # fmt: skip
    return {"id": number, "annotations": [annotation], "file_upload": image, "drafts": [], "predictions": [],
            "data": {"image": f"/data/upload/1/{image}"}, "meta": {}, "project": 1}  # fmt: skip


def result(kind: str, label: str, value: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"original_width": WIDTH, "original_height": HEIGHT, "image_rotation": 0, "id": f"r{label}", "type": kind,
            "value": {**value, kind: [label]}, "from_name": "tag", "to_name": "image", "origin": "manual",
            **more}  # fmt: skip


def brush(region: Region, literal: bool = False) -> list[int]:
    """Label Studio's code of a region: runs of one value, or values one by one, in 8 bits a value."""
    flat = np.repeat(np.where(region, 255, 0).ravel()[:, None], 4, axis=1).ravel().tolist()
    bits = f"{len(flat):032b}{7:05b}{2:04b}{3:04b}{7:04b}{15:04b}"  # sizes of 3, 4, 8 and 16 bits
    place = 0
    while place < len(flat):
        end = place + 1
        while end < len(flat) and flat[end] == flat[place] and end - place < 1 << 16:
            end += 1
        if literal:
            end = min(place + 7, len(flat))
            bits += f"000{end - place - 1:03b}" + "".join(f"{value:08b}" for value in flat[place:end])
        else:
            size = next(i for i, width in enumerate((3, 4, 8, 16)) if end - place - 1 < 1 << width)
            bits += f"1{size:02b}{end - place - 1:0{(3, 4, 8, 16)[size]}b}{flat[place]:08b}"
        place = end
    bits += "0" * (-len(bits) % 8)
    return [int(bits[i : i + 8], 2) for i in range(0, len(bits), 8)]


def label_studio(root: Path) -> Truth:
    """Label Studio's JSON: percentages, brush masks; images have the user's names, without the prefix of an upload."""
    truth: Truth = {}
    tasks = []
    for i, name in enumerate(images(root / "photos")):
        points = polygon_of(i)
        per_cent = [[100 * x / WIDTH, 100 * y / HEIGHT] for x, y in points]
        region = np.zeros((HEIGHT, WIDTH), dtype=bool)
        region[3:20, 30 + i : 45 + i] = True
        region[8:12, 33 + i : 40 + i] = False
        results = [
            result("polygonlabels", "sea lion", {"points": per_cent, "closed": True}),
            result("brushlabels", "dog", {"format": "rle", "rle": brush(region, literal=i == 3)}),
        ]
        tasks.append(task(i + 1, f"0a1b2c3d-{name}", results))
        truth[f"photos/img {i}"] = {"sea lion": outline(points), "dog": region}
    (root / "project-1-at-2024-02-03-10-11-abcdef12.json").write_text(json.dumps(tasks))
    return truth


def yolo(root: Path) -> Truth:
    """Ultralytics' layout with train and val."""
    truth: Truth = {}
    for split, count in (("train", 6), ("val", 4)):
        (root / "labels" / split).mkdir(parents=True)
        for i, name in enumerate(images(root / "images" / split, ".jpg", count)):
            points, (x, y, z, w) = polygon_of(i), box_of(i)
            corners = [(x, y), (z, y), (z, w), (x, w)]
            lines = []
            for number, outlined in ((0, points), (1, corners)):
                values = " ".join(f"{a / WIDTH:.9f} {b / HEIGHT:.9f}" for a, b in outlined)
                lines.append(f"{number} {values}")
            (root / "labels" / split / name).with_suffix(".txt").write_text("\n".join(lines) + "\n")
            truth[f"images/{split}/img {i}"] = {"sea lion": outline(points), "dog": outline(corners)}
    (root / "data.yaml").write_text(
        "path: ../datasets/seals  # another machine's\ntrain: images/train\nval: images/val\n"
        "names:\n  0: sea lion\n  1: dog\n"
    )
    return truth


WRITERS: dict[str, Callable[[Path], Truth]] = {"labelme": labelme, "cvat": cvat, "label_studio": label_studio,
                                               "yolo": yolo}  # fmt: skip
