from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fsseg.ops.blocks import ASPP, Decoder, Residual, block


def convolve(x: Tensor, convolution: nn.Module, dilation: int = 1) -> Tensor:
    """Same-size convolution with a layer's weights, all else stated here."""
    weight = convolution.weight
    return F.conv2d(x, weight, convolution.bias, padding=dilation * (weight.shape[-1] // 2), dilation=dilation)


@pytest.mark.parametrize("kind", ["batch_norm", "dropout"])
@pytest.mark.parametrize("options", [{}, {"kernel": 1}, {"dilation": 2}, {"kernel": 1, "dilation": 3}])
def test_a_block_convolves_keeps_the_size_and_ends_with_relu(kind: str, options: dict[str, Any]) -> None:
    layers, x = block(3, 5, kind, **options).eval(), torch.randn(2, 3, 7, 4)
    expected = convolve(x, layers[0], options.get("dilation", 1)).relu()
    assert layers[0].kernel_size == (options.get("kernel", 3),) * 2
    # A fresh BatchNorm only divides by sqrt(1 + eps).
    torch.testing.assert_close(layers(x), expected, rtol=1e-4, atol=1e-5)


def test_endings_are_batch_norm_then_relu_or_relu_then_dropout_of_half_the_channels() -> None:
    normalised, dropped = block(3, 400, "batch_norm").train(), block(3, 400, "dropout").train()
    x = torch.randn(2, 3, 6, 6)
    before = convolve(x, normalised[0])
    expected = F.batch_norm(before, None, None, training=True).relu()
    torch.testing.assert_close(normalised(x), expected, rtol=1e-4, atol=1e-5)
    result, undropped = dropped(x), convolve(x, dropped[0]).relu()
    kept = (result != 0).any(-1).any(-1)
    torch.testing.assert_close(result[kept], 2 * undropped[kept])
    assert 0.4 < kept.float().mean() < 0.6


@pytest.mark.parametrize("extra", [0, 2])
def test_a_residual_block_adds_to_what_it_was_given(extra: int) -> None:
    residual, x, more = Residual(4, extra), torch.randn(2, 4, 5, 6), torch.randn(2, 2, 5, 6)
    before = x.clone()
    result = residual(x, more) if extra else residual(x)
    entering = torch.cat([before, more], 1) if extra else before
    inner = convolve(entering.relu(), residual.layers[1]).relu()
    torch.testing.assert_close(result, before + convolve(inner, residual.layers[3]))
    assert torch.equal(x, before)


@pytest.mark.parametrize("size", [(1, 1), (5, 8), (20, 22)])
def test_aspp_is_image_mean_1x1_and_three_dilations_in_this_order(size: tuple[int, int]) -> None:
    aspp, x = ASPP(3).eval(), torch.randn(2, 3, *size)
    mean = F.adaptive_avg_pool2d(x, 1)
    expected = [convolve(mean, aspp.mean[0]).relu().expand(-1, -1, *size)]
    expected += [convolve(x, aspp.branches[0][0]).relu()]
    expected += [convolve(x, aspp.branches[i][0], rate).relu() for i, rate in ((1, 6), (2, 12), (3, 18))]
    torch.testing.assert_close(aspp(x), torch.cat(expected, 1))


@pytest.mark.parametrize("history", [0, 2])
def test_a_decoder_gives_two_logits_and_uses_the_history_it_was_built_for(history: int) -> None:
    decoder, x = Decoder(4, "batch_norm", history).eval(), torch.randn(3, 4, 5, 6)
    earlier = torch.rand(3, 2, 5, 6)
    logits = decoder(x, earlier) if history else decoder(x)
    assert logits.shape == (3, 2, 5, 6)
    if history:
        assert not torch.allclose(decoder(x, earlier.flip(1)), logits)
