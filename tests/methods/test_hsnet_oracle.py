"""HSNet against its official code; tolerances are those of golden/pfenet_hsnet.md."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from fsseg.encoders import build
from fsseg.encoders.base import Encoder
from fsseg.episode import Batch
from fsseg.losses import cross_entropy
from fsseg.methods import HSNet
from fsseg.methods.hsnet import voted
from fsseg.official_codes.hsnet import rename
from fsseg.ops.hypercorrelation import hypercorrelation, unit_vectors
from tests.golden.recipe import fill
from tests.oracle_weights import close, close_norms, episodes, load_named, recipe_state, record

Oracle = Callable[[str], dict[str, np.ndarray]]
Stored = Mapping[str, np.ndarray]
ENCODERS = {"resnet50": "resnet50_blocks", "vgg16": "vgg16_layers"}
# Encoders of the official learner.
BLOCKS = ("encoder_layer4to3", "encoder_layer3to2", "encoder_layer4", "encoder_layer3", "encoder_layer2")


def encoder(network: str) -> Encoder:
    return build(ENCODERS[network], weights="none")


class Given(Encoder):
    """Stands for an encoder whose maps have these numbers per stride."""

    def __init__(self, counts: Mapping[int, int]) -> None:
        super().__init__()
        self.strides = tuple(stride for stride, count in counts.items() for _ in range(count))
        self.widths, self.stride = (1,) * len(self.strides), self.strides[0]

    def features(self, images: Tensor) -> tuple[Tensor, ...]:
        raise NotImplementedError


def official(correlation: Tensor) -> Tensor:
    """A correlation in the official order of axes, ``B C hq wq hs ws``."""
    return correlation.movedim(-1, 1)


def thinned(tensor: Tensor, channels: int, support: int = 3) -> Tensor:
    """The stored part of a correlation in official order; ``support`` 0 keeps all support cells."""
    query = [slice(None, None, -(-size // 5)) for size in tensor.shape[2:4]]
    cells = [slice(None, None, -(-size // support) if support else 1) for size in tensor.shape[4:]]
    return tensor[(slice(None), slice(None, None, channels), *query, *cells)]


def recorded_names() -> list[str]:
    return [f"{rename(name)}.{i}" for name in BLOCKS for i in range(9)]


def check_blocks(stored: Stored, outputs: Mapping[str, list[Any]], atol: float, *, statistics: bool) -> None:
    """Outputs of all layers of all encoders."""
    for name in BLOCKS:
        for i in (0, 3, 6):
            found = official(outputs[f"{rename(name)}.{i}"][0])
            close(thinned(found, 8 if found.shape[1] == 16 else 32), stored[f"{name}_{i}_sub"], atol)
        found = official(outputs[f"{rename(name)}.8"][0])
        assert found.shape == tuple(stored[f"{name}_out_shape"])
        close(thinned(found, 16, 0), stored[f"{name}_out_sub"], atol)
    for block, mean, norm in zip(stored["block_names"], stored["block_mean"], stored["block_norm"], strict=True):
        if statistics and not str(block).startswith("sum"):
            part, number = str(block).rsplit("_", 1) if "_" in str(block) else (str(block), "")
            found = outputs[f"{rename(part)}.{number}"][0].double()
            close(found.mean(), mean, 1e-6)
            close(found.norm(), norm, 0, rtol=1e-6)


@pytest.mark.slow
def test_head_alone(oracle: Oracle, oracle_folder: Path) -> None:
    """Correlations of other query than support sizes, with their gradients."""
    stored = oracle("hsnet_head_r50")
    method = HSNet(Given({8: 4, 16: 6, 32: 3}))
    load_named(method, recipe_state(oracle_folder, "hsnet_head_r50", rename))
    seed = int(stored["recipe_seed"]) * 1000 + 500
    shapes = [tuple(map(int, shape)) for shape in stored["corr_shapes"]]
    given = [torch.from_numpy(fill(shape, "corr", seed + i)).requires_grad_() for i, shape in enumerate(shapes)]
    sums: list[Tensor] = []
    for mix in method.mix:
        mix.register_forward_pre_hook(lambda _, inputs: sums.append(inputs[0].detach().clone()))
    with record(method, *recorded_names(), "decode.0") as outputs:
        levels = zip(method.squeeze, given, strict=True)
        logits = method.decoded([squeeze(one.movedim(1, -1)) for squeeze, one in levels])
    check_blocks(stored, outputs, 1e-5, statistics=True)
    for found, name in zip(sums, ("sum43", "sum432"), strict=True):
        close(thinned(official(found), 16, 0), stored[f"{name}_sub"], 1e-5)
    encoded = outputs["mix.1.8"][0].mean((3, 4)).movedim(-1, 1)
    close(encoded[:, ::16], stored["encoded_sub"], 1e-5)
    close(outputs["decode.0"][0][:, ::8], stored["dec1_sub"], 1e-5)
    close(logits, stored["logit_low"], 1e-5)
    loss = cross_entropy(logits, torch.from_numpy(stored["gt"]), "pixels")
    close(loss, stored["loss"], 1e-5)
    loss.backward()
    close_norms(method, rename, stored["grad_names"], stored["grad_norms"], 1e-4)
    for level, one in zip((4, 3, 2), given, strict=True):
        expected = stored[f"corr_grad{level}_sub"]
        close(thinned(one.grad, 1), expected, 1e-4 * np.abs(expected).max())
        norms = one.grad.transpose(0, 1).flatten(1).norm(dim=1)
        close(norms, stored["corr_grad_norm"][4 - level, : len(norms)], 0, rtol=1e-4)
    check_gradients(method, stored, 1e-4)


def check_gradients(method: HSNet, stored: Stored, tolerance: float) -> None:
    for official_name in (
        "decoder2.2.weight", "encoder_layer4.0.conv1.weight", "encoder_layer2.0.conv2.weight"
    ):  # fmt: skip
        if (key := f"grad_{official_name.replace('.', '_')}") in stored:
            found = method.get_parameter(rename(official_name)).grad
            close(found, stored[key], tolerance * np.abs(stored[key]).max())


def whole(name: str, network: str, oracle: Oracle, folder: Path) -> tuple[HSNet, Stored]:
    """The network of a case with its recipe's weights."""
    stored, method = oracle(name), HSNet(encoder(network))
    state = recipe_state(folder, f"{name}_manifest".removesuffix("_manifest"), rename)
    if "decoder_bias" in stored:
        state["decode.1.2.bias"] = torch.from_numpy(stored["decoder_bias"])
    load_named(method, state)
    return method, stored


