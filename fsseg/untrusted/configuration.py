"""Untrusted configurations: which classes and files a configuration in a checkpoint or a run's folder may name.

Building a class runs its code. So a stored configuration may name only classes of fsseg and of the libraries that
experiments use, and may write only into the working folder and the run's folder.
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from jsonargparse import set_parsing_settings
from jsonargparse._common import parsing_settings

from fsseg import class_paths
from fsseg.errors import FssegError
from fsseg.untrusted.text import BrokenTextError, leads_out, load_yaml

OWN = ("seed_everything", "protocol", "model", "data", "trainer", "checkpoint")  # keys of a configuration file
_SECTIONS = OWN[1:]
# Modules whose classes may be named; none of their functions or classes runs or loads a given argument.
_KNOWN = (
    "fsseg.methods", "fsseg.segmenter.tuned", "fsseg.encoders", "fsseg.datasets", "fsseg.episodes", "fsseg.optim",
    "torch.optim", "lightning.pytorch.accelerators",
    "lightning.pytorch.callbacks", "lightning.pytorch.loggers.CSVLogger",
    "lightning.pytorch.loggers.TensorBoardLogger", "lightning.pytorch.loggers.WandbLogger",
    "lightning.pytorch.loggers.csv_logs", "lightning.pytorch.loggers.tensorboard", "lightning.pytorch.loggers.wandb",
    "lightning.pytorch.plugins.precision", "lightning.pytorch.profilers", "lightning.pytorch.strategies",
)  # fmt: skip
_AUGMENT = "albumentations"
_READ = {"root", "weights", "test_file", "pairs_files", "annotations", "val_annotations", "images", "val_images"}
_WRITTEN = {"dirpath", "default_root_dir", "save_dir", "dir", "log_dir", "root_dir", "filename", "name", "version",
            "sub_dir", "prefix", "id", "filename_suffix", "checkpoint_name", "CHECKPOINT_NAME_LAST"}  # fmt: skip
# Other options of W&B could send results and the login key to the server of an attacker.
_WANDB = {"name", "save_dir", "version", "offline", "dir", "id", "anonymous", "project", "log_model", "prefix",
          "checkpoint_name", "add_file_policy", "entity", "group", "job_type", "tags", "notes", "mode",
          "resume"}  # fmt: skip
_VARIABLE = "FSSEG_TRUST"


def stored(text: str, where: str, folder: Path) -> dict[str, Any]:
    """A checked stored configuration.

    Args:
        text: the stored YAML.
        where: names the place of the configuration in an error.
        folder: of the run.

    Raises:
        FssegError: the text is no configuration, or names a class or file that is not allowed.
    """
    try:
        content = load_yaml(text)
    except BrokenTextError as error:
        raise FssegError(f"{where} holds a broken configuration: {error}. Give `config` FILE.") from error
    if not isinstance(content, dict) or not content.keys() <= {*OWN}:
        unknown = [key for key in content if key not in OWN] if isinstance(content, dict) else ["no options"]
        raise FssegError(f"{where} holds {unknown[0]}, which is no part of an experiment. Give `config` FILE.")
    for key in _SECTIONS:
        if not isinstance(content.get(key, {}), dict):
            raise FssegError(f"{where}: {key} is no section of options. Give `config` FILE.")
    loading = content.get("data", {}).get("loading")
    if isinstance(loading, dict):
        loading.pop("cache_folder", None)  # a folder that a command writes to is named by its user
    _Check(where, folder)(content)
    return content


def stored_file(path: Path, folder: Path) -> dict[str, Any]:
    """The checked configuration of a file in the folder of a run, see `stored`."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise FssegError(f"{path} cannot be read: {' '.join(str(error).split())}.") from error
    return stored(text, str(path), folder)


@contextmanager
def known_classes_only() -> Iterator[None]:
    """Context in which the parser imports only what a stored configuration may name, whatever form the name has."""
    names = ("import_path_verdicts", "import_paths_enforced")
    before = {name: parsing_settings[name] for name in names}
    try:
        set_parsing_settings(import_path_denylist=["*"], import_path_allowlist=[*_KNOWN, *trusted()])
        yield
    finally:
        parsing_settings.update(before)


