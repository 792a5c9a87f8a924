"""The contract of methods on episodes: what may change the logits of a query, and what may not."""

import torch

from fsseg.contracts.checks import require
from fsseg.contracts.trials import Trial, changed, logits, shape_of
from fsseg.episode import IGNORE, Batch


def check_shots(trial: Trial) -> None:
    """The order of a way's supports is irrelevant."""
    method, batch = trial.make(), trial.batch(way=2, shot=3)
    turned = changed(batch, lambda tensor: tensor.roll(1, dims=2), "support_image", "support_mask", "support_id")
    problem = "{} change when the supports of a way change places. Combine shots in a way without order, e.g. a mean"
    trial.require_equal(logits(method, turned), logits(method, batch), problem.format("logits"))
    trial.require_equal(method.loss(turned)["loss"], method.loss(batch)["loss"], problem.format("losses"))


def check_ways(trial: Trial) -> None:
    """Permuting the ways permutes the logits."""
    method, batch = trial.make(), trial.batch(way=3, shot=2)
    order = torch.tensor([2, 0, 1])
    label = torch.arange(256, dtype=torch.uint8)
    label[1 + order] = torch.arange(1, 4, dtype=torch.uint8)
    swapped = changed(batch, lambda tensor: tensor[:, order], "support_image", "support_mask", "classes", "support_id")
    swapped = changed(swapped, lambda mask: label[mask.long()], "support_mask", "query_mask")
    trial.require_equal(
        logits(method, swapped),
        logits(method, batch)[:, :, [0, 3, 1, 2]],
        "logits do not change places with the ways. Label n of a mask is way n, and its logits are map n",
    )
    trial.require_equal(method.loss(swapped)["loss"], method.loss(batch)["loss"], "losses depend on the order of ways")


def check_queries(trial: Trial) -> None:
    """Logits of a query are the same alone, and in any order of queries."""
    method, batch = trial.make(), trial.batch(way=2, query=2)
    both = logits(method, batch)
    turned = changed(batch, lambda tensor: tensor.flip(1), "query_image", "query_mask")
    alone = changed(batch, lambda tensor: tensor[:, :1], *(name for name in Batch._fields if name.startswith("query")))
    problem = "logits of a query depend on the other queries of its episode. Treat each query alone in `predict`"
    trial.require_equal(logits(method, turned), both.flip(1), problem)
    trial.require_equal(logits(method, alone), both[:, :1], problem)


def check_episodes(trial: Trial) -> None:
    """Logits of a batch are the logits of its episodes, one by one."""
    method, batch = trial.make(), trial.batch(episodes=3, way=2, shot=2)
    alone = [Batch(*(tensor[b : b + 1] for tensor in batch)) for b in range(3)]
    trial.require_equal(
        logits(method, batch),
        torch.cat([logits(method, episode) for episode in alone]),
        "logits of an episode depend on the other episodes of the batch. The first dimension, B, counts episodes; in "
        "eval mode BatchNorm must use its running statistics",
    )


def check_empty_masks(trial: Trial) -> None:
    """Masks without the class, or without any labelled pixel, give finite losses and gradients."""
    method, batch = trial.make(), trial.batch()
    for part in ("support_mask", "query_mask"):
        for label, words in ((0, "background only"), (IGNORE, "ignored pixels only")):
            method.zero_grad()
            given = changed(batch, lambda mask, value=label: torch.full_like(mask, value), part)  # type: ignore[misc]
            loss = method.train().loss(given)["loss"]
            problem = f"a {part.partition('_')[0]} mask with {words} gives {{}}. Divide by clamp(min=1) of a number."
            require(bool(loss.isfinite()), problem.format(f"the loss {loss.item()}"))
            if loss.requires_grad:
                loss.backward()
            grads = [each.grad for each in method.parameters() if each.grad is not None]
            require(all(bool(grad.isfinite().all()) for grad in grads), problem.format("gradients that are not finite"))


def check_ignored(trial: Trial) -> None:
    """Ignored pixels of a support do not belong to its class."""
    method, batch = trial.make(), trial.batch(void=False)
    with torch.no_grad():
        state = method.eval().state(method.features(batch).support, batch.support_mask)
    if not any(part.any() for part in state):
        return  # of zeros, as that of FG-BG, which never sees supports
    found = []
    for label in (IGNORE, 1, 0):
        mask = batch.support_mask.clone()
        mask[..., : mask.shape[-2] // 3, :] = label
        found.append(logits(method, batch._replace(support_mask=mask)))
    ignored, foreground, background = found
    require(not torch.equal(foreground, background), "logits do not depend on the masks of the supports.")
    require(
        not torch.equal(ignored, foreground),
        "support pixels of label 255 count as the class. 255 means ignored: compare masks with == n, not with > 0.",
    )


def check_sizes(trial: Trial) -> None:
    """Queries may have another size than supports, and each query has its own size."""
    method, small = trial.make(), trial.batch(query=2)
    height = small.query_mask.shape[-1]
    large = trial.batch(query=2, size=height + 8)
    batch = small._replace(query_image=large.query_image, query_mask=large.query_mask, query_size=large.query_size)
    sizes = torch.tensor([[[height, height], [height * 5 // 12, height * 17 // 24]]])
    both = logits(method, batch._replace(query_size=sizes))
    needed = (1, 2, 2, height, height)
    require(both.shape == needed, f"logits of queries of two sizes have the shape {shape_of(both)}, not {needed}.")
    rows, columns = sizes[0, 1].tolist()
    alone = logits(method, batch._replace(query_size=sizes[:, 1:].expand(1, 2, 2)))
    problem = "logits of a query depend on the sizes of other queries. `to_pixels` treats each size alone"
    trial.require_equal(both[:, 1, :, :rows, :columns], alone[:, 1], problem)
    require(bool((both[:, 1, :, rows:] == 0).all()), f"{problem}.")
