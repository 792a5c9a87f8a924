"""What PFENet's golden values don't reach: images that are not square, other encoders, caches, bad options."""

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from fsseg.contracts.methods import CHECKS
from fsseg.contracts.trials import Trial
from fsseg.encoders import ConvNet, ResNet
from fsseg.episode import Batch
from fsseg.errors import FssegError
from fsseg.feature_cache.training import cacheable
from fsseg.methods import PFENet
from fsseg.ops.feature_enrichment import FeatureEnrichment, _means
from fsseg.ops.prior import _cosine, prior_mask

MakeBatch = Callable[..., Batch]


def pyramid(**options: Any) -> ResNet:
    levels = ("layer1", "layer2", "layer3")
    return ResNet("resnet18", levels, weights="none", **{"batch_norm": "running", "frozen": True, **options})


small = partial(PFENet, bins=(8.0, 0.5), channels=8)


@pytest.mark.parametrize("check", CHECKS)
def test_a_high_level_of_masked_maps_keeps_the_contract(check: str, make_batch: MakeBatch) -> None:
    CHECKS[check](Trial(lambda: small(pyramid()), make_batch))


def test_the_prior_is_the_largest_cosine_in_each_image() -> None:
    torch.manual_seed(0)
    query, support = torch.randn(2, 5, 3, 4).relu(), torch.randn(2, 2, 5, 6, 2).relu()
    support[0, 0, :, :3] = 0
    support[1, 1] = 0
    found = prior_mask(query, support)
    for m in range(2):
        for k in range(2):
            cells = support[m, k].flatten(1).T
            best = [F.cosine_similarity(cell[None], cells).max() for cell in query[m].flatten(1).T]
            expected = torch.stack(best).view(3, 4)
            least, most = expected.min(), expected.max()
            torch.testing.assert_close(found[m, k], (expected - least) / (most - least + 1e-7), atol=1e-5, rtol=0)
    assert (found[1, 1] == 0).all()
    dense = _cosine(query.flatten(2).unsqueeze(1), support.flatten(3)).amax(-1)  # as on a GPU
    torch.testing.assert_close(dense[0, 1].view(3, 4), _whole(query[0], support[0, 1]), atol=1e-6, rtol=0)


def _whole(query: Tensor, support: Tensor) -> Tensor:
    cosine = F.cosine_similarity(query.flatten(1).T[:, None], support.flatten(1).T[None], dim=-1)
    return cosine.amax(1).view(query.shape[1:])


@pytest.mark.parametrize(("cells", "side"), [(60, 17), (8, 17), (3, 11), (1, 5), (7, 7)])
def test_pooling_of_an_export_is_that_of_torch(cells: int, side: int) -> None:
    feature = torch.randn(1, 2, side, side + 2)
    rows, columns = _means(cells, side, feature), _means(cells, side + 2, feature)
    torch.testing.assert_close(rows @ feature @ columns.T, F.adaptive_avg_pool2d(feature, cells))


def test_a_turned_episode_gives_turned_priors_and_prototypes(make_batch: MakeBatch) -> None:
    """Images that are not square: the official code takes the prior's width for its height."""
    method, batch = small(ConvNet(widths=(8, 16), strides=(2, 2), convolutions=1)).eval(), make_batch(shot=2)
    batch = batch._replace(
        support_image=batch.support_image[..., :16], support_mask=batch.support_mask[..., :16],
        query_image=batch.query_image[..., :16], query_mask=batch.query_mask[..., :16],
    )  # fmt: skip
    with torch.no_grad():
        support, query = method.features(batch)
        state = method.state(support, batch.support_mask)
        turned = method.state(tuple(one.mT for one in support), batch.support_mask.mT)
        torch.testing.assert_close(turned[0], state[0])
        prior = method.prior(*(tuple(one.flatten(0, 1) for one in parts) for parts in (state, query)))
        back = method.prior(*(tuple(one.flatten(0, 1).mT for one in parts) for parts in ((state[0], state[1]), query)))
        assert prior.shape[-2] != prior.shape[-1]
        torch.testing.assert_close(back.mT, prior, atol=1e-5, rtol=0)
        sizes = [one.shape[-2:] for one in method.stages(*(tuple(o.flatten(0, 1) for o in p) for p in (state, query)))]
    halves = (prior.shape[-2] // 2, prior.shape[-1] // 2)
    assert sizes == [(8, 8), halves, tuple(prior.shape[-2:])]


def test_supports_have_a_high_level_of_masked_maps_only(make_batch: MakeBatch) -> None:
    """Cached maps give the same state: the unmasked high level of a support is not used."""
    method, batch = small(pyramid()).eval(), make_batch(shot=2)
    with torch.no_grad():
        features = method.features(batch)
        cached = method.from_encoder(
            tuple(one.unflatten(0, (1, 1, 2)) for one in method.encoder(batch.support_image.flatten(0, 2))),
            tuple(one.unflatten(0, (1, 1)) for one in method.encoder(batch.query_image.flatten(0, 1))),
        )
        assert (len(features.support), len(cached.support)) == (2, 3)
        assert torch.equal(method.logits(features, batch), method.logits(cached, batch))
        junk = (*cached.support[:2], torch.full_like(cached.support[2], 9.0))
        assert torch.equal(method.logits(cached._replace(support=junk), batch), method.logits(cached, batch))


def test_kept_features_need_running_statistics() -> None:
    assert cacheable(small(pyramid()))
    assert not cacheable(small(pyramid(batch_norm="batch")).train())


def test_the_prediction_leaves_out_the_bins_classifiers(make_batch: MakeBatch) -> None:
    method = small(pyramid()).eval()
    for classifier in method.classify_bins:
        classifier.forward = None  # fails if called
    with torch.no_grad():
        assert method(make_batch()).isfinite().all()


def test_names_and_bad_options() -> None:
    assert small(pyramid()).name == "PFENet"
    plain = small(ConvNet())
    assert (plain.name, plain.paper) == ("PFENet (high level masked after)", "PFENet")
    with pytest.raises(FssegError, match="PFENet: channels 0; at least 1 is needed"):
        PFENet(ConvNet(), channels=0)
    for bins in ((), (8.0, 0.0), (7.5,)):
        with pytest.raises(FssegError, match="give whole numbers of cells, or fractions of the grid up to 1"):
            FeatureEnrichment(8, bins)
