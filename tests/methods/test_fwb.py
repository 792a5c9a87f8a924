"""What FWB's golden values don't reach: boosting in the contract, several ways, votes, bad options."""

import itertools
from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch.nn import functional as F

from fsseg.contracts.methods import CHECKS
from fsseg.contracts.trials import Trial, changed
from fsseg.encoders import VGG16
from fsseg.episode import IGNORE, Batch
from fsseg.errors import FssegError
from fsseg.methods import FWB
from tests.methods.found import encoder

MakeBatch = Callable[..., Batch]
boosted = partial(FWB, experts=3, channels=8)


# Votes are steps, so that "ignored pixels" may find no difference; see the next test.
@pytest.mark.parametrize("check", sorted(CHECKS.keys() - {"ignored pixels"}))
def test_boosting_keeps_the_contract(check: str, make_batch: MakeBatch) -> None:
    CHECKS[check](Trial(lambda: boosted(encoder()), make_batch))


def test_ignored_pixels_of_a_support_do_not_boost(make_batch: MakeBatch) -> None:
    """What the encoder sees under them does not matter to the loss and the vote, but their label does."""
    method, batch = boosted(encoder()).eval(), make_batch(void=False)
    with torch.no_grad():
        support, _ = method.features(batch)

    def state(label: int | None) -> tuple[torch.Tensor, ...]:
        mask = batch.support_mask.clone()
        if label is not None:
            mask[..., :8, :] = label
        return method.state(support, mask)

    void, as_background, as_way = (state(label)[0] for label in (IGNORE, 0, 1))
    assert not torch.allclose(void, as_background)
    assert not torch.allclose(void, as_way)
    everything = changed(batch, lambda mask: torch.full_like(mask, IGNORE), "support_mask")
    experts, _, votes = method.state(support, everything.support_mask)
    assert experts.isfinite().all()
    assert votes.max() == 0
    with torch.no_grad():
        assert (method(everything).argmax(2) == 0).all()


def test_experts_lower_the_loss_on_the_supports_and_leave_the_network(make_batch: MakeBatch) -> None:
    method, batch = boosted(encoder(), experts=11).eval(), make_batch(way=2, shot=2)
    with torch.inference_mode():
        support, _ = method.features(batch)
        experts, relevance, votes = method.state(support, batch.support_mask)
    assert experts.shape[:3] == (1, 2, 11)
    assert votes.shape == (1, 2, 11)
    assert not experts.requires_grad
    assert all(parameter.grad is None for parameter in method.parameters())
    torch.testing.assert_close(relevance.norm(dim=-1), torch.ones(1, 2))
    assert (experts[:, :, 1:] != experts[:, :, :1]).any(-1).all()
    torch.testing.assert_close(experts[:, :, 1], experts[:, :, 0], rtol=0, atol=1.01e-2)  # Adam's first step


def test_the_loss_is_that_without_boosting(make_batch: MakeBatch) -> None:
    batch, method = make_batch(way=2), boosted(encoder())
    plain = FWB(method.encoder, experts=0, channels=8)
    plain.load_state_dict(method.state_dict())
    torch.testing.assert_close(method.loss(batch), plain.loss(batch))


@pytest.mark.parametrize(("vote", "found"), [("sum", [0, 1, 1, 1]), ("majority", [0, 0, 1, 1])])
def test_votes(vote: str, found: list[int]) -> None:
    """Experts of votes 0.5, 0.9 and 0.2 predict: none; the second; the first and the last two; all."""
    method = boosted(encoder(), vote=vote)
    votes = torch.tensor([[0.5, 1.0, 0.7]])
    said = torch.tensor([[0, 0, 1, 1], [0, 1, 1, 1], [0, 0, 0, 1]])
    cells = method.encoder.stride * torch.arange(4)
    stages = [F.one_hot(one, 2).T.reshape(1, 2, 1, 4).float() for one in said]
    logits = method.decide(stages, (votes, votes, votes))
    assert logits.shape[-1] == cells[-1] + 1
    assert logits[0, :, 0, cells].argmax(0).tolist() == found


def test_where_the_truth_votes_every_query_and_way_has_its_own_votes(make_batch: MakeBatch) -> None:
    """Each query alone, each way and expert alone, counted by hand."""
    method, batch = boosted(encoder(), vote="truth").eval(), make_batch(way=2, query=2)
    for parameter in method.classify.parameters():  # so that both sides are predicted
        torch.nn.init.normal_(parameter)
    plain = boosted(method.encoder, experts=0).eval()
    plain.classify = method.classify
    size = tuple(batch.query_mask.shape[-2:])
    with torch.no_grad():
        support, query = method.features(batch)
        experts, relevance, _ = method.state(support, batch.support_mask)
        votes = torch.zeros(1, 2, 2, 3)  # episode, query, way, expert
        for q, n, e in itertools.product(range(2), range(2), range(3)):
            state = experts[:, [n]][:, :, [e]], relevance[:, [n]], torch.ones(1, 1, 1)
            logits = plain.segment(state, tuple(one[:, [q]] for one in query), size)
            found, true = logits[0, 0].argmax(0) == 1, batch.query_mask[0, q] == n + 1
            known = batch.query_mask[0, q] != IGNORE
            votes[0, q, n, e] = (found & true).sum() / ((found & known) | true).sum().clamp(min=1)
        for q in range(2):
            wanted = method.segment((experts, relevance, votes[:, q]), tuple(one[:, [q]] for one in query), size)
            torch.testing.assert_close(method(batch)[:, [q]], wanted)
    assert not torch.allclose(votes[0, 0], votes[0, 1])


def test_means_of_single_ways_and_shots_are_added(make_batch: MakeBatch) -> None:
    """A shot whose mask has no cell of the way adds nothing."""
    method, batch = FWB(encoder(), weighting=False, experts=0, channels=8).eval(), make_batch(shot=2, void=False)
    with torch.no_grad():
        (support,) = method.features(batch).support
        both = method.adapt((support,), batch.support_mask)[0]
        each = [method.adapt((support[:, :, [k]],), batch.support_mask[:, :, [k]])[0] for k in (0, 1)]
        torch.testing.assert_close(both, each[0] + each[1])
        empty = batch.support_mask.clone()
        empty[:, :, 1] = 0
        torch.testing.assert_close(method.adapt((support,), empty)[0], each[0])


def test_names_and_bad_options() -> None:
    assert FWB(encoder()).name == "FWB"
    assert FWB(encoder(), experts=0).name == "FWB (no boosting)"
    assert FWB(encoder(), weighting=False, experts=5, vote="majority").name == "FWB (no weighting, 5 experts, majority)"
    assert FWB(encoder(), vote="truth").name == "FWB (votes know the answer)"
    assert "ground truth" in FWB(encoder(), vote="truth").caution
    assert FWB(encoder()).caution == FWB(encoder(), vote="truth", experts=0).caution == ""
    with pytest.raises(FssegError, match="FWB: experts -1 and channels 128"):
        FWB(encoder(), experts=-1)
    with pytest.raises(FssegError, match=r"VGG16: dilations \[0, 2\]"):
        VGG16("none", dilations=(0, 2))
