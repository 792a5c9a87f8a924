"""The README's picture: photographs of COCO under CC BY, segmented from one example without training.

python benchmarks/photographs/picture.py COCO VGG16_WEIGHTS OUT.jpg [--episodes 6]

Of each class in the order of COCO's list, those photographs under CC BY 2.0 are taken on which the class covers a tenth
to seven tenths of the pixels, and without persons: the first is the support, the second the query. PANet on VGG16 at
417 pixels, not trained for segmentation, compares them. Prints the addresses of the photographs, for their credit.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from fsseg import Segmenter
from fsseg.datasets import Coco
from fsseg.encoders import VGG16
from fsseg.methods import PANet
from fsseg.plots.episodes import Panel, draw_episodes

CC_BY = 4  # COCO's number of the licence
SHARE = 0.1, 0.7


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("coco", type=Path)
    parser.add_argument("weights")
    parser.add_argument("out", type=Path)
    parser.add_argument("--episodes", type=int, default=6)
    given = parser.parse_args()
    data = Coco()
    data.open(given.coco)
    address = addresses(given.coco)
    panels: list[Panel] = []
    for class_id in data.class_ids:
        shown = [n for n in photographs(data, class_id) if Path(data.image_name(n)).stem in address]
        if len(shown) >= 2 and len(panels) < given.episodes:
            panels.append(panel(data, class_id, shown[0], shown[1], given.weights))
            print(*(address[Path(data.image_name(n)).stem] for n in shown[:2]))
    draw_episodes(panels).save(given.out)


def addresses(root: Path) -> dict[str, str]:
    """Address of each photograph under CC BY, by the name of its file."""
    files = [json.loads(path.read_text()) for path in sorted(root.glob("annotations/instances_*2017.json"))]
    images = [image for file in files for image in file["images"] if image["license"] == CC_BY]
    return {Path(image["file_name"]).stem: image["flickr_url"] for image in images}


def with_persons(data: Coco) -> npt.NDArray[np.bool_]:
    """Whether each image shows a person."""
    shown: npt.NDArray[np.bool_] = data.index.pixels[:, 1 + data.class_names.index("person")] > 0
    return shown


def photographs(data: Coco, class_id: int, shares: tuple[float, float] = SHARE) -> list[int]:
    """Images without persons on which a class is neither small nor everything."""
    found = []
    for number in np.flatnonzero((data.index.pixels[:, class_id] > 0) & ~with_persons(data)):
        share = float((data.episode_mask(int(number), (class_id,)) == 1).mean())
        if shares[0] <= share <= shares[1]:
            found.append(int(number))
    return found


def panel(data: Coco, class_id: int, support: int, query: int, weights: str) -> Panel:
    """One episode with its prediction."""
    segmenter = Segmenter(PANet(VGG16(weights=weights)), size=417)
    name = data.class_name(class_id)
    mask, truth = (data.episode_mask(number, (class_id,)) for number in (support, query))
    segmenter.learn(data.image(support), mask == 1, name)
    found = segmenter.segment(data.image(query))
    both, either = ((found == 1) & (truth == 1)).sum(), ((found == 1) | (truth == 1)).sum()
    image, shown = (torch.from_numpy(data.image(number).copy()).permute(2, 0, 1) for number in (support, query))
    return Panel(
        image[None, None],
        torch.from_numpy(mask)[None, None],
        shown,
        torch.from_numpy(truth),
        torch.from_numpy(found),
        (name,),
        (100 * float(both / either),),
    )


if __name__ == "__main__":
    main()
