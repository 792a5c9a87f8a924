"""OSLSM against a transcription of its authors' Caffe files; tolerances are those of golden/compared.md."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from fsseg.encoders import FCN32, ConvNet
from fsseg.episode import Batch
from fsseg.methods import OSLSM
from fsseg.methods.oslsm import _as_vgg
from fsseg.optim import grouped
from tests.methods.test_fcn_oracle import FIRST
from tests.oracle_weights import close, episodes, load_named, recipe_state

Oracle = Callable[[str], dict[str, np.ndarray]]
MEAN = (0.40787055, 0.45752459, 0.4810938)  # images are BGR, as in the code
ENCODERS = {"s": "encoder", "f": "support_encoder"}


def rename(official: str) -> str | None:
    """Our name of ``conv1_2f.weight``, ``fc6s.bias`` and so on; the hashing is given by its arrays."""
    name, kind = official.split(".") if "." in official else (official, "")
    if not kind:
        return None
    if name == "fc8f":
        return f"outputs.{kind}"
    layer, encoder = name[:-1], ENCODERS[name[-1]]
    if layer.startswith("fc"):
        return f"{encoder}.network.classifier.{3 * (int(layer[2]) - 6)}.{kind}"
    block, number = map(int, layer.removeprefix("conv").split("_"))
    return f"{encoder}.network.features.{FIRST[block - 1] + 2 * (number - 1)}.{kind}"


@pytest.fixture(scope="module")
def case(oracle: Oracle, oracle_folder: Path) -> tuple[dict[str, np.ndarray], OSLSM]:
    """The arrays, and the method with the recipe's weights."""
    stored = oracle("oslsm")
    method = OSLSM(FCN32(fc7=True, padding=121, weights="none", mean=MEAN, std=(1 / 255,) * 3))
    state = recipe_state(oracle_folder, "oslsm", rename)
    for name, value in state.items():
        if "classifier" in name:
            state[name] = value.flatten(1) if value.ndim == 4 else value
        if name.startswith("outputs."):
            state[name] = value * float(stored["fc8f_scale"])
    state |= {"kappa": torch.from_numpy(stored["kappa"]).long(), "zeta": torch.from_numpy(stored["zeta"]).float()}
    load_named(method, state)
    return stored, method.eval()


def image(stored: np.ndarray) -> Tensor:
    return torch.from_numpy(stored).movedim(-1, -3).flip(-3)


def batch(stored: dict[str, np.ndarray], shot: int) -> Batch:
    """The query with the first supports. Void is background in all masks, as in the code."""
    support, query = (torch.from_numpy(stored[f"{role}_label"] == 1).byte() for role in ("support", "query"))
    images = image(stored["support_u8"]), image(stored["query_u8"])
    return episodes(images[0][None, None, :shot], support[None, None, :shot], images[1][None, None], query[None, None])


@pytest.mark.slow
def test_one_shot(case: tuple[dict[str, np.ndarray], OSLSM]) -> None:
    stored, method = case
    assert sum(parameter.numel() for parameter in method.parameters()) == 272_618_088
    given = batch(stored, 1)
    with torch.no_grad():
        features = method.features(given)
        (state,) = method.state(features.support, given.support_mask)
        close(features.support[0].flatten(), stored["fc8f"], 1e-7)
        close(state.flatten()[:-1], stored["w"], 1e-7)
        close(state.flatten()[-1:], stored["b"], 1e-7)
        assert features.query[0].shape[2:] == tuple(stored["feature_shape"][1:])
        close(features.query[0][0, 0, ::64], stored["feature_sub"], 2e-3)
        found = method.predict((state,), features.query)[0, 0]
        close(found[1], stored["pred"], 5e-5)
        assert not found[0].any()
        logits = method(given)[0, 0]
        close(logits[1], stored["logits"], 5e-5)
        close(logits.softmax(0)[1], stored["score"], 5e-5)


@pytest.mark.slow
def test_five_shots_are_united_pixel_by_pixel(case: tuple[dict[str, np.ndarray], OSLSM]) -> None:
    stored, method = case
    given = batch(stored, 5)
    with torch.no_grad():
        features = method.features(given)
        (state,) = method.state(features.support, given.support_mask)
        close(state[0, 0, :, :-1], stored["w_5"], 1e-7)
        close(state[0, 0, :, -1], stored["b_5"], 1e-7)
        for number, expected in enumerate(stored["logits_each"]):
            one = method.segment((state[:, :, number : number + 1],), features.query, given.query_size)
            close(one[0, 0, 1], expected, 5e-5)
        close(method(given)[0, 0, 1], stored["logits_5"], 5e-5)
        loss = method.losses(features, given)["loss"] * given.query_mask.numel()
    close(loss, stored["loss_5"], 0, 1e-5)