def batch_of(images: np.ndarray, labels: np.ndarray, shots: int) -> Batch:
    """Episodes whose image 0 is the query; void is background."""
    image = torch.from_numpy(images).movedim(-1, 2)
    mask = (torch.from_numpy(labels) == 1).byte()
    supports = slice(1, 1 + shots)
    return episodes(image[:, None, supports], mask[:, None, supports], image[:, :1], mask[:, :1])


@pytest.mark.slow
@pytest.mark.parametrize(("name", "network"), [("resnet50_257", "resnet50"), ("vgg16_129", "vgg16")])
def test_whole_network(name: str, network: str, oracle: Oracle, oracle_folder: Path) -> None:
    method, stored = whole(f"hsnet_full_{name}", network, oracle, oracle_folder)
    method.train()
    assert method.encoder.fixed  # frozen, with running statistics: train mode changes nothing
    batch = batch_of(stored["images_u8"], stored["labels"], 1)
    support, query = method.features(batch)
    check_features(method, stored, support, query, batch)
    with record(method, *recorded_names(), "decode.0") as outputs:
        losses = method.losses(method.features(batch), batch)
    check_blocks(stored, outputs, 2e-5, statistics=False)
    close(outputs["mix.1.8"][0].mean((3, 4)).movedim(-1, 1)[:, ::16], stored["encoded_sub"], 2e-5)
    close(outputs["decode.0"][0][:, ::8], stored["dec1_sub"], 2e-5)
    close(losses["loss"], stored["train_loss"], 5e-5)
    losses["loss"].backward()
    close_norms(method, rename, stored["grad_names"], stored["grad_norms"], 3e-3)
    check_gradients(method, stored, 1e-3)
    with torch.no_grad():
        close(method.predict(method.adapt(support, batch.support_mask), query)[:, 0], stored["logit_low"], 2e-5)
        logits = method(batch)
        close(logits[:, 0, :, ::8, ::8], stored["logit_sub"], 2e-5)
        assert (logits[:, 0].argmax(1).numpy() != stored["pred1"]).mean() <= 1e-3
        assert torch.equal(method.eval()(batch), logits)
    check_shots(method, stored)


