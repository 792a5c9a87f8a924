from collections.abc import Callable

import numpy as np
import PIL.Image
import pytest
import torch
from torch.nn import functional as F

from fsseg.encoders import ConvNet
from fsseg.episode import Batch
from fsseg.episodes.loading import collate
from fsseg.episodes.resizing import View, fitted, resampled
from fsseg.episodes.transforms import opencv_image, opencv_mask, resize_mask, resize_mask_by_corners
from fsseg.methods import PANet

Oracle = Callable[[str], dict[str, np.ndarray]]


@pytest.mark.parametrize(
    ("shape", "size", "expected"),
    [
        ((375, 500), 473, (352, 472)),  # by PFENet's find_new_hw: 375 * 0.946 = 354, both down to multiples of 8
        ((500, 375), 473, (472, 352)),
        ((500, 333), 473, (472, 312)),
        ((480, 640), 641, (480, 640)),
        ((300, 300), 64, (64, 64)),
        ((10, 1000), 64, (8, 64)),
    ],
)
def test_padded_images_have_sides_of_multiples_of_8(
    shape: tuple[int, int], size: int, expected: tuple[int, int]
) -> None:
    assert fitted(shape, size) == expected


def picture(height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(height)
    return random.integers(0, 256, (height, width, 3), dtype=np.uint8), random.integers(0, 3, (height, width)).astype(
        np.uint8
    )


def test_padding_keeps_the_aspect_and_ignores_the_rest() -> None:
    image, mask = picture(30, 40)
    view = View(64, resize="pad", truth="original")
    assert np.array_equal(view.image(image)[:48, :64], opencv_image(image, (48, 64)))
    assert np.array_equal(view.mask(mask)[:48, :64], opencv_mask(mask, (48, 64)))
    assert (view.image(image)[48:] == 0).all()
    assert (view.mask(mask)[48:] == 255).all()
    truth = view.true_mask(mask)
    assert truth.shape == (40, 40)
    assert np.array_equal(truth[:30], mask)
    assert (truth[30:] == 255).all()
    assert np.array_equal(View(64, resize="pad", truth="input").true_mask(mask), view.mask(mask))


@pytest.mark.parametrize("number", [0, 1])
def test_padding_equals_pfenets_code(number: int, oracle: Oracle) -> None:
    """Its images are float32 and not rounded, ours are whole numbers of 0..255."""
    stored = oracle("pfenet_transform_val")
    size = int(stored["size"])
    view, image, label = View(size, resize="pad"), stored[f"image{number}"], stored[f"label{number}"]
    content = int(stored[f"resize_hw{number}"][0])
    assert fitted(image.shape, size)[0] == content
    assert np.array_equal(view.mask(label), stored[f"resize_label{number}"])
    encoder = ConvNet()
    theirs = torch.from_numpy(stored[f"resize_tensor{number}"]) * encoder.std * 255 + encoder.mean * 255
    ours = torch.from_numpy(view.image(image)).permute(2, 0, 1)[:, ::2, ::2]
    assert (theirs - ours).abs().max() <= 0.5 + 1e-3


def test_pmms_ground_truth_is_resized_there_and_back(oracle: Oracle) -> None:
    stored = oracle("pmms_transform_val")
    view = View(int(stored["size"]), truth="resampled", query_void="background")
    truth = view.true_mask(view.void(stored["mask"], "query"))
    assert np.array_equal(truth, stored["mask_evaluated"])
    changed = (truth != np.where(stored["mask"] == 255, 0, stored["mask"])).sum()
    assert changed == stored["mask_changed_pixels"]


def test_images_and_masks_are_resized_as_in_hsnets_code(oracle: Oracle) -> None:
    stored = oracle("hsnet_transform")
    encoder = ConvNet((8,), (4,), convolutions=1)
    view = View(int(stored["size"]), support_void="background", nearest="corner")
    for number in range(int(stored["n"])):
        image, label = stored[f"image{number}"], stored[f"label{number}"]
        tensor = encoder.normalise(torch.tensor(view.image(image)).permute(2, 0, 1)[None])[0]
        off = np.abs(tensor[:, ::2, ::2].numpy() - stored[f"tensor{number}"])
        assert off.max() < 1 / 255 / 0.224 + 1e-6  # Pillow 13 rounds some pixels to the next grey level
        assert (off > 1e-6).mean() < 0.1
        resized = view.mask(label)
        assert np.array_equal(resized == stored["class_id"] + 1, stored[f"mask{number}"])
        assert np.array_equal(resized == 255, stored[f"ignore{number}"])
        assert not np.array_equal(resized, View(int(stored["size"])).mask(label))


@pytest.mark.parametrize(("shape", "size"), [((30, 47), (41, 41)), ((64, 20), (400, 7)), ((375, 500), (400, 400))])
def test_masks_by_corners_are_torchs_nearest(shape: tuple[int, int], size: tuple[int, int]) -> None:
    _, mask = picture(*shape)
    expected = F.interpolate(torch.tensor(mask)[None, None].float(), size=size, mode="nearest")[0, 0]
    assert np.array_equal(resize_mask_by_corners(mask, size), expected.numpy())


@pytest.mark.parametrize("shape", [(30, 47), (64, 20), (17, 90)])
def test_the_way_back_is_torchs_nearest(shape: tuple[int, int]) -> None:
    _, mask = picture(*shape)
    small = resize_mask(mask, (41, 41))
    expected = F.interpolate(torch.tensor(small)[None, None].float(), size=shape, mode="nearest")[0, 0]
    assert np.array_equal(resampled(mask, small), expected.numpy())


def test_void_is_what_the_view_says_for_supports_and_queries() -> None:
    mask = np.array([[0, 1, 255]], dtype=np.uint8)
    view = View(None, support_void="background")
    assert view.void(mask, "support").tolist() == [[0, 1, 0]]
    assert view.void(mask, "query").tolist() == [[0, 1, 255]]
    assert mask.tolist() == [[0, 1, 255]]


def episode(make_batch: Callable[..., Batch], *sizes: tuple[int, int]) -> Batch:
    """An episode whose queries have masks of these sizes, as `Episodes` gives it."""
    batch = Batch(*(tensor[0] for tensor in make_batch(query=len(sizes))))
    height, width = (max(side) for side in zip(*sizes, strict=True))
    mask = torch.full((len(sizes), height, width), 255, dtype=torch.uint8)
    for q, (h, w) in enumerate(sizes):
        mask[q, :h, :w] = q % 2
    return batch._replace(query_mask=mask, query_size=torch.tensor(sizes))


def test_queries_of_any_size_make_one_batch_and_each_is_segmented_at_its_own(make_batch: Callable[..., Batch]) -> None:
    episodes = [episode(make_batch, (30, 20), (18, 40)), episode(make_batch, (25, 25), (9, 11))]
    batch = collate(episodes)
    assert batch.query_mask.shape == (2, 2, 30, 40)
    assert (batch.query_mask[1, 0, 25:] == 255).all()
    assert (batch.query_mask[1, 0, :, 25:] == 255).all()
    method = PANet(ConvNet((8,), (4,), convolutions=1)).eval()
    with torch.no_grad():
        logits = method(batch)
        for b, q in ((0, 0), (0, 1), (1, 0), (1, 1)):
            height, width = batch.query_size[b, q].tolist()
            alone = batch._replace(
                **{name: getattr(batch, name)[b : b + 1] for name in ("support_image", "support_mask", "classes")},
                query_image=batch.query_image[b : b + 1, q : q + 1],
                query_mask=batch.query_mask[b : b + 1, q : q + 1, :height, :width],
                query_size=batch.query_size[b : b + 1, q : q + 1],
            )
            torch.testing.assert_close(logits[b, q, :, :height, :width], method(alone)[0, 0], rtol=1e-4, atol=1e-5)


def test_pictures_are_stretched_by_default() -> None:
    image, mask = picture(30, 40)
    view = View(24, truth="original")
    assert np.array_equal(view.image(image), np.asarray(PIL.Image.fromarray(image).resize((24, 24), 2)))
    assert view.mask(mask).shape == (24, 24)
    assert np.array_equal(view.true_mask(mask), mask)
    assert np.array_equal(View(None).image(image), image)
