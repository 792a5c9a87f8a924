"""A miniature of LVIS v1 in its official layout: 24 classes, 12 train and 16 val images."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from pycocotools import mask as mask_code

from tests.suites import photo, region, save

CLASSES = 24
TRAIN, VAL = range(1, 13), range(101, 117)
FEW = 7  # class with one val image only
PARTLY = 1  # class whose instances are not all labelled on every third val image


def shown_classes(image: int) -> list[int]:
    """Classes of an image: of val images, four, so that each class but `FEW` has two or three images."""
    if image in TRAIN:
        return [4 * ((image - 1) % 6) + place for place in range(1, 5)]
    first = image - VAL[0]
    every = [(5 * first + 7 * place) % CLASSES + 1 for place in range(5)]
    return [c for c in dict.fromkeys(every) if c != FEW or image == VAL[10]] or [1]


def instance(image: int, class_id: int, part: int) -> np.ndarray:
    return region(1000 * image + 10 * class_id + part)


def segmentation(image: int, class_id: int, part: int) -> Any:
    """Polygons, as all of LVIS' are, or run lengths for some."""
    shown = instance(image, class_id, part)
    if class_id % 3 == 0:
        code = mask_code.encode(np.asfortranarray(shown, dtype=np.uint8))
        return {**code, "counts": code["counts"].decode()}
    rows, columns = np.nonzero(shown)
    top, bottom, left, right = rows.min(), rows.max() + 1, columns.min(), columns.max() + 1
    return [[float(v) for v in (left, top, right, top, right, bottom, left, bottom)]]


def content(split: str) -> dict[str, Any]:
    images, annotations = [], []
    for image in TRAIN if split == "train" else VAL:
        part = "val2017" if image % 4 == 0 and split == "val" else "train2017"
        url = f"http://images.cocodataset.org/{part}/{image:012d}.jpg"
        partly = [PARTLY] if image % 3 == 0 else []
        listed = {"id": image, "coco_url": url, "height": 40, "width": 48, "neg_category_ids": []}
        images.append({**listed, "not_exhaustive_category_ids": partly, "license": 1, "date_captured": "2013"})
        for class_id in shown_classes(image):
            for number in range(1 + class_id % 2):
                place = {"id": len(annotations) + 1, "image_id": image, "category_id": class_id}
                shape = segmentation(image, class_id, number)
                annotations.append({**place, "segmentation": shape, "area": 1.0, "bbox": [0.0, 0.0, 1.0, 1.0]})
    categories = [
        {"id": c, "name": f"thing_{c}", "synset": f"thing.n.{c:02d}", "frequency": "f", "synonyms": [], "def": ""}
        for c in range(1, CLASSES + 1)
    ]
    return {"info": {}, "licenses": [], "images": images, "annotations": annotations, "categories": categories}


def write_lvis(root: Path) -> None:
    (root / "annotations").mkdir(parents=True)
    for part in ("train2017", "val2017"):
        (root / part).mkdir()
    for split in ("train", "val"):
        made = content(split)
        (root / f"annotations/lvis_v1_{split}.json").write_text(json.dumps(made))
        for image in made["images"]:
            shown = shown_classes(image["id"])
            path = root / "/".join(image["coco_url"].split("/")[-2:])
            save(path, photo(image["id"], instance(image["id"], shown[0], 0), shown[0]), quality=95)
