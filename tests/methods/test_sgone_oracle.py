"""SG-One against numbers of its official code; tolerances are those of golden/README.md."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fsseg.encoders import ConvNet, DeepLabVGG16
from fsseg.episode import Batch
from fsseg.methods import SGOne
from fsseg.official_codes.renaming import by_prefix
from fsseg.ops.similarity import cosine_similarity
from tests.oracle_weights import (
    GivenFeatures,
    close,
    close_prediction,
    episodes,
    first_shot,
    load_named,
    low_resolution,
    numbered,
    recipe_state,
)

Oracle = Callable[[str], dict[str, np.ndarray]]
HEAD = {"classifier_6.0.": "classify.0.", "exit_layer.": "classify.2."}
GUIDANCE, SIDE = 64, 128


class Case:
    """The head on given features: 5 shots, of which 1-shot takes the first."""

    def __init__(self, stored: dict[str, np.ndarray], folder: Path) -> None:
        self.stored, self.folder = stored, folder
        masks = torch.from_numpy(stored["masks"])
        support, query = masks[None, None, 1:], masks[None, :1]
        self.five = episodes(numbered(1, support), support, numbered(0, query), query)
        self.one = first_shot(self.five)

    def method(self, **options: Any) -> SGOne:
        """SG-One whose features are guidance and segmentation feature of the oracle: its branches copy them."""
        feature = torch.from_numpy(self.stored["feat"]).float()
        side = torch.zeros(len(feature), SIDE, *feature.shape[-2:])  # supports have none
        side[0] = torch.from_numpy(self.stored["side"])
        encoder = GivenFeatures(torch.cat([feature, side], dim=1))
        method = SGOne(encoder, guidance=GUIDANCE, channels=SIDE, **options)
        copies = {"guidance": (GUIDANCE, 0), "sides.0": (SIDE, GUIDANCE)}
        state = recipe_state(self.folder, "sgone_head", by_prefix(HEAD))
        for name, (channels, first) in copies.items():
            state[f"{name}.weight"] = torch.zeros(channels, GUIDANCE + SIDE, 3, 3)
            state[f"{name}.weight"][range(channels), range(first, first + channels), 1, 1] = 1
            state[f"{name}.bias"] = torch.zeros(channels)
        load_named(method, state)
        return method.requires_grad_(False)


@pytest.fixture(scope="module")
def case(oracle: Oracle, oracle_folder: Path) -> Case:
    return Case(oracle("sgone_head"), oracle_folder)


def vector(method: SGOne, batch: Batch) -> Tensor:
    mask = batch.support_mask.flatten(0, 1).float()
    support = tuple(one.flatten(0, 1) for one in method.features(batch).support)
    return method.adapt_way(support, mask, 1 - mask)[0].mean(1)


def logits(method: SGOne, batch: Batch) -> Tensor:
    return low_resolution(method, batch)[:, 0]


def test_prototype_and_similarity(case: Case) -> None:
    method = case.method()
    prototype = vector(method, case.one)
    close(prototype[..., None, None], case.stored["vec"], 1e-5)
    guidance = method.features(case.one).query[0][0]
    close(cosine_similarity(guidance, prototype.unsqueeze(1))[0], case.stored["sim"], 1e-5)


def test_logits_loss_and_prediction(case: Case) -> None:
    method = case.method()
    assert case.stored["out"].shape[-2:] == (15, 15)  # of 13 x 13 cells
    close(logits(method, case.one), case.stored["out"], 2e-5)
    close(method.loss(case.one)["loss"], case.stored["loss"], 5e-5)
    close_prediction(method(case.one), case.stored["pred"][None])


def test_five_shots_as_the_mean_of_prototypes(case: Case) -> None:
    method = case.method(fusion="mean")
    close(vector(method, case.five)[..., None, None], case.stored["vec_5avg"], 1e-5)
    close(logits(method, case.five), case.stored["out_5avg"], 2e-5)


def test_five_shots_as_the_union_of_predictions(case: Case) -> None:
    close_prediction(case.method(fusion="union")(case.five), case.stored["pred_5max"][None])


def test_one_shot_is_the_same_as_mean_and_as_union(case: Case) -> None:
    mean, union = (case.method(fusion=fusion)(case.one) for fusion in ("mean", "union"))
    torch.testing.assert_close(mean.softmax(2), union.softmax(2))


# What the golden values of the head don't reach


def tiny(**options: Any) -> SGOne:
    return SGOne(ConvNet((8,), (2,), convolutions=1), guidance=5, channels=4, **options)


class Split(ConvNet):
    """An encoder of three maps, which are parts of one."""

    def features(self, images: Tensor) -> tuple[Tensor, ...]:
        return super().features(images)[0].split((2, 3, 4), dim=1)


def test_the_segmentation_branch_takes_the_taps_in_turn() -> None:
    encoder = Split((9,), (2,), convolutions=1, groups=3)
    encoder.widths = (2, 3, 4)  # the last alone gives guidance
    method, images = SGOne(encoder, guidance=5, channels=6), torch.randint(0, 256, (2, 3, 8, 8), dtype=torch.uint8)
    first, second, third = encoder(images)
    convolve = partial(F.conv2d, padding=1)

    def layer(x: Tensor, module: nn.Module) -> Tensor:
        return convolve(x, module.weight, module.bias)

    side = layer(first, method.sides[0]).relu()
    side = layer(torch.cat([side, second], 1), method.sides[1]).relu()
    side = layer(torch.cat([side, third], 1), method.sides[2])
    torch.testing.assert_close(method.encode(images), (layer(third, method.guidance), side))


def test_the_guidance_layer_alone_learns_fast() -> None:
    method = tiny()
    fast = {name for name, _ in method.named_parameters() if method.learns_fast(name)}
    assert fast == {"guidance.weight", "guidance.bias"}


def test_on_deeplabs_vgg_widths_are_the_official_ones() -> None:
    encoder = DeepLabVGG16(taps=("pool3", "pool4", "pool5"), extra=False, weights="none")
    method = SGOne(encoder)
    assert [tuple(side.weight.shape) for side in method.sides] == [
        (128, 256, 3, 3),
        (128, 640, 3, 3),
        (128, 640, 3, 3),
    ]
    assert method.guidance.weight.shape == (512, 512, 3, 3)
    with torch.no_grad():
        maps = method.encode(torch.zeros(1, 3, 33, 33, dtype=torch.uint8))
    assert [tuple(one.shape) for one in maps] == [(1, 512, 5, 5), (1, 128, 5, 5)]


def test_an_empty_mask_is_similar_to_nothing(make_batch: Callable[..., Batch]) -> None:
    method, batch = tiny().eval(), make_batch(void=False)
    empty = batch._replace(support_mask=torch.zeros_like(batch.support_mask))
    assert (vector(method, empty) == 0).all()
    expected = method.classify(torch.zeros_like(method.features(empty).query[1][:, 0]))
    torch.testing.assert_close(logits(method, empty), expected)


def test_union_of_several_ways_keeps_each_ways_largest_margin(make_batch: Callable[..., Batch]) -> None:
    method, batch = tiny(fusion="union").eval(), make_batch(way=2, shot=3)
    alone = SGOne(method.encoder, guidance=5, channels=4)
    alone.load_state_dict(method.state_dict())
    names = ("support_image", "support_mask", "support_id")
    with torch.no_grad():
        each = [
            alone.eval()(batch._replace(**{name: getattr(batch, name)[:, :, k : k + 1] for name in names}))
            for k in range(3)
        ]
        union = method(batch)
    margin = torch.stack([shot[:, :, 1:] - shot[:, :, :1] for shot in each]).amax(0)
    torch.testing.assert_close(union[:, :, 1:] - union[:, :, :1], margin)
    any_foreground = torch.stack([shot.argmax(2) > 0 for shot in each]).any(0)
    assert torch.equal(union.argmax(2) > 0, any_foreground)
