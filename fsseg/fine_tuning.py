"""Fine-tuning in a test: a method trains on the supports of each episode, and starts the next one afresh."""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F
from torch.optim import Optimizer

from fsseg.episode import Batch
from fsseg.errors import DivergedError
from fsseg.feature_cache import training
from fsseg.methods.base import Features, Method


class FineTuning:
    """Logits of episodes after steps on their supports.

    A step segments one support of each way, which is a query of its own supports: shot 1 first, then the next ones in
    turn. Layers are in eval mode: BatchNorm uses its running statistics, and dropout has no effect. A frozen encoder
    sees the images of an episode once, not in each step.

    Args:
        method: method in eval mode. Its trainable parameters are the same after an episode as before.
        steps: steps per episode.
        optimizer: makes an optimiser of the method's trainable parameters.
    """

    def __init__(self, method: Method, steps: int, optimizer: Callable[[], Optimizer]) -> None:
        self.method, self.steps, self.optimizer = method, steps, optimizer

    def logits(self, batch: Batch) -> Float[Tensor, "B Q L H W"]:
        """Logits of the queries at the resolution of their masks.

        Raises:
            DivergedError: the loss of a step is not finite.
        """
        height, width = batch.query_mask.shape[-2:]
        each = [self._episode(Batch(*(part[b : b + 1] for part in batch))) for b in range(len(batch.run))]
        return torch.cat([F.pad(one, (0, width - one.shape[-1], 0, height - one.shape[-2])) for one in each])

    def _episode(self, batch: Batch) -> Tensor:
        trained = [parameter for parameter in self.method.parameters() if parameter.requires_grad]
        with torch.inference_mode(False), torch.enable_grad():  # autograd refuses inference tensors, not their clones
            batch = Batch(*(part.clone() for part in batch))
            start = [parameter.detach().clone() for parameter in trained]
            maps = self._fixed_maps(batch)
            try:
                self._tune(batch, maps)
                with torch.no_grad():
                    logits = training.logits_of(self.method, batch, maps)
            finally:
                with torch.no_grad():
                    for parameter, value in zip(trained, start, strict=True):
                        parameter.copy_(value)
                        parameter.grad = None
        return logits

    def _fixed_maps(self, batch: Batch) -> Features | None:
        """Maps of the encoder, if no step changes them and the method needs no images beside them."""
        if not training.cacheable(self.method):
            return None
        with torch.no_grad():
            return self.method.encoder_maps(batch)

    def _tune(self, batch: Batch, maps: Features | None) -> None:
        optimizer = self.optimizer()
        shots = batch.support_id.shape[2]
        for step in range(self.steps):
            optimizer.zero_grad()
            shot = step % shots
            shown = maps and Features(maps.support, tuple(one[:, :, shot] for one in maps.support))
            loss = training.losses_of(self.method, _support_as_query(batch, shot), shown)["loss"]
            if not loss.isfinite():
                raise DivergedError(
                    f"the loss is {loss.item()} at step {step} of fine-tuning. Lower `model.adapt_lr` or "
                    "`model.adapt_steps`."
                )
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()


def _support_as_query(batch: Batch, shot: int) -> Batch:
    """An episode whose queries are one support of each way."""
    mask = batch.support_mask[:, :, shot]
    ways = torch.arange(mask.shape[1], device=mask.device)[None]
    return batch._replace(
        query_image=batch.support_image[:, :, shot],
        query_mask=mask,
        query_size=torch.tensor(mask.shape[-2:], device=mask.device).expand(*mask.shape[:2], 2),
        query_way=ways,
        query_id=batch.support_id[:, :, shot],
        query_variant=batch.support_variant[:, :, shot],
    )
