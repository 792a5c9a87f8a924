import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from fsseg.ops.matching import DenseComparison

# (h, w) of the query; below 3 cells no tap but the middle one falls on the map.
SIZES = [(1, 1), (1, 2), (3, 2), (2, 5), (5, 5), (7, 4), (9, 13)]


def comparison(kind: str) -> DenseComparison:
    torch.manual_seed(1)
    return DenseComparison(4, kind).double()


def plainly(module: DenseComparison, query: Tensor, vectors: Tensor) -> list[Tensor]:
    """Tile each vector, put it beside the query, convolve."""
    results = []
    for p in range(vectors.shape[1]):
        tiled = vectors[:, p, :, None, None].expand_as(query)
        weight, bias = module.convolution.weight, module.convolution.bias
        results.append(module.ending(F.conv2d(torch.cat([query, tiled], 1), weight, bias, padding=2, dilation=2)))
    return results


def inputs(size: tuple[int, int] = (5, 6), vectors: int = 3) -> tuple[Tensor, Tensor]:
    query, vector = torch.randn(2, 4, *size).double(), torch.randn(2, vectors, 4).double()
    return query.requires_grad_(), vector.requires_grad_()


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("kind", ["batch_norm", "dropout"])
def test_equals_tiling_concatenating_and_convolving(size: tuple[int, int], kind: str) -> None:
    module, (query, vectors) = comparison(kind).eval(), inputs(size)
    ours, expected = module(query, vectors), plainly(module, query, vectors)
    assert len(ours) == 3
    assert ours[0].shape == query.shape
    torch.testing.assert_close(torch.stack(ours), torch.stack(expected))


@pytest.mark.parametrize("size", SIZES)
def test_gradients_equal_those_of_the_plain_way(size: tuple[int, int]) -> None:
    module, (query, vectors) = comparison("dropout").eval(), inputs(size)
    direction = torch.randn(3, 2, 4, *size).double()
    wanted = (query, vectors, module.convolution.weight, module.convolution.bias)
    ours, expected = (
        torch.autograd.grad((torch.stack(compared) * direction).sum(), wanted)
        for compared in (module(query, vectors), plainly(module, query, vectors))
    )
    for gradient, plain in zip(ours, expected, strict=True):
        torch.testing.assert_close(gradient, plain)


def test_batch_norm_sees_one_vector_after_the_other() -> None:
    ours, plain, (query, vectors) = comparison("batch_norm").train(), comparison("batch_norm").train(), inputs()
    torch.testing.assert_close(torch.stack(ours(query, vectors)), torch.stack(plainly(plain, query, vectors)))
    for name, buffer in plain.named_buffers():
        torch.testing.assert_close(ours.get_buffer(name), buffer)
    assert ours.ending[0].num_batches_tracked == 3


def test_channels_are_dropped_anew_for_each_vector() -> None:
    module, (query, vectors) = comparison("dropout").train(), inputs(vectors=1)
    first, second = module(query, vectors.expand(-1, 2, -1))
    assert not torch.equal(first, second)
    kept = (first != 0).any(-1).any(-1) & (second != 0).any(-1).any(-1)
    assert kept.any()
    torch.testing.assert_close(first[kept], second[kept])
