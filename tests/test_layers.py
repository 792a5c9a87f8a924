"""The arrows of the house plan: episode <- {datasets, encoders} <- {episodes, methods} <- task <- experiment <- cli."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "fsseg"
FILES = sorted(PACKAGE.rglob("*.py"))

# What each part may import of fsseg, next to `errors`, `limits` and `class_paths`. A part is a file or a folder.
# Folders may import themselves.
ALLOWED = {
    "__init__": ("segmenter", "experiment.commands"),
    "__main__": ("cli",),
    "errors": (),
    "atomic": (),
    "progress": (),
    "checksum": ("progress",),
    "download": ("", "atomic", "progress"),
    "untrusted": ("untrusted", "protocols.protocol"),
    "episode": (),
    "protocols": ("protocols",),
    "machine_errors": (),
    "class_paths": (),
    "limits": (),
    "disk_cache": ("atomic",),
    "files": ("files", "episode", "untrusted.text", "machine_errors"),
    "datasets": (
        "datasets",
        "files",
        "disk_cache",
        "episode",
        "protocols.protocol",
        "untrusted.text",
        "atomic",
        "progress",
        "machine_errors",
    ),
    "episodes": (
        "processes",
        "disk_cache",
        "episodes",
        "datasets",
        "episode",
        "protocols.protocol",
        "untrusted.text",
        "atomic",
        "machine_errors",
    ),
    "encoders": ("encoders", "untrusted.card"),
    "ops": ("ops",),
    "processes": (),
    "losses": ("episode", "processes"),
    "official_codes": ("official_codes", "protocols.protocol"),
    "iou": (),
    "metrics": ("iou", "episode", "protocols.protocol"),
    "optim": (),
    "methods": ("methods.base", "methods.binary", "encoders", "ops", "losses", "episode"),
    "feature_cache": ("feature_cache", "atomic", "processes", "methods.base", "encoders", "episode"),
    "segmenter": (
        "iou",
        "files",
        "segmenter",
        "methods.base",
        "methods.binary",
        "methods.kernel_density",
        "encoders",
        "ops",
        "plots",
        "progress",
        "datasets",
        "episodes.transforms",
        "episode",
        "untrusted",
        "atomic",
    ),
    "demo": (
        "files",
        "ops.refine",
        "demo",
        "segmenter",
        "methods.base",
        "datasets",
        "episodes.transforms",
        "episode",
        "plots",
        "untrusted.text",
    ),
    "export": ("", "export", "segmenter", "methods.base", "episode", "atomic"),
    "fine_tuning": ("methods.base", "feature_cache", "episode"),
    "refinement": ("methods.base", "ops", "episode"),
    "task": (
        "fine_tuning",
        "refinement",
        "processes",
        "methods.base",
        "methods.panet",
        "metrics",
        "losses",
        "optim",
        "feature_cache",
        "episode",
        "untrusted.card",
    ),
    "results": (
        "results",
        "iou",
        "episode",
        "protocols.protocol",
        "metrics",
        "untrusted.records",
        "untrusted.text",
        "atomic",
    ),
    "plots": ("plots", "iou", "results", "datasets", "episode", "protocols.protocol", "atomic"),
    "jobs": ("jobs", "untrusted.records", "untrusted.text", "atomic"),
    "contracts": (
        "contracts",
        "methods.base",
        "methods.binary",
        "encoders",
        "datasets",
        "episode",
        "protocols.protocol",
        "untrusted.text",
    ),
    "zoo": (
        "checksum",
        "download",
        "zoo",
        "methods.base",
        "datasets",
        "segmenter",
        "results",
        "protocols",
        "untrusted",
        "atomic",
        "progress",
    ),
    "prepare": (
        "checksum",
        "download",
        "prepare",
        "datasets",
        "files",
        "protocols.protocol",
        "untrusted.records",
        "untrusted.text",
        "atomic",
        "progress",
    ),
    "runs": (
        "checksum",
        "files",
        "",
        "progress",
        "runs",
        "results",
        "plots",
        "segmenter",
        "task",
        "metrics",
        "encoders",
        "episodes",
        "datasets",
        "episode",
        "protocols.protocol",
        "untrusted",
        "atomic",
        "machine_errors",
    ),
    "experiment": (
        "checksum",
        "disk_cache",
        "files",
        "",
        "progress",
        "experiment",
        "runs",
        "results",
        "plots",
        "iou",
        "segmenter",
        "task",
        "refinement",
        "methods",
        "official_codes",
        "encoders",
        "metrics",
        "episodes",
        "datasets",
        "episode",
        "protocols",
        "untrusted",
        "atomic",
    ),
    "cli": (
        "checksum",
        "disk_cache",
        "files",
        "",
        "progress",
        "cli",
        "experiment",
        "runs",
        "results",
        "plots",
        "jobs",
        "prepare",
        "zoo",
        "contracts",
        "segmenter",
        "export",
        "demo",
        "methods",
        "encoders",
        "episodes",
        "datasets",
        "episode",
        "protocols",
        "untrusted",
        "atomic",
        "machine_errors",
    ),
}


def module_name(path: Path) -> str:
    """Such as ``datasets.base``; a package's own name for its ``__init__``."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts)


