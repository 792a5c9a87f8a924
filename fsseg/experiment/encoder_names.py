"""Expands the name of an encoder, such as ``dinov2_s``, to its class and arguments while a configuration is read.

jsonargparse turns every value of a class option, from a file or the command line, into a class path with arguments by
one function. jsonargparse has no setting for further names, so this function is replaced during parsing.
"""

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from jsonargparse import Namespace, _typehints

from fsseg import class_paths
from fsseg.encoders import Encoder
from fsseg.encoders.names import NAMES, stands_for
from fsseg.experiment.class_change import Replace

_FUNCTION = "subclass_spec_as_namespace"


@contextmanager
def named_encoders(replace: Replace) -> Iterator[None]:
    """While parsing, expand names of encoders.

    A name also replaces an encoder of the same class: the arguments of the first encoder are dropped.

    Args:
        replace: See `own_arguments`.
    """
    read = getattr(_typehints, _FUNCTION)

    def expanded(value: Any, before: Any = None) -> Any:
        spec = read(value, before)
        name = str(spec.get("class_path")) if isinstance(spec, Namespace) else ""
        if name not in NAMES:
            return spec
        kind, arguments = NAMES[name].kind, {**NAMES[name].arguments, **vars(spec.get("init_args") or Namespace())}
        if _is_of(kind, before) and not stands_for(name, kind.__name__, vars(before.get("init_args") or Namespace())):
            arguments = {**_defaults(kind), **arguments}  # jsonargparse merges the arguments of equal classes
            replace(before, Namespace(class_path=name))
        spec["class_path"], spec["init_args"] = kind.__name__, Namespace(arguments)
        return spec

    setattr(_typehints, _FUNCTION, expanded)
    try:
        yield
    finally:
        setattr(_typehints, _FUNCTION, read)


def _is_of(kind: type[Encoder], spec: Any) -> bool:
    return isinstance(spec, Namespace) and class_paths.last_name(str(spec.get("class_path"))) == kind.__name__


def _defaults(kind: type[Encoder]) -> dict[str, Any]:
    return {name: each.default for name, each in inspect.signature(kind).parameters.items()}
