"""The one LightningModule that trains and tests every method."""

import math
from collections.abc import Callable, Iterable
from dataclasses import asdict
from functools import partial
from typing import Any

import numpy as np
import torch
from lightning import LightningModule
from torch import Tensor
from torch.optim import SGD, Optimizer
from torch.optim.lr_scheduler import LRScheduler, StepLR

from fsseg import limits
from fsseg.episode import NO_WAY, Batch
from fsseg.errors import DivergedError, FssegError
from fsseg.feature_cache import TestFeatures, Tracked, TrainingFeatures, testing, training
from fsseg.fine_tuning import FineTuning
from fsseg.methods.base import Method
from fsseg.methods.panet import PANet
from fsseg.metrics import BinaryIoU, ClassIoU, Counts, TestOutput, count, presence
from fsseg.optim import Groups, grouped, made, scheduled
from fsseg.processes import gathered_random_states, set_random_state
from fsseg.refinement import Refinement
from fsseg.untrusted.card import Card, random_states


class Task(LightningModule):
    """Training and test of a method: optimiser, schedule, steps, metrics and logging.

    Args:
        method: the method, e.g. `PANet`.
        optimizer: optimiser; by default PANet's (section 4.1): SGD, rate 1e-3, momentum 0.9, weight decay 5e-4.
        lr_scheduler: schedule per iteration; by default PANet's (section 4.1): rate x 0.1 every 10,000 iterations.
        head_lr: factor of the learning rate of layers that start at random (10 in my_optim.py of PMMs).
        bias_lr: additional factor of the learning rate of biases (2 in my_optim.py of PMMs).
        weights: checkpoint of `fsseg fit` whose weights the training starts from, with a new optimiser and step 0.
            ``fsseg fit`` and `fsseg.fit` load the file, see `fsseg.experiment.warm_start`.
        adapt_steps: steps of fine-tuning on the supports of each episode of a test, see `fsseg.fine_tuning`.
        adapt_lr: learning rate of these steps; None for the optimiser's own.
        refine: in a test, sharpen logits by the query images and remove specks, see `fsseg.refinement`.
        channels_last: use the memory format channels_last, in which most processors convolve faster. The order of sums
            changes, so that the last digits differ.

    Raises:
        FssegError: head_lr, bias_lr or adapt_lr is not positive, or adapt_steps are negative.
    """

    def __init__(
        self,
        method: Method,
        optimizer: Callable[[Iterable[Any]], Optimizer] = lambda p: SGD(p, lr=1e-3, momentum=0.9, weight_decay=5e-4),
        lr_scheduler: Callable[[Optimizer], LRScheduler] = lambda o: StepLR(o, step_size=10_000, gamma=0.1),
        head_lr: float = 1.0,
        bias_lr: float = 1.0,
        weights: str | None = None,
        adapt_steps: int = 0,
        adapt_lr: float | None = None,
        refine: bool = False,
        channels_last: bool = False,
    ) -> None:
        super().__init__()
        if not (head_lr > 0 and bias_lr > 0):
            raise FssegError(f"head_lr {head_lr:g} and bias_lr {bias_lr:g}: factors above 0 are needed.")
        limits.check({"adapt_steps": adapt_steps}, limits.ARGUMENTS, "`model.{}`")
        if adapt_lr is not None and not adapt_lr > 0:
            raise FssegError(f"`model.adapt_lr` {adapt_lr:g}: a rate above 0 is needed.")
        # Convolutions take the memory format of their weights.
        self.method = method.to(memory_format=torch.channels_last) if channels_last else method
        self.optimizer, self.lr_scheduler = optimizer, lr_scheduler
        self.head_lr, self.bias_lr, self.weights = head_lr, bias_lr, weights
        self.adapt_steps, self.adapt_lr, self.refine = adapt_steps, adapt_lr, refine
        self._factor = 1.0  # factor of the learning rate of the first group of parameters
        self.card: Card | None = None  # description in a checkpoint: configuration, training classes
        self.say: Callable[[str], None] = lambda line: None  # shows a line to the user
        self.tracked: Tracked = lambda items, what: items  # shows the progress of a loop
        self.untrained: float | None = None  # validation's mean-IoU of the encoder's prototypes before the training
        self._cache: TestFeatures | None = None
        self._tuning: FineTuning | None = None
        self._refinement: Refinement | None = None
        self._features: TrainingFeatures | None = None
        self._random: dict[str, Tensor] = {}  # random states of a resumed training

    def setup(self, stage: str) -> None:
        """Create metrics for the data set's classes and the protocol's runs, and plan the feature caches."""
        data = self.trainer.datamodule  # type: ignore[attr-defined]
        runs, absent = data.protocol.runs, data.protocol.absent
        if stage in ("fit", "validate"):
            self.val_iou, self.val_binary = ClassIoU(data.validated, absent=absent), BinaryIoU(absent=absent)
        if stage == "fit":
            self._plan_training(data)
        if stage == "test":
            self.test_iou, self.test_binary = ClassIoU(data.novel, runs, absent), BinaryIoU(runs, absent)
            self._plan_test(data)
            self._refinement = Refinement(self.method, data) if self.refine else None
            data.without_pixels = set() if self._cache is None else {"test"}

    def _plan_test(self, data: Any) -> None:
        """Plan fine-tuning, or else the cache of features, which fine-tuning would change."""
        self._tuning = self.fine_tuning()
        if self._tuning is None:
            context = self.trainer.precision_plugin.test_step_context
            self._cache = testing.plan(self.method, data, self.trainer.num_devices, context, self.say)

    def fine_tuning(self) -> FineTuning | None:
        """The fine-tuning of a test, if there are steps."""
        optimizer = partial(made, self._grouped(), self.optimizer, self.adapt_lr) if self.adapt_steps else None
        return FineTuning(self.method, self.adapt_steps, optimizer) if optimizer else None

    def _plan_training(self, data: Any) -> None:
        """Plan the cache of features that the training does not change."""
        trainer, precision = self.trainer, self.trainer.precision_plugin
        steps = trainer.max_steps if trainer.max_steps >= 0 else math.inf
        epochs = trainer.max_epochs if trainer.max_epochs not in (None, -1) else math.inf
        by_steps = steps * trainer.accumulate_grad_batches * trainer.world_size * data.batch_size
        draws = min(by_steps, epochs * data.episodes.train) * (data.way * data.shot + data.query)
        contexts: dict[training.Stage, Any] = {"train": precision.train_step_context, "val": precision.val_step_context}
        self._features = training.plan(self.method, data, draws, trainer.num_devices, contexts, self.say)
        data.without_pixels = set(self._features.stages) if self._features else set()

    def _fill(self) -> None:
        """Encode the images of a training whose features are cached."""
        if self._features is not None:
            data = self.trainer.datamodule  # type: ignore[attr-defined]
            context = self.trainer.precision_plugin.train_step_context
            self._features.fill(data, self.device, context, self.tracked)

    def forward(self, batch: Batch) -> Tensor:
        """Logits ``B Q 1+N H W``."""
        logits: Tensor = self.method(batch)
        return logits

    def on_train_start(self) -> None:
        """Fill the feature cache, and give each process its random state, e.g. for dropout; rank 0 keeps its own."""
        self._fill()
        if rank := self.global_rank:
            torch.manual_seed(int(np.random.SeedSequence([torch.initial_seed(), rank]).generate_state(1)[0]))

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        """Restore the random state of a resumed training, e.g. for dropout."""
        if self._random:
            set_random_state(self._random, self.device)
            self._random = {}

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Losses of a batch of episodes.

        Raises:
            DivergedError: the loss of some process is not finite.
        """
        maps = self._features.of("train", batch) if self._features else None
        losses = training.losses_of(self.method, batch, maps)
        loss = losses["loss"]
        # If the loss of one process is not finite, the mean is not, so that all processes stop.
        values = self.trainer.strategy.reduce(torch.stack([value.detach() for value in losses.values()]))
        if not values.isfinite().all():
            if loss.isfinite():
                raise DivergedError("the loss of another process is not finite; see the message of that process.")
            raise DivergedError(
                f"the loss is {loss.item()} at step {self.global_step} (images {self._images(batch)}). Lower "
                "`model.optimizer.lr`, or use `trainer.precision` 32. Earlier checkpoints remain."
            )
        for name, value in zip(losses, values, strict=True):
            self.log(f"train/{name}", value, prog_bar=name == "loss", batch_size=len(batch.run))
        return loss

    def _images(self, batch: Batch) -> str:
        """Names of a batch's images, supports first."""
        name = self.trainer.datamodule.dataset.image_name  # type: ignore[attr-defined]
        numbers = [*batch.support_id.flatten().tolist(), *batch.query_id.flatten().tolist()]
        return ", ".join(name(number) for number in dict.fromkeys(numbers))

    def on_validation_start(self) -> None:
        """Fill the feature cache of a training."""
        self._fill()

    def validation_step(self, batch: Batch, batch_idx: int) -> TestOutput:
        """Segment a batch of validation episodes and count pixels.

        Lightning's sanity check, before a training, measures the untrained prototypes of the encoder (PANet-init).
        """
        maps = self._features.of("val", batch) if self._features else None
        method = PANet(self.method.encoder).eval() if self.trainer.sanity_checking else self.method
        logits = training.logits_of(method, batch, maps)
        return self._measure(batch, logits, self.val_iou, self.val_binary)

    def on_validation_epoch_end(self) -> None:
        """Log the validation metrics of base classes, and the untrained prototypes' beside them."""
        mean = self._log_and_reset("val", self.val_iou, self.val_binary)
        if not self.trainer.sanity_checking and self.trainer.state.fn == "fit":
            beside = ""
            if self.untrained is not None:
                self.log("val/mean_iou_untrained", self.untrained)
                beside = f" (prototypes of the encoder, untrained: {100 * self.untrained:.1f})"
            self.say(f"step {self.global_step:,}: val mean-IoU {100 * mean:.1f}{beside}")
        elif math.isinf(self.trainer.num_sanity_val_steps):
            self.untrained = mean

    def on_test_start(self) -> None:
        """Fill the feature cache, if there is one."""
        if self._cache is not None:
            data = self.trainer.datamodule  # type: ignore[attr-defined]
            features = self._cache.features
            self.say(f"{len(features):,} images, each encoded once; {features.move(self.device)}")
            self._cache.encode(data, self.device, self.trainer.precision_plugin.test_step_context, self.tracked)

    def teardown(self, stage: str) -> None:
        """Delete the feature caches; episodes load images again."""
        self.trainer.datamodule.without_pixels = set()  # type: ignore[attr-defined]
        self._cache = self._features = self._tuning = self._refinement = None

    def test_step(self, batch: Batch, batch_idx: int) -> TestOutput:
        """Segment a batch of test episodes and count pixels."""
        instead = self._tuning or self._cache
        logits = instead.logits(batch) if instead else self(batch)
        output = self._measure(batch, logits, self.test_iou, self.test_binary)
        protocol = self.trainer.datamodule.protocol  # type: ignore[attr-defined]
        if protocol.absent_queries or protocol.draw == "list":  # episodes of a file may have such queries
            output = output._replace(presence=presence(logits))
        self.log("mean-IoU", self.test_iou.running(), prog_bar=True, on_step=True, on_epoch=False)
        return output

    def _measure(self, batch: Batch, logits: Tensor, mean: ClassIoU, binary: BinaryIoU) -> TestOutput:
        """Predict the queries and add counts to the metrics, except of padding and of queries without a class."""
        if not logits.isfinite().all():  # argmax would turn NaN into background
            raise DivergedError(
                "the logits are not finite: the training of the checkpoint diverged, or the precision is too low. Take "
                "another checkpoint, or `trainer.precision` 32."
            )
        logits = self._refinement(logits, batch) if self._refinement else logits
        prediction = logits.max(2).indices  # the result of argmax, which is ten times slower on a CPU
        counts = count(prediction, batch.query_mask, batch.classes.shape[1])
        run = batch.run.where(batch.number >= 0, -1)
        shown = (batch.query_way != NO_WAY).unsqueeze(-1)
        counted = Counts(*(number * shown for number in counts))
        mean.update(counted, batch.classes, run)
        binary.update(counted, run)
        return TestOutput(prediction, counts)

    def _log_and_reset(self, stage: str, mean: ClassIoU, binary: BinaryIoU) -> float:
        """Log the metrics of a stage; return its mean-IoU."""
        found = mean.compute()
        self.log(f"{stage}/mean_iou", found.mean.float(), prog_bar=stage == "val")
        self.log(f"{stage}/binary_iou", binary.compute().mean.float())
        name = self.trainer.datamodule.dataset.class_name  # type: ignore[attr-defined]
        for class_id, iou in zip(mean.classes, found.per_class.nanmean(dim=0), strict=True):
            if not iou.isnan():  # NaN if no episode drew the class
                self.log(f"{stage}/iou/{name(class_id)}", iou.float())
        mean.reset()
        binary.reset()
        return float(found.mean)

    def on_test_epoch_end(self) -> None:
        """Log the test metrics and reset them."""
        self._log_and_reset("test", self.test_iou, self.test_binary)

    def configure_optimizers(self) -> Any:
        """The optimiser of all trainable parameters and the schedule per iteration.

        Raises:
            FssegError: no trainable parameters, an invalid option, or a schedule that overwrites the factors.
        """
        groups = self._grouped()
        optimizer = made(groups, self.optimizer)
        self._factor = groups[1][0]
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": scheduled(optimizer, groups[1], self.lr_scheduler), "interval": "step"},
        }

    def _grouped(self) -> Groups:
        """The trainable parameters; raises FssegError if there are none."""
        found = grouped(self.method.named_parameters(), self.method.learns_fast, self.head_lr, self.bias_lr)
        if not found[0]:
            raise FssegError(f"{self.method.name} has nothing to train with this encoder; test it with `untrained`.")
        return found

    @property
    def learning_rate(self) -> float:
        """Learning rate at this step of parameters with factor 1."""
        return float(self.trainer.optimizers[0].param_groups[0]["lr"]) / self._factor

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Store the card, so that a test can refuse options that do not fit, and the random states of all processes."""
        checkpoint["fsseg"] = asdict(self.card) if self.card else {}
        checkpoint["untrained"] = self.untrained
        checkpoint["random"] = gathered_random_states(self.device)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Read the untrained mean-IoU, and the random state of this process, which else restarts from the seed."""
        found = checkpoint.get("untrained")
        self.untrained = found if isinstance(found, float) else None
        states = random_states(checkpoint)
        self._random = states[self.global_rank] if self.global_rank < len(states) else {}

    def lr_scheduler_step(self, scheduler: Any, metric: Any) -> None:
        """Step the schedule. ReduceLROnPlateau is not supported, because it needs a metric per iteration."""
        scheduler.step()
