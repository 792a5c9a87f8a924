"""Predictions of several tests for the same queries, a row for each query and a column for each test."""

from collections.abc import Sequence

import numpy as np
import PIL.Image
import PIL.ImageDraw

from fsseg.plots.colours import colour
from fsseg.plots.episodes import GAP, SIDE, TEXT, Panel, caption, font, short, tile

_LINES = 2  # of a column's name


def draw_side_by_side(rows: Sequence[Sequence[Panel]], names: Sequence[str]) -> PIL.Image.Image:
    """Draw the first support of each way, the query with its truth, and each test's prediction with its IoU.

    Args:
        rows: panels of each query, one for each test.
        names: name of each test.
    """
    first = rows[0][0]
    columns = len(first.names) + 1 + len(names)
    head = TEXT * _LINES + GAP
    size = (columns * (SIDE + GAP) + GAP, head + len(rows) * (SIDE + TEXT + GAP))
    picture = PIL.Image.new("RGB", size, "white")
    draw = PIL.ImageDraw.Draw(picture)
    for place, name in enumerate(names, columns - len(names)):
        for line, text in enumerate(_wrapped(draw, name)):
            draw.text((GAP + place * (SIDE + GAP), GAP // 2 + line * TEXT), text, fill=(20, 20, 20), font=font(14))
    for number, panels in enumerate(rows):
        row = _row(panels, columns)
        picture.paste(row, (GAP, head + number * (SIDE + TEXT + GAP)))
    return picture


def _row(panels: Sequence[Panel], columns: int) -> PIL.Image.Image:
    row = PIL.Image.new("RGB", (columns * (SIDE + GAP), SIDE + TEXT), "white")
    draw, first, left = PIL.ImageDraw.Draw(row), panels[0], 0
    way, shot = first.support_mask.shape[:2]
    for n in range(way):
        mask = first.support_mask[n, 0]
        own = mask.where((mask == n + 1) | (mask == 255), 0)
        row.paste(tile(first.support_image[n, 0], own), (left, 0))
        caption(draw, left, f"{first.names[n]}, support{f' 1 of {shot}' if shot > 1 else ''}", colour(n + 1))
        left += SIDE + GAP
    row.paste(tile(first.query_image, first.query_mask), (left, 0))
    caption(draw, left, short(draw, first.query, ": truth", SIDE), (70, 70, 70))
    for panel in panels:
        left += SIDE + GAP
        row.paste(tile(panel.query_image, panel.query_mask, panel.prediction), (left, 0))
        values = ", ".join("-" if np.isnan(iou) else f"{iou:.0f}" for iou in panel.iou)
        caption(draw, left, f"IoU {values}", colour(1))
    return row


def _wrapped(draw: PIL.ImageDraw.ImageDraw, name: str) -> list[str]:
    """A name in at most two lines of a column's width; what has no room is left out."""
    lines = [""]
    for word in name.split():
        longer = f"{lines[-1]} {word}".strip()
        if draw.textlength(longer, font=font(14)) <= SIDE or not lines[-1]:
            lines[-1] = longer
        else:
            lines.append(word)
    return lines[:_LINES]
