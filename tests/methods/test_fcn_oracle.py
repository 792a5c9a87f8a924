"""FG-BG, co-FCN and guided networks against their authors' code; tolerances are those of golden/README.md."""

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from fsseg.encoders import FCN32, ConvNet
from fsseg.episode import Batch
from fsseg.methods import FGBG, BinaryMethod, CoFCN, GuidedNetworks
from fsseg.methods.base import own_way
from fsseg.ops.fcn import at_cells, bilinear_kernel
from tests.oracle_weights import close, close_norms, episodes, load_named, recipe_state

Oracle = Callable[[str], dict[str, np.ndarray]]
MEAN, STD = (0.40787054, 0.45752457, 0.48109378), (1 / 255,) * 3  # images are BGR, as in the code
FIRST = (0, 5, 10, 17, 24)  # torchvision's numbers of the first convolution of each block
ENCODERS = {"encoder.": "encoder.", "qry_encoder.": "encoder.", "supp_encoder.": "support_encoder."}


def rename(official: str) -> str:
    if official.startswith("head."):
        layer = "fuse" if ".fc7." in official else "classify"
        return f"{layer}.{official.rsplit('.', 1)[1]}"
    prefix, name = official.split(".", 1)
    ours = f"{ENCODERS[prefix + '.']}network."
    if found := re.fullmatch(r"conv(\d)_(\d)\.(\w+)", name):
        return f"{ours}features.{FIRST[int(found[1]) - 1] + 2 * (int(found[2]) - 1)}.{found[3]}"
    return ours + name.replace("fc6", "classifier.0").replace("fc7", "classifier.3")


def loaded(method: BinaryMethod, folder: Path, case: str, scale: float) -> BinaryMethod:
    """The method with the recipe's weights."""
    state = recipe_state(folder, case, rename)
    for name, value in state.items():
        if "classifier" in name and value.ndim == 4:
            state[name] = value.flatten(1)
        if name == "classify.weight":
            state[name] = value * scale
    load_named(method, state)
    return method.eval()


def case_of(make: Callable[[FCN32], BinaryMethod], name: str, **options: Any) -> Any:
    def build(oracle: Oracle, folder: Path) -> tuple[dict[str, np.ndarray], BinaryMethod]:
        stored = oracle(name)
        encoder = FCN32(**options, weights="none", mean=MEAN, std=STD)
        return stored, loaded(make(encoder), folder, name, float(stored["score_weight_scale"]))

    return build


def image(stored: Mapping[str, np.ndarray], name: str) -> Tensor:
    return torch.from_numpy(stored[f"{name}_u8"]).permute(2, 0, 1).flip(0)[None, None]


def batch(stored: Mapping[str, np.ndarray], kind: str = "label") -> Batch:
    """The query with support 0, which has another size."""
    support = torch.from_numpy(stored[f"support0_{kind}"])[None, None, None]
    query = torch.from_numpy(stored["query_label"])[None, None]
    return episodes(image(stored, "support0")[:, None], support, image(stored, "query"), query)


def logits(method: BinaryMethod, given: Batch) -> Tensor:
    return method(given)[0, 0]


def check(method: BinaryMethod, given: Batch, stored: Mapping[str, np.ndarray], start: str) -> None:
    """Logits, loss and norms of gradients of an episode."""
    with torch.no_grad():
        close(logits(method, given), stored[f"{start}logits"], 2e-5)
    method.zero_grad()
    method.support_gradient = True
    loss = method.loss(given)["loss"]
    close(loss, stored[f"{start}loss"], 1e-5)
    loss.backward()
    norms = stored[f"{start}grad_norms"]
    close_norms(method, rename, stored["grad_names"], norms, 2e-3)  # rounding closes some ReLUs: float64 is off by 9e-4


def five_shots(method: BinaryMethod, stored: Mapping[str, np.ndarray], weights: Callable[[Tensor], float]) -> Any:
    """Mean states of five supports, which are of five sizes, by their weights."""
    states, total = [], 0.0
    for number in range(5):
        mask = torch.from_numpy(stored[f"support{number}_label"])[None, None, None]
        with torch.no_grad():
            maps = method.encode_support(image(stored, f"support{number}")[0], own_way(mask)[0, 0])
            state = method.adapt(tuple(one[None, None] for one in maps), mask)
        weight = weights(maps[0])
        states.append([weight * part for part in state])
        total += weight
    return tuple(sum(parts) / total for parts in zip(*states, strict=True))


@pytest.fixture(scope="module")
def fgbg(oracle: Oracle, oracle_folder: Path) -> Any:
    return case_of(FGBG, "fgbg", fc7=True)(oracle, oracle_folder)


@pytest.fixture(scope="module")
def cofcn(oracle: Oracle, oracle_folder: Path) -> Any:
    return case_of(CoFCN, "cofcn_early", fc6=256)(oracle, oracle_folder)


@pytest.fixture(scope="module", params=["unshared", "shared"])
def guided(request: pytest.FixtureRequest, oracle: Oracle, oracle_folder: Path) -> Any:
    kind = request.param
    made = case_of(lambda encoder: GuidedNetworks(encoder, shared=kind == "shared"), f"guided_late_{kind}", fc6=256)
    return made(oracle, oracle_folder)


def parameters(method: BinaryMethod) -> int:
    return sum(parameter.numel() for parameter in method.parameters())


