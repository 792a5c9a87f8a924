"""The contract of methods."""

import inspect
from collections.abc import Callable, Mapping
from functools import partial

import torch
from torch import Tensor

from fsseg.contracts import episodes
from fsseg.contracts.checks import require
from fsseg.contracts.networks import check_finite, check_gradients, check_state_dict
from fsseg.contracts.trials import Trial, logits, shape_of
from fsseg.episode import Batch
from fsseg.methods.binary import BinaryMethod, sides
from fsseg.untrusted.text import is_line


def check_state(trial: Trial) -> None:
    """The state is a tuple of tensors, and a binary method returns logits of background and foreground."""
    method, batch = trial.make(), trial.batch()
    with torch.no_grad():
        support, query = method.eval().features(batch)
        if isinstance(method, BinaryMethod):
            one = tuple(part.flatten(0, 1) for part in support)
            _require_tuple("adapt_way", state := method.adapt_way(one, *sides(batch.support_mask)))
            stages = method.stages(state, tuple(part.flatten(0, 1) for part in query))
            fits = isinstance(stages, list) and all(stage.ndim == 4 and stage.shape[1] == 2 for stage in stages)
            given = ", ".join(map(shape_of, stages))
            require(fits, f"`stages` returns {given}; a list of logits M 2 h w is needed, background and foreground.")
        else:
            _require_tuple("adapt", method.state(support, batch.support_mask))


def _require_tuple(function: str, state: object) -> None:
    fits = isinstance(state, tuple) and all(isinstance(part, Tensor) for part in state)
    require(fits, f"`{function}` returns a {type(state).__name__}; a tuple of tensors is needed, e.g. (prototype,).")


def check_features(trial: Trial) -> None:
    """`encode` gives the maps that training and tests use."""
    method, batch = trial.make(), trial.batch(query=2)
    with torch.no_grad():
        maps, used = method.eval().encode(batch.query_image.flatten(0, 1)), method.features(batch).query
    problem = "`encode` returns other maps than tests use, the encoder's after `neck`. Override `neck` instead"
    require(len(maps) == len(used), f"{problem}.")
    for one, other in zip(maps, used, strict=True):
        trial.require_equal(one, other.flatten(0, 1), problem)


def check_shape(trial: Trial, way: int, shot: int, query: int = 1) -> None:
    """Logits are finite float32 of shape ``B Q 1+N H W``, in training and evaluation."""
    method, batch = trial.make(), trial.batch(episodes=2, way=way, shot=shot, query=query)
    needed = (2, query, 1 + way, *batch.query_mask.shape[-2:])
    for training in (True, False):
        found = method.train(training)(batch)
        require(type(found) is Tensor, f"the logits are a {type(found).__name__}; a tensor is needed.")
        require(
            found.shape == needed,
            f"logits of shape {shape_of(found)}; {' '.join(map(str, needed))} (B Q 1+N H W) is needed. `predict` "
            "returns one map per way after the background's.",
        )
        require(found.dtype == torch.float32, f"logits are {found.dtype}; `to_pixels` returns torch.float32.")
        require(bool(found.isfinite().all()), "logits are not finite. Look for a division by zero in a class's pixels.")


def check_loss(trial: Trial) -> None:
    """Losses are finite scalars with the same names in training and evaluation; ``loss`` is the one to minimise."""
    method, batch = trial.make(), trial.batch(episodes=2, way=2, shot=2)
    trained, evaluated = method.train().loss(batch), method.eval().loss(batch)
    require("loss" in trained, f"`losses` returns {', '.join(trained) or 'nothing'}; the entry `loss` is needed.")
    require(trained.keys() == evaluated.keys(), "`losses` returns other names in training than in evaluation.")
    for name, value in (*trained.items(), *evaluated.items()):
        require(value.shape == (), f"loss {name} has the shape {shape_of(value)}; a scalar is needed, e.g. the mean.")
        require(bool(value.isfinite()), f"loss {name} is {value.item()}; a finite number is needed.")


def check_trained(trial: Trial) -> None:
    """A training step gives every trained parameter a finite gradient."""
    method = trial.make()
    check_gradients(method, method.train().loss(trial.batch(episodes=2, way=2, shot=2))["loss"])


def check_repeats(trial: Trial) -> None:
    """Evaluation has no randomness."""
    method, batch = trial.make(), trial.batch(way=2)
    require(
        torch.equal(logits(method, batch), logits(method, batch)),
        "logits change from call to call in eval mode. Use random numbers if self.training only, or a fixed generator.",
    )


def check_input(trial: Trial) -> None:
    """The batch is not changed."""
    method, batch = trial.make(), trial.batch(episodes=2, way=2, shot=2)
    before = Batch(*(tensor.clone() for tensor in batch))
    loss = method.train().loss(batch)["loss"]
    if loss.requires_grad:
        loss.backward()
    logits(method, batch)
    wrong = [name for name in Batch._fields if not torch.equal(getattr(batch, name), getattr(before, name))]
    require(not wrong, f"the method writes into batch.{', batch.'.join(wrong)}. Clone a tensor before you change it.")


