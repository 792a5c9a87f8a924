"""The picture of README's Python example: two supports, a query, and what `fsseg.Segmenter.show` returns for it.

python benchmarks/photographs/show.py COCO EFFICIENTNET_LITE0_WEIGHTS OUT.jpg

Of the first class in the order of COCO's list with three photographs under CC BY 2.0 that show at least 3 % of it and
no person, the first two are the supports and the third is the query. Prints their addresses, for their credit.
"""

import argparse
from pathlib import Path

import numpy as np
import PIL.Image
import PIL.ImageDraw
from picture import addresses, photographs

from fsseg import Segmenter
from fsseg.datasets import Coco
from fsseg.plots.episodes import GAP, TEXT, font
from fsseg.plots.overlays import overlay

_SHARE = 0.03, 0.7
_HEIGHT, _LARGEST = 300, 150_000  # pixels of a photograph in the picture; bytes of the file


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("coco", type=Path)
    parser.add_argument("weights")
    parser.add_argument("out", type=Path)
    given = parser.parse_args()
    data = Coco()
    data.open(given.coco)
    address = addresses(given.coco)
    names = {c: [n for n in photographs(data, c, _SHARE) if stem(data, n) in address] for c in data.class_ids}
    chosen = next(c for c, shown in names.items() if len(shown) >= 3)
    *supports, query = names[chosen][:3]
    images = [np.asarray(data.image(number)) for number in (*supports, query)]
    masks = [(data.episode_mask(number, (chosen,)) == 1).astype(np.uint8) for number in supports]
    segmenter = Segmenter("efficientnet_lite0_levels", weights=given.weights, device="cpu")
    segmenter.learn(images[:2], masks, data.class_name(chosen))
    print(segmenter.predict(images[2]), *(address[stem(data, number)] for number in (*supports, query)), sep="\n")
    drawn = [PIL.Image.fromarray(overlay(image, mask)) for image, mask in zip(images, masks, strict=False)]
    row(["support", "support", "query", "show(query)"], [*drawn, PIL.Image.fromarray(images[2])],
        segmenter.show(images[2])).save(given.out, quality=80, optimize=True)  # fmt: skip
    assert given.out.stat().st_size <= _LARGEST


def stem(data: Coco, number: int) -> str:
    return Path(data.image_name(number)).stem


def row(heads: list[str], photos: list[PIL.Image.Image], shown: PIL.Image.Image) -> PIL.Image.Image:
    """Photographs beside each other at one height; the last one has its legend below."""
    factor = _HEIGHT / photos[-1].height
    scaled = [photo.resize((photo.width * _HEIGHT // photo.height, _HEIGHT)) for photo in photos]
    scaled.append(shown.resize((round(factor * shown.width), round(factor * shown.height))))
    width, height = sum(one.width + GAP for one in scaled), max(one.height for one in scaled) + TEXT
    picture, left = PIL.Image.new("RGB", (width, height), "white"), 0
    draw = PIL.ImageDraw.Draw(picture)
    for head, one in zip(heads, scaled, strict=True):
        draw.text((left + GAP // 2, 2), head, fill=(70, 70, 70), font=font(13))
        picture.paste(one, (left, TEXT))
        left += one.width + GAP
    return picture


if __name__ == "__main__":
    main()