def check_features(
    method: HSNet, stored: Stored, support: tuple[Tensor, ...], query: tuple[Tensor, ...], batch: Batch
) -> None:
    """Maps of query and support, and their correlations."""
    for i, (one, other) in enumerate(zip(query, support, strict=True)):
        close(one.double().norm(), stored["query_feat_norm"][i], 0, rtol=1e-5)
        close(other.double().norm(), stored["support_feat_norm"][i], 0, rtol=1e-5)
        if f"query_feat{i}_sub" in stored:
            expected = stored[f"query_feat{i}_sub"]
            step = one.shape[2] // expected.shape[1], -(-one.shape[3] // expected.shape[2])
            close(one[:, 0, :: step[0], :: step[1], :: step[1]], expected, 5e-5)
    state = method.adapt(support, batch.support_mask)
    for number, level in zip((4, 3, 2), method._levels, strict=True):
        units = [unit_vectors(query[i][:, 0]) for i in level]
        full = official(hypercorrelation(units, [state[i][:, 0, 0] for i in level]))
        assert full.shape == tuple(stored[f"corr{number}_shape"])
        close(full.double().mean((2, 3, 4, 5)), stored[f"corr{number}_mean"], 1e-6)
        close(thinned(full, 1), stored[f"corr{number}_sub"], 1e-5)


def check_shots(method: HSNet, stored: Stored) -> None:
    """Votes of five shots, at the images' size and at another one."""
    batch = batch_of(stored["images_u8"], stored["labels"], 5)
    with torch.no_grad():
        support, query = method.features(batch)
        state = method.state(support, batch.support_mask)
        each = [tuple(part[:, :, k : k + 1] for part in state) for k in range(5)]
        logits = torch.stack([method.segment(one, query, batch.query_size)[:, 0] for one in each], dim=1)
        close(logits[..., ::16, ::16], stored["logit5_sub"], 2e-5)
        assert (logits.argmax(2).sum(1).numpy() != stored["votes5"]).mean() <= 1e-3
        found = method.segment(state, query, batch.query_size)[:, 0].argmax(1)
        assert (found.numpy() != stored["pred5"]).mean() <= 1e-3
        height, width = map(int, stored["org_hw"])
        for part, name in ((each[0], "pred1_orig"), (state, "pred5_orig")):
            found = method.segment(part, query, (height, width))[:1, 0].argmax(1)
            assert (found.numpy() != stored[name]).mean() <= 1e-3


@pytest.mark.slow
def test_training_steps(oracle: Oracle, oracle_folder: Path) -> None:
    """In float64: Adam divides gradients by their size, and so amplifies the rounding of small ones."""
    method, stored = whole("hsnet_train_steps", "resnet50", oracle, oracle_folder)
    method.double().train()
    optimizer = torch.optim.Adam(method.parameters(), lr=float(stored["lr"]))
    for images, labels, expected in zip(stored["images_u8"], stored["labels"], stored["loss"], strict=True):
        batch = batch_of(images, labels, 1)
        loss = method.loss(batch)["loss"]
        close(loss, expected, 1e-4)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        close(method.eval()(batch)[:, 0, :, ::8, ::8], stored["eval_logit_after_sub"], 1e-4)
    names = [rename(str(name)) for name in stored["param_names"]]
    parameters = [method.get_parameter(name) for name in names]
    close(torch.stack([one.double().norm() for one in parameters]), stored["param_norm"], 0, rtol=1e-5)
    for key in ("decoder2.2.weight", "encoder_layer4.0.conv1.weight"):
        close(method.get_parameter(rename(key)), stored[key.replace(".", "_")], 1e-5)


def test_votes(oracle: Oracle) -> None:
    stored = oracle("hsnet_vote")
    maps = torch.from_numpy(stored["maps"]).bool()
    assert (voted(maps).argmax(1).numpy() == stored["pred"]).all()
    assert (maps.sum(0).amax((1, 2)).numpy() == stored["largest"]).all()


@pytest.mark.parametrize(("network", "name"), [("resnet50", "resnet"), ("vgg16", "vgg16")])
def test_sizes_whose_support_grids_agree(network: str, name: str, oracle_folder: Path) -> None:
    expected = json.loads((oracle_folder / "hsnet_sizes.json").read_text())[name]
    counts = {8: 4, 16: 6, 32: 3} if network == "resnet50" else {8: 3, 16: 3, 32: 1}
    method = HSNet(Given(counts))
    bad = []
    for size in range(33, 801):
        fine = size // 8 if network == "vgg16" else -(-size // 8)
        cells = [fine, *([fine // 2, fine // 4] if network == "vgg16" else [-(-fine // 2), -(-fine // 4)])]
        sides = [side for side, count in zip(cells, counts.values(), strict=True) for _ in range(count)]
        grids = {grid for grid, _ in method.support_grids([(side, side) for side in sides])}
        bad += [size] if len(grids) > 1 else []
        if len(grids) == 1:
            (grid,) = grids
            assert any(first <= size <= last for first, last in expected[f"grid{grid}"])
    assert bad == [size for first, last in expected["bad"] for size in range(first, last + 1)]
