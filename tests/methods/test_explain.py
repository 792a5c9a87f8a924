"""Responses of prototypes, against loops by hand."""

from collections.abc import Callable

import pytest
import torch
from torch.nn import functional as F

from fsseg.encoders import ConvNet
from fsseg.episode import Batch
from fsseg.errors import FssegError
from fsseg.methods import CANet, Method, PANet, PMMs, RPMMs, SGOne
from fsseg.methods.base import Explanation
from fsseg.ops.em import Mixture
from fsseg.ops.pooling import mask_at_cells
from tests.oracle_weights import low_resolution

MakeBatch = Callable[..., Batch]


def encoder() -> ConvNet:
    return ConvNet(widths=(8, 16), strides=(2, 2), convolutions=1)


def explained(method: Method, batch: Batch) -> Explanation | None:
    support, query = method.features(batch)
    return method.explain(support, batch.support_mask, query)


PROTOTYPES: dict[str, tuple[Callable[[], Method], int]] = {
    "PANet": (lambda: PANet(encoder()), 1),
    "PMMs": (lambda: PMMs(encoder(), channels=8), 3),
    "PMMs, Gaussian": (lambda: PMMs(encoder(), mixture=Mixture(kernel="gaussian"), channels=8), 3),
    "RPMMs": (lambda: RPMMs(encoder(), components=(1, 2, 4), channels=8), 4),
}


@pytest.mark.parametrize("name", PROTOTYPES)
@pytest.mark.parametrize(("way", "shot", "query"), [(1, 1, 1), (2, 3, 2)])
def test_each_way_has_its_prototypes_and_those_of_the_background(
    name: str, make_batch: MakeBatch, way: int, shot: int, query: int
) -> None:
    make, foreground = PROTOTYPES[name]
    batch = make_batch(episodes=2, way=way, shot=shot, query=query)
    with torch.no_grad():
        found = explained(make().eval(), batch)
    assert found is not None
    assert found.foreground == foreground
    assert found.probability.shape[:4] == (2, way, query, 2 * foreground)
    assert found.region.shape[:3] == (2, way, shot)
    total = found.probability.sum(3)
    if way == 1 or name != "PANet":
        torch.testing.assert_close(total, torch.ones_like(total))
    assert found.region.min() >= -1
    assert found.region.max() < 2 * foreground


@pytest.mark.parametrize("make", [lambda: CANet(encoder(), channels=8), lambda: SGOne(encoder(), channels=8)])
def test_a_method_without_prototypes_has_nothing_to_show(make: Callable[[], Method], make_batch: MakeBatch) -> None:
    assert explained(make(), make_batch()) is None


@pytest.mark.parametrize("kernel", ["vmf", "gaussian"])
def test_a_cell_belongs_to_the_nearest_prototype_of_its_side(make_batch: MakeBatch, kernel: str) -> None:
    torch.manual_seed(0)
    method = PMMs(encoder(), mixture=Mixture(kernel=kernel), channels=8).eval()
    batch = make_batch(way=2, shot=2)
    with torch.no_grad():
        found = explained(method, batch)
        (support,) = method.features(batch).support
        for n in range(2):
            inside = batch.support_mask[0, n] == n + 1
            outside = ~inside & (batch.support_mask[0, n] != 255)
            state = method.adapt_way((support[0, n : n + 1],), inside[None].float(), outside[None].float())
            size = (support.shape[-2], support.shape[-1])
            of = mask_at_cells(inside.float(), size), mask_at_cells(outside.float(), size)
            for k, y, x in torch.cartesian_prod(*map(torch.arange, (2, *size))).tolist():
                cell, number = support[0, n, k, :, y, x], int(found.region[0, n, k, y, x])
                best = {-1}
                for side, first in ((1, 3), (0, 0)):  # a cell that is half of either counts as the object's
                    if of[side][k, y, x] >= 0.5:
                        near = [
                            float(20 * cell @ m) if kernel == "vmf" else -float((cell - m).square().sum())
                            for m in state[side][0]
                        ]
                        best = {first + p for p, value in enumerate(near) if value >= max(near) - 1e-5}
                assert number in best


def test_the_probability_is_that_of_the_decision(make_batch: MakeBatch) -> None:
    panet, batch = PANet(encoder()).eval(), make_batch(way=2)
    with torch.no_grad():
        found = explained(panet, batch)
        logits = low_resolution(panet, batch)
    expected = logits.softmax(2)
    torch.testing.assert_close(found.probability[:, 1, :, 0], expected[:, :, 2])
    torch.testing.assert_close(found.probability[:, 0, :, 1], expected[:, :, 0])


# PANet's distance


def test_the_distance_of_prototypes_is_that_of_a_loop(make_batch: MakeBatch) -> None:
    torch.manual_seed(3)
    method, batch = PANet(encoder()).eval(), make_batch(episodes=2, way=2, shot=2)
    with torch.no_grad():
        found = method.distance(batch)
        (support,), (query,) = method.features(batch)
        predicted = low_resolution(method, batch).argmax(2)
    for b in range(2):
        for n in range(2):
            shots = [pooled(support[b, n, k], batch.support_mask[b, n, k] == n + 1) for k in range(2)]
            own = torch.stack(shots).mean(0)
            true = pooled(query[b, 0], batch.query_mask[b, 0] == n + 1)
            torch.testing.assert_close(found.true[b, n], (own - true).norm(), rtol=1e-3, atol=1e-4)
            cells = query[b, 0][:, predicted[b, 0] == n + 1]
            if cells.shape[1] == 0:
                assert found.predicted[b, n].isnan()
            else:
                torch.testing.assert_close(found.predicted[b, n], (own - cells.mean(1)).norm(), rtol=1e-3, atol=1e-4)


def pooled(feature: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Mean of the upsampled feature under a mask."""
    full = F.interpolate(feature[None], size=mask.shape, mode="bilinear")[0]
    return full[:, mask].mean(1)


def test_a_query_that_shows_no_way_has_no_distance(make_batch: MakeBatch) -> None:
    batch = make_batch()
    empty = batch._replace(query_mask=batch.query_mask * 0)
    with torch.no_grad():
        assert PANet(encoder()).distance(empty).true.isnan().all()


def test_what_fills_masks_up_counts_for_nothing(make_batch: MakeBatch) -> None:
    method, batch = PANet(encoder()).eval(), make_batch()
    filled = F.pad(batch.query_mask, (0, 9, 0, 5), value=1)
    with torch.no_grad():
        expected = method.distance(batch)
        found = method.distance(batch._replace(query_mask=filled))
    torch.testing.assert_close(found.true, expected.true)


def test_a_derived_method_with_several_prototypes_per_class_has_no_distance(make_batch: MakeBatch) -> None:
    class Several(PANet):
        def prototypes(self, foreground: torch.Tensor, background: torch.Tensor) -> torch.Tensor:
            return torch.cat([background.mean((1, 2)).unsqueeze(1), foreground.flatten(1, 2)], dim=1)

    with torch.no_grad(), pytest.raises(FssegError, match="Several has no single prototype per class"):
        Several(encoder()).distance(make_batch(shot=2))