@pytest.mark.slow
def test_fgbg(fgbg: Any) -> None:
    stored, method = fgbg
    assert parameters(method) == 134_268_738
    with torch.no_grad():
        close(method.encode(image(stored, "query")[0])[0][0, ::64], stored["feature_sub"], 2e-3)
    check(method, batch(stored), stored, "")


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["dense", "sparse"])
def test_cofcn_of_one_shot(cofcn: Any, kind: str) -> None:
    stored, method = cofcn
    assert parameters(method) == 42_407_938
    given = batch(stored, "label" if kind == "dense" else "sparse")
    with torch.no_grad():
        guide = method.state(method.features(given).support, given.support_mask)[0]
        close(guide.flatten(), stored[f"{kind}_1shot_guide"], 1e-3)
        close(method.encode(image(stored, "query")[0])[0][0], stored["query_feature"], 3e-3)
    check(method, given, stored, f"{kind}_1shot_")


@pytest.mark.slow
def test_cofcn_of_five_shots(cofcn: Any) -> None:
    """A support weighs by its number of cells, as in the code."""
    stored, method = cofcn
    state = five_shots(method, stored, lambda maps: maps.shape[-2] * maps.shape[-1])
    close(state[0].flatten(), stored["dense_5shot_guide"], 1e-3)
    given = batch(stored)
    with torch.no_grad():
        found = method.segment(state, method.features(given).query, given.query_size)
    close(found[0, 0], stored["dense_5shot_logits"], 2e-5)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["dense", "sparse"])
def test_guided_networks_of_one_shot(guided: Any, kind: str) -> None:
    stored, method = guided
    assert parameters(method) == (21_400_641 if method.shared else 21_729_602)
    given = batch(stored, "label" if kind == "dense" else "sparse")
    with torch.no_grad():
        close_guides(method, method.state(method.features(given).support, given.support_mask), stored, f"{kind}_1shot")
    check(method, given, stored, f"{kind}_1shot_")


def close_guides(method: GuidedNetworks, state: Any, stored: Mapping[str, np.ndarray], start: str) -> None:
    foreground, background = (guide.flatten() for guide in state)
    rows = (background, foreground) if method.shared else (foreground, background)
    close(torch.stack(rows), stored[f"{start}_guide{'' if method.shared else '_concat_order'}"], 1e-3)


@pytest.mark.slow
def test_guided_networks_of_five_shots(guided: Any) -> None:
    stored, method = guided
    state = five_shots(method, stored, lambda maps: 1)
    close_guides(method, state, stored, "dense_5shot")
    given = batch(stored)
    with torch.no_grad():
        found = method.segment(state, method.features(given).query, given.query_size)
    close(found[0, 0], stored["dense_5shot_logits"], 2e-5)


def test_annotations_at_cells_and_kernels(oracle: Oracle) -> None:
    stored, data = oracle("guided_late_unshared"), oracle("revolver_data")
    label = torch.from_numpy(stored["support0_label"])
    close(at_cells(torch.stack([label == 0, label == 1]).float()), stored["anno_down_support0"], 1e-6)
    kernel = bilinear_kernel()
    close(kernel, data["up_kernel"], 1e-7)
    close(kernel / kernel.sum(), data["down_kernel"], 1e-7)


# What the golden values don't reach


def test_a_shot_that_annotates_no_background_does_not_guide_it() -> None:
    method = GuidedNetworks(ConvNet((8,), (2,), convolutions=1))
    maps = torch.randn(1, 2, 8, 4, 4)
    masks = torch.zeros(1, 2, 8, 8)
    masks[0, 0, :4] = 1
    state = method.adapt_way((maps,), masks, masks)
    alone = method.adapt_way((maps[:, :1],), masks[:, :1], masks[:, :1])
    torch.testing.assert_close(state, alone)
    assert method.adapt_way((maps,), 0 * masks, masks)[0].abs().max() == 0


def test_the_supports_copy_starts_as_the_encoder_beside_two_mean_planes() -> None:
    encoder = ConvNet((8,), (2,), convolutions=1)
    method = CoFCN(encoder)
    images = torch.randint(256, (2, 3, 16, 16), dtype=torch.uint8)
    void = torch.full((2, 16, 16), 255, dtype=torch.uint8)  # in neither plane
    weight = next(iter(method.support_encoder.parameters()))
    with torch.no_grad():
        assert torch.equal(weight[:, 3], weight[:, 4])
        torch.testing.assert_close(weight[:, 3], weight[:, :3].mean(1))
        weight[:, 3:] = 0
        torch.testing.assert_close(method.encode_support(images, void), method.encode(images))
    fast = {name.split(".")[0] for name, _ in method.named_parameters() if method.learns_fast(name)}
    assert fast == {"fuse", "classify"}


def test_beside_a_frozen_encoder_the_supports_copy_learns_to_see_annotations() -> None:
    method = CoFCN(ConvNet(frozen=True)).train()
    masks = torch.zeros(2, 32, 32, dtype=torch.uint8)
    masks[:, 8:20, 8:20] = 1
    images = torch.randint(256, (2, 3, 32, 32), dtype=torch.uint8)
    method.encode_support(images, masks)[0].square().sum().backward()
    learnt = {name: parameter.grad for name, parameter in method.support_encoder.named_parameters()}
    first = next(iter(learnt.values()))
    assert [name for name, gradient in learnt.items() if gradient is not None] == [next(iter(learnt))]
    assert (first[:, 3:] != 0).any()