def check_stored(trial: Trial) -> None:
    """The state dict is the whole state: another method with the same state dict has the same logits."""
    method, batch = trial.make(), trial.batch(way=2)
    method.train().loss(batch)
    other = trial.make()
    check_state_dict(method, other, lambda made: (logits(made, batch),))


def check_state_parts(trial: Trial) -> None:
    """A part of a state depends only on what ``state_per`` says, because tests and the segmenter cache it."""
    method, batch = trial.make(), trial.batch(way=2, shot=2, void=False)
    if method.state_per == "episode":
        return
    shots = method.state_per == "shot"
    sizes, letters, what = ((1, 2, 2), "B N K", "support") if shots else ((1, 2), "B N", "way")
    problem = f"state_per is {method.state_per!r}, but {{}}. Set state_per = 'episode', or compute each {what} alone"
    with torch.no_grad():
        support, _ = method.eval().features(batch)
        state = method.state(support, batch.support_mask)
        for kept, change in _changes(shots):
            other = method.state(tuple(one + change for one in support), batch.support_mask)
            for part, now in zip(state, other, strict=True):
                found = f"a part of the state has the shape {shape_of(part)}, not {letters} ..."
                require(part.shape[: len(sizes)] == sizes, f"{problem.format(found)}.")
                words = f"the part of a {what} depends on another {what}"
                trial.require_equal(part[kept], now[kept], problem.format(words))


def _changes(shots: bool) -> list[tuple[tuple[slice | int, ...], Tensor]]:
    """Which part of a state of 2 ways and 2 shots must stay, and the change of the other supports' features."""
    of_way, of_shot = torch.zeros(1, 2, 2, 1, 1, 1), torch.zeros(1, 2, 2, 1, 1, 1)
    of_way[0, 1], of_shot[0, 1, 1] = 1, 1
    every = slice(None)
    return [((every, 0), of_way), *([((every, 1, 0), of_shot)] if shots else [])]


def check_precision(trial: Trial) -> None:
    """Logits and losses are float32 in mixed precision, and gradients are finite."""
    method, batch = trial.make(), trial.batch(way=2)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        narrow, loss = logits(method, batch), method.train().loss(batch)["loss"]
    for name, found in (("logits", narrow), ("the loss", loss)):
        kind = f"{name} in mixed precision (trainer.precision bf16-mixed): {found.dtype}"
        require(found.dtype == torch.float32, f"{kind}; call float() before a sum over many pixels.")
    check_finite(method, loss)


def check_explanation(trial: Trial) -> None:
    """What `explain` returns has the shapes and ranges of `Explanation`."""
    method, batch = trial.make(), trial.batch(way=2, shot=2, query=3)
    with torch.no_grad():
        support, query = method.eval().features(batch)
        found = method.explain(support, batch.support_mask, query)
    if found is None:
        return
    probability, region, count = found.probability, found.region, found.probability.shape[3]
    lead = "`explain` returns a"
    require(probability.shape[:3] == (1, 2, 3), f"{lead} probability {shape_of(probability)}, not B N Q D h w.")
    require(region.shape[:3] == (1, 2, 2), f"{lead} region {shape_of(region)}, not B N K h w.")
    require(0 < found.foreground < count, f"{lead} foreground {found.foreground}; 1 to D - 1 = {count - 1} is needed.")
    inside = float(probability.min()) >= 0 and float(probability.max()) <= 1 + 1e-5
    require(inside, f"{lead} probability outside of 0 to 1.")
    inside = int(region.min()) >= -1 and int(region.max()) < count
    require(inside, f"{lead} region outside of -1 to D - 1 = {count - 1}.")


def check_names(trial: Trial) -> None:
    """The name fits a table, and ``inference_options`` are arguments."""
    method = trial.make()
    require(bool(method.name) and is_line(method.name), f"name {method.name!r}: a text of one line is needed.")
    parameters = inspect.signature(type(method)).parameters
    unknown = {option.partition(".")[0] for option in method.inference_options} - set(parameters)
    require(not unknown, f"inference_options names {', '.join(sorted(unknown))}, which the constructor does not take.")


CHECKS: Mapping[str, Callable[[Trial], None]] = {
    "state": check_state,
    "logits, 1-way 1-shot": partial(check_shape, way=1, shot=1),
    "logits, 2-way 5-shot": partial(check_shape, way=2, shot=5, query=2),
    "same logits in each call": check_repeats,
    "loss": check_loss,
    "gradients": check_trained,
    "features": check_features,
    "input unchanged": check_input,
    "order of supports": episodes.check_shots,
    "order of ways": episodes.check_ways,
    "queries": episodes.check_queries,
    "batch of episodes": episodes.check_episodes,
    "empty masks": episodes.check_empty_masks,
    "ignored pixels": episodes.check_ignored,
    "sizes of queries": episodes.check_sizes,
    "state dict": check_stored,
    "parts of the state": check_state_parts,
    "mixed precision": check_precision,
    "explanation": check_explanation,
    "names": check_names,
}
# Checks that the others need.
BASIC = ("state", "logits, 1-way 1-shot", "logits, 2-way 5-shot", "same logits in each call", "loss")
