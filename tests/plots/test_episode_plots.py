import numpy as np
import PIL.Image
import pytest
import torch

from fsseg.plots.colours import COLOURS
from fsseg.plots.episodes import Panel, draw_episodes, tile


def panel(way: int = 1, shot: int = 1, prediction: int = 0, size: int = 40) -> Panel:
    """Black images, and a square of the first way in every mask."""
    square = torch.zeros(size, size, dtype=torch.uint8)
    square[10:30, 10:30] = 1
    square[:2] = 255
    support_mask = square.expand(way, shot, -1, -1).clone()
    for n in range(way):
        support_mask[n][support_mask[n] == 1] = n + 1
    return Panel(
        support_image=torch.zeros(way, shot, 3, size, size, dtype=torch.uint8),
        support_mask=support_mask,
        query_image=torch.zeros(3, size, size, dtype=torch.uint8),
        query_mask=square,
        prediction=torch.full((size, size), prediction),
        names=("aeroplane", "bicycle")[:way],
        iou=(61.2, float("nan"))[-way:],
    )


def shows(picture: PIL.Image.Image, colour: tuple[int, int, int]) -> bool:
    return bool((np.asarray(picture) == colour).all(2).any())


@pytest.mark.parametrize(("way", "shot"), [(1, 1), (2, 1), (1, 5), (2, 5), (1, 10)])
def test_a_row_has_a_tile_per_support_and_two_for_the_query(way: int, shot: int) -> None:
    picture = draw_episodes([panel(way, shot)])
    tiles = way * min(shot, 5) + 2
    assert tiles * 192 < picture.width < tiles * 192 + tiles * 10 + 80
    assert 192 < picture.height < 320
    assert picture.mode == "RGB"


def test_every_episode_has_its_place() -> None:
    for given in (panel(), panel(way=2, shot=5)):
        one, four = draw_episodes([given]), draw_episodes([given] * 4)
        assert four.width % one.width == 0
        columns = four.width // one.width
        assert four.height > 4 / columns * 192
        drawn = [(np.asarray(sheet) == COLOURS[0]).all(2).sum() for sheet in (one, four)]
        assert drawn[1] == 4 * drawn[0]


def test_ways_have_colours_of_their_own() -> None:
    one, two = draw_episodes([panel()]), draw_episodes([panel(way=2)])
    assert shows(one, COLOURS[0])
    assert not shows(one, COLOURS[1])
    assert shows(two, COLOURS[0])
    assert shows(two, COLOURS[1])


def test_a_prediction_is_filled_on_the_last_tile_only() -> None:
    nothing, everything = (np.asarray(draw_episodes([panel(prediction=label)])).astype(int) for label in (0, 1))
    changed = np.flatnonzero((nothing != everything).any((0, 2)))
    assert changed.min() > nothing.shape[1] - 192 - 30
    assert len(changed) > 180


def test_a_prediction_of_nothing_is_grey_too() -> None:
    image = torch.zeros(3, 40, 40, dtype=torch.uint8)
    image[0] = 150
    square = panel().query_mask
    assert shows(tile(image, square), (150, 0, 0))
    assert not shows(tile(image, square, square * 0), (150, 0, 0))
    assert shows(tile(image, square, square * 0), (50, 50, 50))


def test_an_unknown_iou_is_a_dash() -> None:
    known, unknown = panel()._replace(iou=(50.0,)), panel()._replace(iou=(float("nan"),))
    assert draw_episodes([known]).tobytes() != draw_episodes([unknown]).tobytes()


def test_inputs_are_not_changed_and_drawing_repeats() -> None:
    given = panel(way=2, shot=5, prediction=2)
    copies = [value.clone() if isinstance(value, torch.Tensor) else value for value in given]
    first = draw_episodes([given])
    assert first.tobytes() == draw_episodes([given]).tobytes()
    for before, after in zip(copies[:5], given[:5], strict=True):
        assert torch.equal(before, after)


@pytest.mark.parametrize("size", [8, 33, 417])
def test_images_of_any_size(size: int) -> None:
    assert draw_episodes([panel(size=size)]).size == draw_episodes([panel()]).size


def test_image_and_mask_of_different_sizes_match_in_the_picture() -> None:
    square, wide = panel(prediction=1), panel(prediction=1)
    # The same masks at another size and shape, and the supports at a third one.
    query = {
        name: getattr(wide, name).repeat_interleave(3, 0).repeat_interleave(2, 1)
        for name in ("query_mask", "prediction")
    }
    tall = {name: getattr(wide, name).repeat_interleave(4, -2) for name in ("support_image", "support_mask")}
    expected, drawn = (np.asarray(draw_episodes([given])) for given in (square, wide._replace(**query, **tall)))
    # Only where a mask's border falls between two pixels of the tile may it move by one.
    assert expected.shape == drawn.shape
    assert (expected != drawn).any(2).mean() < 0.01
