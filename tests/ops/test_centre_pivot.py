"""Centre-pivot convolution and hypercorrelation against sums over all four axes."""

from itertools import product

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from fsseg.ops import centre_pivot
from fsseg.ops.centre_pivot import CentrePivotConv4d, ChannelNorm, PivotEncoder, resize_query_plane
from fsseg.ops.hypercorrelation import ImagePair, hypercorrelation, unit_vectors

# Query plane, support plane, kernel, stride; the last grids are small enough for the matrix product.
CASES = [
    ((5, 4), (6, 9), 3, 2),
    ((3, 7), (13, 7), 5, 4),
    ((4, 5), (5, 4), 3, 1),
    ((4, 3), (3, 2), 3, 2),
    ((2, 5), (2, 2), 3, 1),
    ((3, 3), (1, 2), 5, 4),
    ((1, 1), (1, 1), 3, 2),
]


def kernel_4d(module: CentrePivotConv4d) -> Tensor:
    """The whole kernel ``O C k k k k``, which is zero but where one half is at its centre."""
    query, support = module.query.weight, module.support.weight
    side = query.shape[-1]
    kernel = torch.zeros(*query.shape, side, side, dtype=query.dtype)
    kernel[..., side // 2, side // 2] += query
    kernel[:, :, side // 2, side // 2] += support
    return kernel


def plainly(module: CentrePivotConv4d, correlation: Tensor) -> Tensor:
    """Sum over channels and all four axes of the kernel, at support cells 0, stride, 2 stride, ..."""
    kernel, half = kernel_4d(module), module.query.kernel_size[0] // 2
    padded = F.pad(correlation.permute(0, 5, 1, 2, 3, 4), (half,) * 8)
    rows, columns, height, width = correlation.shape[1:5]
    total = 0
    for i, j, k, m in product(range(2 * half + 1), repeat=4):
        window = padded[:, :, i : i + rows, j : j + columns, k : k + height, m : m + width]
        window = window[..., :: module.stride, :: module.stride]
        total = total + torch.einsum("bcpquv,oc->bpquvo", window, kernel[:, :, i, j, k, m])
    return total + module.query.bias + module.support.bias


def made(inputs: int, outputs: int, kernel: int, stride: int) -> CentrePivotConv4d:
    return CentrePivotConv4d(inputs, outputs, kernel, stride).double()


@pytest.mark.parametrize(("query", "support", "kernel", "stride"), CASES)
def test_equals_the_sum_over_four_axes(
    query: tuple[int, int], support: tuple[int, int], kernel: int, stride: int
) -> None:
    module, correlation = made(3, 4, kernel, stride), torch.randn(2, *query, *support, 3).double()
    torch.testing.assert_close(module(correlation), plainly(module, correlation))


def test_an_input_of_another_size_may_follow() -> None:
    """The official code caches the kept support cells of its first input."""
    module = made(2, 4, 3, 2)
    for support in ((7, 4), (4, 7), (2, 3), (9, 9)):
        correlation = torch.randn(1, 4, 3, *support, 2).double()
        torch.testing.assert_close(module(correlation), plainly(module, correlation))


@pytest.mark.parametrize("support", [(4, 5), (2, 3)])
def test_gradients(support: tuple[int, int]) -> None:
    module, correlation = made(2, 2, 3, 2), torch.randn(1, 3, 2, *support, 2).double().requires_grad_()
    parameters = dict(module.named_parameters())

    def call(given: Tensor, *values: Tensor) -> Tensor:
        return torch.func.functional_call(module, dict(zip(parameters, values, strict=True)), (given,))

    assert torch.autograd.gradcheck(call, (correlation, *parameters.values()))


def maps(size: tuple[int, int]) -> list[Tensor]:
    return [unit_vectors(torch.randn(2, channels, *size).double()) for channels in (6, 6, 9)]


def each_pair(query: list[Tensor], support: list[Tensor]) -> Tensor:
    found = [torch.einsum("bcij,bckm->bijkm", *pair).relu() for pair in zip(query, support, strict=True)]
    return torch.stack(found, dim=-1)


@pytest.mark.parametrize("tracked", [False, True])
def test_correlations_are_inner_products_of_all_pairs(tracked: bool) -> None:
    query, support = maps((4, 5)), maps((7, 6))
    for one in query if tracked else []:
        one.requires_grad_()
    found = hypercorrelation(query, support)
    assert found.requires_grad is tracked
    torch.testing.assert_close(found, each_pair(query, support))


@pytest.mark.parametrize("shown", ["all", "some", "none"])
@pytest.mark.parametrize("grad", [False, True])
def test_images_are_correlated_and_convolved(shown: str, grad: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Support cells outside of the mask are left out; without gradients, query cells are taken in blocks."""
    monkeypatch.setattr(centre_pivot, "_BLOCK", 3 * 3 * 42)  # 3 query cells
    query, support, module = maps((4, 5)), maps((7, 6)), made(3, 4, 5, 4)
    mask = {"all": torch.ones(2, 1, 7, 6), "none": torch.zeros(2, 1, 7, 6), "some": torch.rand(2, 1, 7, 6) > 0.7}[shown]
    support = [one * mask for one in support]
    with torch.set_grad_enabled(grad):
        found = module(ImagePair(query, support))
    torch.testing.assert_close(found, plainly(module, each_pair(query, support)))


def test_correlations_are_differentiable() -> None:
    query, support = torch.randn(1, 3, 2, 2).double(), torch.randn(1, 3, 3, 2).double()

    weight = torch.rand(1, 3, 2).double()

    def call(first: Tensor, second: Tensor) -> Tensor:
        return hypercorrelation([unit_vectors(first)], [unit_vectors(second, weight)])

    assert torch.autograd.gradcheck(call, (query.requires_grad_(), support.requires_grad_()))


def test_unit_vectors_add_an_epsilon_to_the_norm() -> None:
    feature = torch.tensor([3.0, 4.0, 0.0, 0.0, 3e-5, 4e-5]).view(3, 2, 1, 1)
    expected = torch.tensor([3 / 5.00001, 4 / 5.00001, 0, 0, 3e-5 / 6e-5, 4e-5 / 6e-5]).view(3, 2, 1, 1)
    torch.testing.assert_close(unit_vectors(feature), expected)
    weight = torch.tensor([0.5, 0.0, 0.25]).view(3, 1, 1)
    torch.testing.assert_close(unit_vectors(feature, weight), unit_vectors(feature * weight.unsqueeze(1)))


def test_norm_equals_torchs_over_all_positions() -> None:
    norm, correlation = ChannelNorm(4, 8).double(), torch.randn(2, 3, 4, 2, 3, 8).double()
    torch.nn.init.normal_(norm.weight)
    torch.nn.init.normal_(norm.bias)
    expected = F.group_norm(correlation.movedim(-1, 1), 4, norm.weight, norm.bias)
    torch.testing.assert_close(norm(correlation).movedim(-1, 1), expected)


def test_an_encoder_has_the_number_of_parameters_of_the_code() -> None:
    encoder = PivotEncoder((4, 16, 64, 128), (5, 5, 3), (4, 4, 2))
    assert sum(parameter.numel() for parameter in encoder.parameters()) == 202_688  # encoder_layer2, ResNet50
    assert encoder(torch.rand(1, 6, 5, 50, 33, 4)).shape == (1, 6, 5, 2, 2, 128)


def test_resizing_is_of_the_query_plane() -> None:
    correlation = torch.randn(2, 4, 3, 2, 2, 5)
    found = resize_query_plane(correlation, (7, 9))
    assert found.shape == (2, 7, 9, 2, 2, 5)
    one = F.interpolate(correlation[:, :, :, 1, 0].movedim(-1, 1), (7, 9), mode="bilinear", align_corners=True)
    torch.testing.assert_close(found[:, :, :, 1, 0].movedim(-1, 1), one)
