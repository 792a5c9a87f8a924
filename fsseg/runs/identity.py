"""Identity of a training or a test: the options of a configuration that decide its numbers."""

from collections.abc import Iterator, Mapping
from typing import Any

from fsseg.episodes.options import OPTIONS, Decides, with_defaults
from fsseg.episodes.options import flat as flat_options

_TRAINING, _VALIDATION, _EPISODES, _ROWS = Decides.TRAINING, Decides.VALIDATION, Decides.EPISODES, Decides.ROWS
TEST = _EPISODES | _ROWS
_DATA = {name: option.decides for name, option in OPTIONS.items()}

# One entry for each parameter of `fsseg.task.Task`; a test compares the table with the signature.
MODEL: Mapping[str, Decides] = {
    "method": _TRAINING | _VALIDATION | _ROWS,
    "optimizer": _TRAINING,
    "lr_scheduler": _TRAINING,
    "head_lr": _TRAINING,
    "bias_lr": _TRAINING,
    "weights": _TRAINING,
    "adapt_steps": _ROWS,
    "adapt_lr": _ROWS,
    "refine": _ROWS,
    "channels_last": _TRAINING,  # changes the last digits, whose differences grow during a training
}

# One entry for each parameter of Lightning's Trainer. An option of a later Lightning counts as deciding everything.
TRAINER: Mapping[str, Decides] = {
    "accelerator": Decides.MACHINE,
    "strategy": Decides.MACHINE,
    "devices": Decides.MACHINE,  # a changed number of processes is noted
    "num_nodes": Decides.MACHINE,
    "precision": _TRAINING | _VALIDATION | _ROWS,
    "logger": Decides.MACHINE,
    "callbacks": _TRAINING | _VALIDATION | _ROWS,  # they may change weights, as StochasticWeightAveraging does
    "fast_dev_run": _TRAINING | _VALIDATION | _ROWS,
    "max_epochs": Decides.LENGTH,
    "min_epochs": Decides.LENGTH,
    "max_steps": Decides.LENGTH,
    "min_steps": Decides.LENGTH,
    "max_time": Decides.LENGTH,
    "limit_train_batches": _TRAINING,
    "limit_val_batches": _VALIDATION,
    "limit_test_batches": _ROWS,
    "limit_predict_batches": Decides.MACHINE,
    "overfit_batches": _TRAINING | _VALIDATION,
    "val_check_interval": _VALIDATION,
    "check_val_every_n_epoch": _VALIDATION,
    "num_sanity_val_steps": Decides.MACHINE,
    "log_every_n_steps": Decides.MACHINE,
    "enable_checkpointing": Decides.MACHINE,
    "enable_progress_bar": Decides.MACHINE,
    "enable_model_summary": Decides.MACHINE,
    "accumulate_grad_batches": _TRAINING,
    "gradient_clip_val": _TRAINING,
    "gradient_clip_algorithm": _TRAINING,
    "deterministic": _TRAINING,
    "benchmark": Decides.MACHINE,
    "inference_mode": Decides.MACHINE,
    "use_distributed_sampler": _TRAINING | _VALIDATION | _ROWS,
    "profiler": Decides.MACHINE,
    "detect_anomaly": Decides.MACHINE,
    "barebones": Decides.MACHINE,
    "plugins": _TRAINING | _VALIDATION | _ROWS,
    "sync_batchnorm": _TRAINING,
    "reload_dataloaders_every_n_epochs": Decides.MACHINE,
    "default_root_dir": Decides.MACHINE,
    "enable_autolog_hparams": Decides.MACHINE,
    "model_registry": Decides.MACHINE,
}

# Lightning's value of an option that is null, and other spellings of a precision.
_NULL = {
    "precision": "32-true", "gradient_clip_val": 0, "gradient_clip_algorithm": "norm", "deterministic": False,
    "limit_train_batches": 1.0, "limit_val_batches": 1.0, "limit_test_batches": 1.0, "val_check_interval": 1.0,
}  # fmt: skip
_SPELT = {"64": "64-true", "32": "32-true", "16": "16-mixed", "bf16": "bf16-mixed"}

# Options that later versions have added, with the value that means what was before. An identity leaves
# them out at this value, so that records and digests of earlier versions remain those of the same training.
ADDED: Mapping[str, Any] = {
    "lr_scheduler.init_args.warmup_steps": 0,
    "episodes.absent_queries": 0.0,
    "model.refine": False,
    "dataset.init_args.folds_of": "pascal",
}


def identity(own: Mapping[str, Any], role: Decides) -> dict[str, Any]:
    """The options of a configuration that have one of the given roles.

    Args:
        own: Configuration of fit or test.
        role: Roles of the wanted options; an option needs at least one of them.

    Returns:
        The sections ``seed_everything``, ``model``, ``data``, ``trainer`` and ``protocol`` with these options only.
        Null is replaced by the value that it stands for; options of the data have dotted names. Options of `ADDED` are
        left out where they change nothing.
    """
    found: dict[str, Any] = {
        "model": _of(own["model"], MODEL, role),
        "data": _of(with_defaults(flat_options(own["data"])), _DATA, role),
        "trainer": _of({name: _plain(name, value) for name, value in own["trainer"].items()}, TRAINER, role),
    }
    if role & _DATA["protocol"]:
        found["protocol"] = own.get("protocol")
    return {"seed_everything": own["seed_everything"], **_without_added(found)}


def _without_added(options: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """A nested configuration without the options of `ADDED` that have the value there."""
    kept = {}
    for key, value in options.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping):
            rest = _without_added(value, f"{name}.")
            if rest or not value:
                kept[key] = rest
        elif _added(name) is None or value != _added(name):
            kept[key] = value
    return kept


def _added(name: str) -> Any:
    """The value of an option of `ADDED` that means what was before; None for other options."""
    return next((value for option, value in ADDED.items() if f".{name}".endswith(f".{option}")), None)


def length(own: Mapping[str, Any]) -> dict[str, Any]:
    """The options that decide where a training ends."""
    return _of(own["trainer"], TRAINER, Decides.LENGTH)


def _of(options: Mapping[str, Any], table: Mapping[str, Decides], role: Decides) -> dict[str, Any]:
    return {name: value for name, value in options.items() if table.get(name, role) & role}


def _plain(name: str, value: Any) -> Any:
    """An option of the trainer in one spelling."""
    if value is None:
        return _NULL.get(name)
    return _SPELT.get(str(value), str(value)) if name == "precision" else value


def first_difference(before: Mapping[str, Any], now: Mapping[str, Any]) -> tuple[str, Any, Any] | None:
    """Name and both values of the first option, in order of names, that differs; None if no option differs."""
    one, other = dict(flat(before)), dict(flat(now))
    for key in sorted(one.keys() | other.keys()):
        was, now = (values.get(key, _added(key)) for values in (one, other))
        if was != now:
            return key.replace(".init_args", ""), was, now
    return None


def flat(config: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Leaves of a nested configuration by dotted key; lists are leaves."""
    for key, value in config.items():
        if isinstance(value, Mapping):
            yield from flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
