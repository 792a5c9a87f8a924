"""Figures of episodes and predictions."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import PIL.Image
import PIL.ImageDraw
import PIL.ImageFont
import torch
from jaxtyping import UInt8
from torch import Tensor
from torch.nn import functional as F

from fsseg.episode import BACKGROUND, IGNORE, Batch
from fsseg.iou import percent
from fsseg.plots.colours import RGB, colour

# All sizes are choices by eye.
SIDE, GAP, TEXT = 192, 8, 20  # pixels: side of a tile, gap between tiles, height of a line of text
_ARROW, _HEAD = 36, 28  # pixels: width of the arrow before the query, height of a heading
_DARK = (40, 40, 60)  # colour of background scribbles
_OPEN = 0.6  # a support with a larger share of 255 is annotated with scribbles
_SHOTS = 5  # largest number of supports shown per way
_WIDE = 800  # pixels: narrower drawings stand side by side


UInt8Array = npt.NDArray[np.uint8]


class Panel(NamedTuple):
    """The supports of an episode, one query, and the prediction.

    Supports, the query and its masks may differ in size; each is drawn as a square.

    Attributes:
        support_image: supports of all ways.
        support_mask: episode labels of the supports.
        query_image: the query.
        query_mask: episode labels of the query; the size may differ from the image's.
        prediction: predicted episode labels at the size of the mask, if any.
        names: class name of each way.
        iou: IoU of each way on this query, in percent; NaN if neither mask nor prediction shows the class.
        query: name of the query.
    """

    support_image: UInt8[Tensor, "N K 3 Hs Ws"]
    support_mask: UInt8[Tensor, "N K Hs Ws"]
    query_image: UInt8[Tensor, "3 Hq Wq"]
    query_mask: UInt8[Tensor, "H W"]
    prediction: Tensor | None
    names: tuple[str, ...]
    iou: tuple[float, ...]
    query: str = ""


def panel_of(
    batch: Batch,
    b: int,
    q: int,
    class_name: Callable[[int], str],
    image_name: Callable[[int], str],
    prediction: Tensor | None = None,
    iou: tuple[float, ...] = (),
) -> Panel:
    """The panel of an episode of a batch and one of its queries, without padding.

    Args:
        batch: episodes.
        b: position of the episode.
        q: position of the query.
        class_name: gives the name of a class id.
        image_name: gives the name of an image number.
        prediction: predicted labels of all queries of the batch.
        iou: see `Panel`.
    """
    height, width = batch.query_size[b, q].tolist()
    return Panel(
        batch.support_image[b].cpu(),
        batch.support_mask[b].cpu(),
        batch.query_image[b, q].cpu(),
        batch.query_mask[b, q, :height, :width].cpu(),
        None if prediction is None else prediction[b, q, :height, :width].cpu(),
        tuple(class_name(c) for c in batch.classes[b].tolist()),
        iou,
        image_name(int(batch.query_id[b, q])),
    )


def query_iou(intersection: Tensor, union: Tensor, b: int, q: int) -> tuple[float, ...]:
    """IoU of each way on a query, in percent.

    Args:
        intersection: pixel counts ``B Q 1+N``, background first.
        union: pixel counts of the same shape.
        b: position of the episode.
        q: position of the query.
    """
    return tuple(percent(intersection[b, q, 1:].double(), union[b, q, 1:].double()).tolist())


def draw_episodes(panels: Sequence[Panel]) -> PIL.Image.Image:
    """Draw episodes: supports with masks, the query with its true mask, the query in grey with the prediction."""
    return draw_sections([("", panels)], columns=2)


def draw_sections(sections: Sequence[tuple[str, Sequence[Panel]]], columns: int = 3) -> PIL.Image.Image:
    """Draw episodes in sections.

    Args:
        sections: heading and episodes of each section; an empty heading is not drawn.
        columns: largest number of narrow episodes in a row.
    """
    panels = [panel for _, section in sections for panel in section]
    filled = ", prediction filled" if any(panel.prediction is not None for panel in panels) else ""
    weak = any(_is_weak(mask) for panel in panels for mask in panel.support_mask.flatten(0, 1))
    support = (
        "support: scribbles, of the class in its colour, of the background dark" if weak else "support: mask outlined"
    )
    legend = f"{support}   query: truth outlined{filled}   pale: ignored"
    return sheet(
        [(heading, [_draw_episode(panel) for panel in section]) for heading, section in sections], legend, columns
    )


def sheet(sections: Sequence[tuple[str, Sequence[PIL.Image.Image]]], legend: str, columns: int) -> PIL.Image.Image:
    """Arrange drawings in sections; all drawings of a section have one size.

    Args:
        sections: heading and drawings of each section; an empty heading is not drawn.
        legend: text above all sections.
        columns: largest number of drawings in a row; wide drawings stand one in a row.
    """
    every = [drawing for _, drawings in sections for drawing in drawings]
    width = max(drawing.width for drawing in every) + 3 * GAP
    columns = min(columns, max(len(drawings) for _, drawings in sections)) if width < _WIDE else 1
    heights = [-(-len(d) // columns) * (max(x.height for x in d) + GAP) + bool(h) * _HEAD for h, d in sections]
    picture = PIL.Image.new("RGB", (columns * width, sum(heights) + TEXT + GAP), "white")
    draw, top = PIL.ImageDraw.Draw(picture), TEXT + GAP
    draw.text((GAP, GAP // 2), legend, fill=(70, 70, 70), font=font(12))
    for (heading, drawings), height in zip(sections, heights, strict=True):
        if heading:
            draw.text((GAP, top), heading, fill=(20, 20, 20), font=font(16))
        for i, drawing in enumerate(drawings):
            row, column = divmod(i, columns)
            place = (GAP + column * width, top + bool(heading) * _HEAD + row * (drawing.height + GAP))
            picture.paste(drawing, place)
        top += height
    return picture


def _draw_episode(panel: Panel) -> PIL.Image.Image:
    way, shot = panel.support_mask.shape[:2]
    shown = min(shot, _SHOTS)
    queries = 1 if panel.prediction is None else 2
    width = way * shown * (SIDE + GAP) + _ARROW + queries * (SIDE + GAP)
    row = PIL.Image.new("RGB", (width, SIDE + 2 * TEXT), "white")
    draw, left = PIL.ImageDraw.Draw(row), 0
    for n in range(way):
        for k in range(shown):
            mask = panel.support_mask[n, k]
            own = mask.where((mask == n + 1) | (mask == IGNORE), 0)
            draw_support = _scribbled if _is_weak(mask) else tile
            row.paste(draw_support(panel.support_image[n, k], own, own * 0), (left, 0))
            if k == 0:
                more = f", {shown} of {shot} shown" if shot > shown else ""
                caption(draw, left, f"support: {panel.names[n]}{more}", colour(n + 1))
            left += SIDE + GAP
    middle = SIDE // 2
    draw.line((left, middle, left + _ARROW - GAP - 6, middle), fill=(90, 90, 90), width=3)
    tip = left + _ARROW - GAP
    draw.polygon([(tip, middle), (tip - 9, middle - 6), (tip - 9, middle + 6)], fill=(90, 90, 90))
    left += _ARROW
    row.paste(tile(panel.query_image, panel.query_mask), (left, 0))
    caption(draw, left, short(draw, f"query {panel.query}".rstrip(), ": truth", SIDE), (70, 70, 70))
    if panel.prediction is None:
        return row
    left += SIDE + GAP
    row.paste(tile(panel.query_image, panel.query_mask, panel.prediction), (left, 0))
    for n, (name, iou) in enumerate(zip(panel.names, panel.iou, strict=True)):
        value = f"  IoU {'-' if np.isnan(iou) else f'{iou:.0f}'}"
        text = short(draw, name, value, SIDE // way)
        caption(draw, left + n * (SIDE // way), text, colour(n + 1))
    return row


def short(draw: PIL.ImageDraw.ImageDraw, name: str, value: str, width: int) -> str:
    """A name and its value as one text; the name is shortened to fit into a width in pixels."""
    while len(name) > 2 and draw.textlength(name + value, font=font(13)) > width - 18:
        name = name[:-2] + "."
    return name + value


def _is_weak(mask: Tensor) -> bool:
    """Whether a support mask consists of scribbles, so that most pixels are 255."""
    return bool((mask == IGNORE).float().mean() > _OPEN)


def _scribbled(image: Tensor, labels: Tensor, _: Tensor) -> PIL.Image.Image:
    """An image with its scribbles drawn on it, as a square."""
    pixels = _resize(image.float().unsqueeze(0), "bilinear")[0].permute(1, 2, 0).cpu().numpy()
    for label in torch.unique(labels[labels != IGNORE]).tolist():
        marked = F.adaptive_max_pool2d((labels == label).float()[None, None], (SIDE, SIDE))
        line, rim = (F.max_pool2d(marked, side, 1, side // 2)[0, 0].cpu().numpy() > 0 for side in (3, 5))
        pixels[rim] = (255, 255, 255)
        pixels[line] = _DARK if label == BACKGROUND else colour(int(label))
    return PIL.Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def tile(image: Tensor, outlined: Tensor, filled: Tensor | None = None) -> PIL.Image.Image:
    """An image with one label map outlined, as a square; with another one filled, if it is given, on grey."""
    pixels = _resize(image.float().unsqueeze(0), "bilinear")[0].permute(1, 2, 0).cpu().numpy()
    outline = _resize(outlined[None, None].float(), "nearest-exact")[0, 0].long().cpu().numpy()
    if filled is not None:
        fill = _resize(filled[None, None].float(), "nearest-exact")[0, 0].long().cpu().numpy()
        # In grey, so that the image's colours do not mix with the prediction's; also where nothing is predicted.
        pixels = np.repeat(pixels.mean(axis=2, keepdims=True), 3, axis=2)
        for label in np.unique(fill[(fill != BACKGROUND) & (fill != IGNORE)]).tolist():
            region = fill == label
            pixels[region] = 0.45 * pixels[region] + 0.55 * np.array(colour(int(label)))
    ignored = outline == IGNORE
    pixels[ignored] = 0.4 * pixels[ignored] + 0.6 * 255
    for label in np.unique(outline[(outline != BACKGROUND) & ~ignored]).tolist():
        edge, around = edges(outline == label)
        pixels[around] = (255, 255, 255)  # a light rim keeps the line visible on any image
        pixels[edge] = colour(int(label))
    return PIL.Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def _resize(image: Tensor, mode: str) -> Tensor:
    antialias = mode == "bilinear"
    return F.interpolate(image, size=(SIDE, SIDE), mode=mode, antialias=antialias)


def edges(region: npt.NDArray[np.bool_]) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    """Inner edge of a region, two pixels wide, and its outer edge, one pixel wide."""
    inside = torch.from_numpy(region)[None, None].float()
    eroded = -F.max_pool2d(-inside, 5, stride=1, padding=2)
    dilated = F.max_pool2d(inside, 3, stride=1, padding=1)
    return (inside - eroded)[0, 0].numpy() > 0, (dilated - inside)[0, 0].numpy() > 0


def caption(draw: PIL.ImageDraw.ImageDraw, left: int, text: str, square: RGB, top: int = 0) -> None:
    """Write a text below a tile, after a small coloured square."""
    draw.rectangle((left, top + SIDE + 5, left + 9, top + SIDE + 14), fill=square)
    draw.text((left + 14, top + SIDE + 2), text, fill=(40, 40, 40), font=font(13))


def font(size: int) -> PIL.ImageFont.FreeTypeFont | PIL.ImageFont.ImageFont:
    """The font of all figures."""
    return PIL.ImageFont.load_default(size)