def imports(path: Path) -> set[str]:
    """Modules of fsseg that a file imports, also inside functions, without the leading ``fsseg.``."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            below = PACKAGE.parent.joinpath(*(node.module or "").split("."))
            for alias in node.names:
                is_module = (below / f"{alias.name}.py").exists() or (below / alias.name).is_dir()
                found.add(f"{node.module}.{alias.name}" if is_module else node.module or "")
    return {name.removeprefix("fsseg").removeprefix(".") for name in found if name.split(".")[0] == "fsseg"}


def may_import(module: str, other: str) -> bool:
    part = module.split(".")[0]
    if other in ("errors", "limits", "class_paths") and part != "episode":
        return True
    if module == "methods" and other.startswith("methods."):  # the package lists its methods
        return True
    return any(other == allowed or (allowed and other.startswith(f"{allowed}.")) for allowed in ALLOWED[part])


@pytest.mark.parametrize("path", FILES, ids=module_name)
def test_imports_follow_the_arrows(path: Path) -> None:
    module = module_name(path)
    wrong = sorted(other for other in imports(path) if not may_import(module, other))
    assert not wrong, f"fsseg.{module} must not import {wrong}"


@pytest.mark.parametrize(
    ("module", "other"),
    [
        ("episodes.sampler", "metrics"),
        ("methods.canet", "methods.panet"),
        ("methods.panet", "datasets.base"),
        ("datasets.base", "episodes.sampler"),
        ("runs.folders", "experiment.parser"),
        ("experiment.parser", "cli.help"),
        ("metrics", "losses"),
        ("task", "methods"),
        ("task", "cli"),
        ("results.tables", "task"),
        ("encoders.vgg", "episode"),
        ("episode", "errors"),
        ("__main__", "task"),
    ],
)
def test_the_rule_refuses_what_the_plan_forbids(module: str, other: str) -> None:
    assert not may_import(module, other)


@pytest.mark.parametrize("path", FILES, ids=module_name)
def test_files_and_functions_stay_short(path: Path) -> None:
    text = path.read_text()
    assert text.count("\n") <= 300
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            body = [statement for statement in node.body if not _is_docstring(statement)] or node.body
            lines = (body[-1].end_lineno or 0) - body[0].lineno + 1
            assert lines <= 40, f"{path.name}: {node.name} has {lines} lines"


def _is_docstring(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)


def test_no_file_is_a_drawer_for_anything() -> None:
    assert not {path.stem for path in FILES} & {"utils", "util", "misc", "common", "helpers"}


def test_packages_are_at_most_two_deep() -> None:
    assert all(len(path.relative_to(PACKAGE).parts) <= 2 for path in FILES)