@pytest.mark.slow
def test_loss_gradients_and_rates(case: tuple[dict[str, np.ndarray], OSLSM]) -> None:
    """The code's loss is a sum over pixels. Rounding closes some ReLUs, which moves norms of gradients."""
    stored, method = case
    given = batch(stored, 1)
    loss = method.loss(given)["loss"] * given.query_mask.numel()
    close(loss, stored["loss"], 0, 1e-5)
    loss.backward()
    named = {str(name): method.get_parameter(str(rename(str(name)))) for name in stored["grad_names"]}
    norms = np.array([parameter.grad.double().norm().item() for parameter in named.values()])
    largest = stored["grad_norms"].max()
    large = stored["grad_norms"] > 1e-9 * largest
    close(norms[large], stored["grad_norms"][large], 0, 2e-3)
    assert (norms[~large] < 2e-9 * largest).all()
    for official in ("fc8f.bias", "conv1_1f.weight", "conv1_1s.weight"):
        expected = stored[f"grad_{official.replace('.', '_')}"]
        close(named[official].grad, expected, 1e-2 * np.abs(expected).max())
    method.zero_grad()
    groups, factors = grouped(method.named_parameters(), method.learns_fast, head=10, bias=2)
    ours = {id(parameter): factor for group, factor in zip(groups, factors, strict=True) for parameter in group}
    close(np.array([ours[id(parameter)] for parameter in named.values()]) / 10, stored["lr_mult"], 1e-12)


# What the golden values don't reach


def test_another_encoder_has_a_copy_and_a_larger_support_is_resized() -> None:
    method = OSLSM(ConvNet((8,), (2,), convolutions=1)).eval()
    images = torch.randint(256, (2, 3, 224, 224), dtype=torch.uint8)
    masks = torch.randint(2, (2, 224, 224), dtype=torch.uint8)
    with torch.no_grad():
        small = method.encode_support(images, masks)[0]
        large = method.encode_support(
            *(one.repeat_interleave(3, -1).repeat_interleave(3, -2) for one in (images, masks))
        )
        void = method.encode_support(images, masks.masked_fill(masks == 0, 255))
        background = method.encode_support(images * masks.unsqueeze(1), masks)
    torch.testing.assert_close(large[0], small)
    assert torch.equal(void[0], small)
    assert torch.equal(background[0], small), "what is not the way has no colour"
    assert small.shape == (2, 1000, 1, 1)


def test_the_loss_is_the_sigmoid_loss_of_each_way(make_batch: Callable[..., Batch]) -> None:
    method = OSLSM(ConvNet((8,), (2,), convolutions=1)).eval()
    given = make_batch(way=2, shot=2)
    with torch.no_grad():
        scores = method(given)[:, :, 1:]
        loss = method.loss(given)["loss"]
    truth = torch.stack([given.query_mask == way for way in (1, 2)], dim=2)
    labelled = (given.query_mask != 255).unsqueeze(2).expand_as(truth)
    each = F.binary_cross_entropy_with_logits(scores, truth.float(), reduction="none") * labelled
    expected = (each.sum((1, 3, 4)) / labelled.sum((1, 3, 4))).mean()
    torch.testing.assert_close(loss, expected)


def test_the_hashing_is_in_the_checkpoint() -> None:
    one, other = (OSLSM(ConvNet((8,), (2,), convolutions=1)) for _ in range(2))
    assert not torch.equal(one.kappa, other.kappa)
    other.load_state_dict(one.state_dict())
    assert torch.equal(one.kappa, other.kappa)
    assert torch.equal(one.zeta, other.zeta)
    assert set(one.zeta.tolist()) == {-1.0, 1.0}
    assert len(one.kappa) == 9


def test_the_last_layer_starts_from_the_encoders_file(tmp_path: Path) -> None:
    encoder = FCN32(fc6=8, padding=121, weights="none")
    encoder.widths, encoder.weights = (4096,), str(tmp_path / "vgg16.pth")  # as of whole layers, which take gigabytes
    file = {"classifier.6.weight": torch.rand(1000, 4096), "classifier.6.bias": torch.rand(1000)}
    torch.save(
        file | {"features.0.weight": torch.rand(64, 3, 3, 3), "classifier.3.bias": torch.rand(4096)}, encoder.weights
    )
    outputs = torch.nn.Linear(4096, 1000)
    _as_vgg(encoder, outputs)
    assert torch.equal(outputs.weight, file["classifier.6.weight"])
    assert torch.equal(outputs.bias, file["classifier.6.bias"])
    maps = encoder.features(torch.rand(1, 3, 224, 224))
    assert maps[0].shape == (1, 8, 1, 1), "an image of VGG16's size has one cell"
