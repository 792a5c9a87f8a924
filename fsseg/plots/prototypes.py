"""Figures of prototypes: their probability maps on the query, and the support cells that belong to each."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import PIL.Image
import PIL.ImageDraw
import torch
from jaxtyping import Float, Int
from matplotlib import colormaps
from torch import Tensor
from torch.nn import functional as F

from fsseg.episode import BACKGROUND, IGNORE
from fsseg.plots.colours import COLOURS, colour
from fsseg.plots.episodes import GAP, SIDE, TEXT, Panel, caption, edges, font, sheet, short, tile

_HEAD, _LINE = 28, SIDE + TEXT + GAP  # pixels: height of the heading, of a line of tiles with captions
_HEAT = colormaps["inferno"]  # its lightness increases, so that it needs no colour vision
_OUTLINE = COLOURS[1]  # blue, a colour that inferno lacks
_GREY, _DARK = (70, 70, 70), (40, 40, 40)
_BAR = 120  # pixels: length of the colour bar
_SHOTS = 5  # largest number of supports shown


class Seen(NamedTuple):
    """The prototypes of one way of an episode; ``D`` counts them together with the background's.

    Attributes:
        heading: text above the drawing.
        panel: the episode and its query.
        way: position of the way.
        probability: probability of each prototype on the query, those of the way first.
        region: the prototype that each support cell belongs to, -1 for none.
        foreground: number of prototypes of the way.
    """

    heading: str
    panel: Panel
    way: int
    probability: Float[Tensor, "D h w"]
    region: Int[Tensor, "K hs ws"]
    foreground: int


def draw_probabilities(episodes: Sequence[Seen]) -> PIL.Image.Image:
    """Draw probability maps of all prototypes on the query (PMMs, figure 6): the way's above the background's."""
    legend = "below a map: its mean inside the object and outside     probability  0"
    picture = sheet([("", [_probabilities(seen) for seen in episodes])], legend, columns=3)
    draw = PIL.ImageDraw.Draw(picture)
    left = GAP + int(draw.textlength(legend, font=font(12))) + 6
    bar = _HEAT(np.linspace(0, 1, _BAR))[None, :, :3].repeat(11, 0)
    picture.paste(PIL.Image.fromarray((bar * 255).astype(np.uint8)), (left, GAP // 2 + 2))
    draw.text((left + _BAR + 6, GAP // 2), "1", fill=_GREY, font=font(12))
    return picture


def draw_regions(episodes: Sequence[Seen]) -> PIL.Image.Image:
    """Draw the support cells that belong to each prototype, and the query cells where the prototype is likeliest."""
    legend = "a colour and a number: a prototype     above: of the object     below: of the background"
    return sheet([("", [_regions(seen) for seen in episodes])], legend, columns=3)


def _probabilities(seen: Seen) -> PIL.Image.Image:
    sides = _sides(seen)
    picture = _start(seen, 1 + max(map(len, sides)))
    draw = PIL.ImageDraw.Draw(picture)
    inside = seen.panel.query_mask == seen.way + 1
    outside = ~inside & (seen.panel.query_mask != IGNORE)
    for line, (side, what) in enumerate(zip(sides, ("object", "background"), strict=True)):
        for i, number in enumerate(side):
            left, top = (1 + i) * (SIDE + GAP), _HEAD + line * _LINE
            picture.paste(_heat(seen.probability[number], inside), (left, top))
            full = F.interpolate(seen.probability[None, number : number + 1], size=inside.shape, mode="bilinear")[0, 0]
            means = (f"{name} {_mean(full, where)}" for name, where in (("in", inside), ("out", outside)))
            name = what if len(side) == 1 else f"{what} {i + 1}"
            text = short(draw, name, "  " + "  ".join(means), SIDE)
            caption(draw, left, text, colour(i + 1), top)
    return picture


def _regions(seen: Seen) -> PIL.Image.Image:
    sides, shots = _sides(seen), min(len(seen.region), _SHOTS)
    picture = _start(seen, 2 + shots)
    draw = PIL.ImageDraw.Draw(picture)
    likeliest = seen.probability.argmax(0)
    for line, (side, what) in enumerate(zip(sides, ("object", "background"), strict=True)):
        top = _HEAD + line * _LINE
        for k in range(shots):
            left = (1 + k) * (SIDE + GAP)
            picture.paste(_coloured(seen.panel.support_image[seen.way, k], seen.region[k], side), (left, top))
            text = f"support: {what}" if shots == 1 else f"support {k + 1}: {what}"
            draw.text((left, top + SIDE + 2), text, fill=_DARK, font=font(13))
        left = (1 + shots) * (SIDE + GAP)
        picture.paste(_coloured(seen.panel.query_image, likeliest, side), (left, top))
        draw.text((left, top + SIDE + 2), f"query: likeliest of {what}", fill=_DARK, font=font(13))
    return picture


def _sides(seen: Seen) -> tuple[range, range]:
    """Numbers of the way's prototypes and of the background's."""
    return range(seen.foreground), range(seen.foreground, len(seen.probability))


def _start(seen: Seen, columns: int) -> PIL.Image.Image:
    """A drawing with empty room for two lines of tiles; the first column shows the support above the query."""
    panel, way = seen.panel, seen.way
    picture = PIL.Image.new("RGB", (columns * (SIDE + GAP), _HEAD + 2 * _LINE), "white")
    draw = PIL.ImageDraw.Draw(picture)
    draw.text((0, 2), seen.heading, fill=(20, 20, 20), font=font(16))
    mask = panel.support_mask[way, 0]
    own = mask.where((mask == way + 1) | (mask == IGNORE), BACKGROUND)
    picture.paste(tile(panel.support_image[way, 0], own), (0, _HEAD))
    more = f", 1 of {len(seen.region)}" if len(seen.region) > 1 else ""
    caption(draw, 0, short(draw, f"support: {panel.names[way]}", more, SIDE), colour(way + 1), _HEAD)
    picture.paste(tile(panel.query_image, panel.query_mask, panel.prediction), (0, _HEAD + _LINE))
    iou = panel.iou[way] if panel.iou else float("nan")
    caption(draw, 0, f"query  IoU {'-' if np.isnan(iou) else f'{iou:.0f}'}", colour(way + 1), _HEAD + _LINE)
    return picture


def _mean(probability: Tensor, where: Tensor) -> str:
    """Mean probability over some pixels, with two decimals."""
    return f"{probability[where].mean():.2f}".removeprefix("0") if where.any() else "-"


def _heat(probability: Float[Tensor, "h w"], inside: Tensor) -> PIL.Image.Image:
    """A probability map in colours, with the true object outlined."""
    full = F.interpolate(probability[None, None].float(), size=(SIDE, SIDE), mode="bilinear")[0, 0].numpy()
    pixels = _HEAT(full)[..., :3] * 255
    outlined = F.interpolate(inside[None, None].float(), size=(SIDE, SIDE), mode="nearest-exact")[0, 0].numpy() > 0
    edge, around = edges(outlined)
    pixels[around] = 0
    pixels[edge] = _OUTLINE
    return PIL.Image.fromarray(pixels.astype(np.uint8))


def _coloured(image: Tensor, region: Int[Tensor, "h w"], side: range) -> PIL.Image.Image:
    """An image in grey with the cells of the given prototypes in colour, and the number of each prototype."""
    resized = F.interpolate(image[None].float(), size=(SIDE, SIDE), mode="bilinear", antialias=True)[0]
    pixels = np.repeat(resized.mean(0).numpy()[..., None], 3, axis=2)
    pixels = 0.5 * pixels + 0.5 * 255
    full = F.interpolate(region[None, None].float(), size=(SIDE, SIDE), mode="nearest-exact")[0, 0].long().numpy()
    marks: list[tuple[int, int, str]] = []
    for i, number in enumerate(side):
        own = full == number
        if not own.any():
            continue
        pixels[own] = 0.25 * pixels[own] + 0.75 * np.array(colour(i + 1))
        marks.append((*_middle(own), str(i + 1)))
    picture = PIL.Image.fromarray(pixels.clip(0, 255).astype(np.uint8))
    draw = PIL.ImageDraw.Draw(picture)
    for x, y, text in marks if len(side) > 1 else ():
        draw.text((x, y), text, fill=(0, 0, 0), font=font(14), anchor="mm", stroke_width=2, stroke_fill=(255, 255, 255))
    return picture


def _middle(own: npt.NDArray[np.bool_]) -> tuple[int, int]:
    """The pixel of a region farthest from its border; unlike the centroid, it always lies on the region."""
    depth, inside = np.zeros(own.shape), torch.from_numpy(own)[None, None].float()
    while inside.any():
        depth += inside[0, 0].numpy()
        padded = F.pad(inside, (2, 2, 2, 2))  # the border of the image is an edge too
        inside = -F.max_pool2d(-padded, 5, stride=1)
    y, x = np.unravel_index(depth.argmax(), depth.shape)
    return int(x), int(y)
