import torch

from fsseg.ops.precision import full_precision


def test_within_it_autocast_does_not_narrow() -> None:
    x = torch.randn(8, 8)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert (x @ x).dtype == torch.bfloat16
        with full_precision(x):
            inside = x @ x
        assert (x @ x).dtype == torch.bfloat16
    assert torch.equal(inside, x @ x)
