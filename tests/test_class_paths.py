"""`fsseg.class_paths`: names and objects of dotted paths."""

import sys

import pytest

from fsseg import class_paths
from fsseg.methods import PANet


def test_names_and_objects_of_a_path() -> None:
    assert class_paths.last_name("fsseg.methods.PANet") == "PANet"
    assert class_paths.module_of("fsseg.methods.PANet") == "fsseg.methods"
    assert (class_paths.last_name("PANet"), class_paths.module_of("PANet")) == ("PANet", "")
    assert class_paths.load("fsseg.methods.PANet") is PANet
    assert class_paths.load("PANet", "fsseg.methods") is PANet


def test_a_path_that_was_not_imported_is_not_imported() -> None:
    sys.modules.pop("antigravity", None)
    assert class_paths.imported("antigravity.fly") is None
    assert "antigravity" not in sys.modules
    assert class_paths.imported("fsseg.methods.PANet") is PANet
    assert class_paths.imported("fsseg.methods.Nothing") is None
    assert class_paths.imported("no.module.__class__") is None


def test_a_path_of_nothing_cannot_be_loaded() -> None:
    with pytest.raises(ImportError):
        class_paths.load("no.module.Name")
    with pytest.raises(AttributeError):
        class_paths.load("fsseg.methods.Nothing")