def trusted() -> list[str]:
    """The user's own modules that stored configurations may name: FSSEG_TRUST, separated by commas.

    Raises:
        FssegError: a name in FSSEG_TRUST is no module name.
    """
    names = [name.strip() for name in os.environ.get(_VARIABLE, "").split(",") if name.strip()]
    for name in names:
        if not all(part.isidentifier() for part in name.split(".")) or name.split(".")[0] == "jsonargparse":
            raise FssegError(
                f"{_VARIABLE} {name}: module names, separated by commas, are needed, e.g. my_package,other."
            )
    return names


def names_own_classes(value: Any) -> bool:
    """Whether a configuration names a class that a stored configuration may name only with FSSEG_TRUST."""
    if isinstance(value, list):
        return any(map(names_own_classes, value))
    if not isinstance(value, Mapping):
        return False
    own = "class_path" in value and not _below(str(value["class_path"]), (*_KNOWN, _AUGMENT))
    return own or any(map(names_own_classes, value.values()))


def fix(name: str) -> str:
    """How to fix that a stored configuration names an unknown class."""
    return f"If you trust the class, set {_VARIABLE}={name.split('.')[0]}; or give your own `config` FILE, if you can"


class _Check:
    """Walks through a stored configuration and refuses classes and files that are not allowed."""

    def __init__(self, where: str, folder: Path) -> None:
        self.where = where
        self.places = (folder.resolve(), Path.cwd().resolve())
        self.known = (*_KNOWN, *trusted())

    def __call__(self, value: Any, key: str = "") -> None:
        """Check a value and all values below.

        Args:
            value: of an option.
            key: the option's name, without its section.
        """
        if isinstance(value, Mapping):
            if "class_path" in value:
                self._named(value, key)
            for name, part in value.items():
                self(part, str(name))
        elif isinstance(value, list):
            for part in value:
                if key == "augment" and isinstance(part, str):
                    self._transform(part)
                self(part, key)
        elif isinstance(value, str):
            self._text(value, key)

    def _named(self, value: Mapping[str, Any], key: str) -> None:
        path = str(value["class_path"])
        if key == "augment":
            self._transform(path)
        elif not _below(path, self.known):
            raise FssegError(f"{self.where} names {path}, which is no class of fsseg or Lightning. {fix(path)}.")
        if class_paths.last_name(path) == "WandbLogger":
            given = {name for name, option in (value.get("init_args") or {}).items() if option is not None}
            if forbidden := sorted(given - _WANDB):
                raise FssegError(f"{self.where} gives {forbidden[0]} to W&B, which is not allowed. Give `config` FILE.")

    def _transform(self, path: str) -> None:
        if "." in path and not _below(path, (_AUGMENT, *self.known)):
            raise FssegError(f"{self.where} names {path}, which is no class of albumentations. {fix(path)}.")

    def _text(self, value: str, key: str) -> None:
        if key in _WRITTEN and not self._inside(value):
            raise FssegError(
                f"{self.where} would write to {value} ({key}), outside the run's folder and the working folder. If you "
                "want this, give your own `config` FILE."
            )
        # The parser would read a file in place of a class; the file may be endless (/dev/zero).
        if key not in _READ | _WRITTEN and os.sep in value and os.path.exists(value):
            raise FssegError(f"{self.where} names the file {value} ({key}); this option takes no file.")

    def _inside(self, value: str) -> bool:
        if "://" in value or "::" in value or value.startswith("~"):
            return False
        if Path(value).is_absolute():
            return any(Path(value).resolve().is_relative_to(place) for place in self.places)
        return not leads_out(value)


def _below(path: str, modules: tuple[str, ...]) -> bool:
    """Whether a dotted path is one of the modules, or lies below one."""
    return any(path == module or path.startswith(f"{module}.") for module in modules)
