"""Maps of prototypes as pictures."""

import numpy as np
import PIL.Image
import pytest
import torch

from fsseg.plots.colours import COLOURS
from fsseg.plots.prototypes import Seen, draw_probabilities, draw_regions
from tests.plots.test_episode_plots import panel, shows


def seen(way: int = 1, shot: int = 1, prototypes: int = 2, probability: float = 0.0) -> Seen:
    maps = torch.full((2 * prototypes, 6, 6), probability)
    region = torch.arange(36).view(6, 6).remainder(2 * prototypes).expand(shot, -1, -1)
    return Seen("best", panel(way, shot), way - 1, maps, region, prototypes)


@pytest.mark.parametrize(("way", "shot", "prototypes"), [(1, 1, 1), (1, 1, 3), (2, 5, 6), (1, 10, 8)])
@pytest.mark.slow
def test_there_is_a_tile_per_prototype_and_two_per_support(way: int, shot: int, prototypes: int) -> None:
    given = seen(way, shot, prototypes)
    for draw, columns in ((draw_probabilities, 1 + prototypes), (draw_regions, 2 + min(shot, 5))):
        assert columns * 192 < draw([given]).width < columns * 208 + 30


def test_a_sure_prototype_is_light_and_an_unsure_one_dark() -> None:
    dark, light = (np.asarray(draw_probabilities([seen(probability=p)])).astype(int) for p in (0.0, 1.0))
    height, left = 28 + 28, 208 + 8
    place = np.s_[height + 60 : height + 100, left + 70 : left + 130]
    assert dark[place].max() < 10
    assert light[place].min() > 150


def test_regions_have_the_colours_of_their_prototypes() -> None:
    picture = draw_regions([seen(prototypes=3)])
    pale = [tuple(int(0.75 * c + 0.25 * 127.5) for c in colour) for colour in COLOURS]
    assert all(shows(picture, colour) for colour in pale[:3])
    assert not shows(picture, pale[3])
    assert isinstance(picture, PIL.Image.Image)


def test_small_maps_stand_side_by_side() -> None:
    one, three = (draw_probabilities([seen(prototypes=1)] * n) for n in (1, 3))
    assert three.width == 3 * one.width
    assert three.height == one.height
