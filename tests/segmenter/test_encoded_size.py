"""FCN-32s cuts its logits out at the size that an image had in the encoder, and only then they are resized."""

from functools import cache

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from fsseg import Segmenter
from fsseg.contracts.trials import awake
from fsseg.encoders import FCN32
from fsseg.errors import FssegError
from fsseg.export import export
from fsseg.methods import GuidedNetworks, Method
from tests.conftest import make_batch

SIZE = 96


@cache
def method() -> Method:
    torch.manual_seed(0)
    return awake(GuidedNetworks(FCN32(fc6=8, weights="none"))).eval()


@pytest.mark.slow
def test_the_truth_may_have_another_size_than_the_image() -> None:
    batch = make_batch(size=SIZE)
    other = torch.tensor([50, 130]).expand_as(batch.query_size)
    with torch.no_grad():
        at_image = method()(batch)
        found = method()(batch._replace(query_size=other))
    wanted = F.interpolate(at_image.flatten(0, 1), size=(50, 130), mode="bilinear")
    torch.testing.assert_close(found, wanted.unflatten(0, at_image.shape[:2]))


@pytest.mark.slow
@pytest.mark.parametrize("fit", ["square", "long_side"])
def test_a_segmenter_resizes_the_logits_of_the_resized_image(fit: str) -> None:
    random = np.random.default_rng(0)
    photo = random.integers(256, size=(2 * SIZE, 2 * SIZE, 3), dtype=np.uint8)
    mask = np.zeros((2 * SIZE, 2 * SIZE), np.uint8)
    mask[:SIZE] = 1
    wide = random.integers(256, size=(SIZE, 2 * SIZE, 3), dtype=np.uint8)
    segmenter = Segmenter(method(), SIZE, fit, "cpu")
    segmenter.learn([photo, photo.transpose(1, 0, 2)], [mask, mask.T])
    found = segmenter.predict(wide, score=fit == "square").probability
    encoded = segmenter.canvas.shown(*wide.shape[:2])
    state = segmenter.known[0].states[0][0]
    with torch.no_grad():
        maps = tuple(one[None, None] for one in segmenter.feature(wide))
        logits = method().segment(state, maps, encoded)[0]
    wanted = F.interpolate(logits, size=wide.shape[:2], mode="bilinear").softmax(1)[0]
    torch.testing.assert_close(torch.from_numpy(found), wanted, rtol=1e-5, atol=1e-5)


def test_graphs_of_maps_do_not_know_the_size(tmp_path) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(FssegError, match="FCN32 needs the size of the encoded image"):
        export(Segmenter(method(), SIZE, device="cpu"), tmp_path, "torch")
