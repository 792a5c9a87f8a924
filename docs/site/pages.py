"""mkdocs hooks: pages that come from elsewhere than docs/*.md.

Home, contributing, changelog and the like are files of the repository; the tutorial is a notebook; the reference comes
from the package itself: docstrings (mkdocstrings), the commands' own help, and signatures. Nothing is listed by hand.
"""

import ast
import contextlib
import io
import json
import posixpath
import re
from collections.abc import Iterator
from importlib import import_module
from inspect import isabstract
from pathlib import Path
from types import FunctionType
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "fsseg"
API = "reference/api"
# Files of the repository that are pages of the site.
FROM_ROOT = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    ".github/SECURITY.md": "security.md",
    "tests/golden/README.md": "golden.md",
}
WIDE = "---\nhide: [toc]\n---\n\n"
NOT_FOR_IMPORT = ("cli", "__main__.py")  # commands have pages of their own


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Put the generated pages into the navigation."""
    for section in config.nav:
        if "Reference" in section:
            commands = [f"reference/commands/{name.replace(' ', '-')}.md" for name in command_names()]
            section["Reference"][:0] = [
                {"Command line": ["reference/commands/index.md", *commands]},
                {"Configuration": "reference/configuration.md"},
                {"Python": navigation(PACKAGE)},
            ]
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are not files of docs/."""
    pages = {target: (ROOT / source).read_text(encoding="utf-8") for source, target in FROM_ROOT.items()}
    pages |= command_pages()
    pages["index.md"] = "---\nhide: [navigation]\n---\n\n" + pages["index.md"]
    pages["reference/configuration.md"] = configuration_page()
    pages |= {module_page(path): module_text(path) for path in walk(PACKAGE)}
    for notebook in (ROOT / "docs").glob("*.ipynb"):
        pages[f"{notebook.stem}.md"] = notebook_page(notebook)
    for uri, text in pages.items():
        files.append(File.generated(config, uri, content=text))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Turn links between files of the repository into links between pages; a file that is no page keeps its name."""
    uri = page.file.src_uri
    source = next((source for source, target in FROM_ROOT.items() if target == uri), f"docs/{uri}")

    def linked(match: re.Match[str]) -> str:
        text, target, anchor = match[1], match[2], match[3] or ""
        if re.match(r"\w+:", target):
            return match[0]
        path = posixpath.normpath(posixpath.join(posixpath.dirname(source), target))
        path = FROM_ROOT.get(path, path.removeprefix("docs/"))
        if path.endswith(".ipynb") and uri != (made := f"{path.removesuffix('.ipynb')}.md"):
            path = made
        if files.get_file_from_path(path) is None:
            return text if match[0][0] != "!" else match[0]
        return f"[{text}]({posixpath.relpath(path, posixpath.dirname(uri) or '.')}{anchor})"

    return re.sub(r"(?<!`)\[([^\]]+)\]\(([^)#\s]+)(#[^)\s]*)?\)", linked, markdown)


def inside(folder: Path) -> list[Path]:
    """Modules and packages directly in a package, by name."""
    names = [path for path in sorted(folder.iterdir()) if path.name not in ("__init__.py", *NOT_FOR_IMPORT)]
    return [path for path in names if path.suffix == ".py" or (path / "__init__.py").is_file()]


def walk(folder: Path) -> Iterator[Path]:
    """Modules of a package at any depth."""
    yield folder / "__init__.py"
    for path in inside(folder):
        yield from walk(path) if path.is_dir() else (path,)


def navigation(folder: Path) -> list[Any]:
    """A package's page, then its modules and packages by name."""
    entries: list[Any] = [module_page(folder / "__init__.py")]
    entries += [{path.stem: navigation(path) if path.is_dir() else module_page(path)} for path in inside(folder)]
    return entries


def dotted(path: Path) -> str:
    """Name that a module is imported by."""
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def module_page(path: Path) -> str:
    """Address of a module's page."""
    return f"{API}/{path.relative_to(ROOT).with_suffix('.md').as_posix().replace('__init__', 'index')}"


def module_text(path: Path) -> str:
    """A module's page; a package's lists what it exports and its modules."""
    name = dotted(path)
    if path.name != "__init__.py":
        return f"---\ntitle: {path.stem}\n---\n\n::: {name}\n"
    text = f"---\ntitle: {name}\n---\n\n::: {name}\n    options: {{members: false}}\n\n"
    if links := exports(path):
        text += f"`from {name} import` {', '.join(links)}\n\n"
    children = [p / "__init__.py" if p.is_dir() else p for p in inside(path.parent)]
    here = posixpath.dirname(module_page(path))
    rows = [f"| [`{dotted(p)}`]({posixpath.relpath(module_page(p), here)}) | {summary(p)} |\n" for p in children]
    return text + ("| module | |\n| --- | --- |\n" + "".join(rows) if rows else "")


def exports(package: Path) -> list[str]:
    """Names that a package has for its users, linked to their definitions."""
    module = import_module(dotted(package))
    values = {name: getattr(module, name) for name in getattr(module, "__all__", ())}
    return [
        f"[`{name}`][{value.__module__}.{name}]" if isinstance(value, type | FunctionType) else f"`{name}`"
        for name, value in values.items()
    ]


def summary(path: Path) -> str:
    """First line of a module's docstring."""
    docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    return docstring.split("\n\n")[0].replace("\n", " ").replace("|", "\\|")


def command_names() -> list[str]:
    """Commands as they are typed after ``fsseg``."""
    from fsseg.cli.help import COMMANDS

    return list(COMMANDS)


def command_pages() -> dict[str, str]:
    """The overview and a page for each command: what its own ``--help`` prints."""
    pages = {"reference/commands/index.md": f"{WIDE}# Command line\n\n```text\n{help_of([])}```\n"}
    for name in command_names():
        text = help_of([*name.split()])
        pages[f"reference/commands/{name.replace(' ', '-')}.md"] = f"{WIDE}# fsseg {name}\n\n```text\n{text}```\n"
    return pages


def help_of(command: list[str]) -> str:
    """What a command prints about itself."""
    from fsseg.cli import main

    with contextlib.redirect_stdout(io.StringIO()) as printed:
        if main([*command, "--help"]) != 0:
            raise RuntimeError(f"fsseg {' '.join(command)} --help failed")
    return printed.getvalue()


def configuration_page() -> str:
    """Options of every class that an experiment file can name, by the parser that reads the file."""
    import fsseg.datasets as datasets
    import fsseg.encoders as encoders
    import fsseg.methods as methods
    from fsseg.episodes import EpisodeData
    from fsseg.protocols.protocol import Protocol
    from fsseg.task import Task

    parts = [
        "# Configuration\n",
        "An experiment file has these sections; a flag is the path of an option: `--data.shot 5`. "
        "`trainer` and `seed_everything` are Lightning's. A class is named by `class_path`, its options stand in "
        "`init_args` ([how](../2-experiments.md)). `fsseg fit --print_config` prints them all with their values.\n",
        option_table("model", Task),
        option_table("data", EpisodeData),
        option_table("protocol", Protocol),
    ]
    groups = (("model.method", methods), ("model.method.encoder", encoders), ("data.dataset", datasets))
    for key, package in groups:
        parts.append(f"## {key}\n")
        named = [getattr(package, name) for name in package.__all__]
        parts += [option_table(key, kind, 3) for kind in named if isinstance(kind, type) and not isabstract(kind)]
    return "\n".join(parts)


def option_table(key: str, kind: type, level: int = 2) -> str:
    """Options of a class as a table: those that its constructor takes, by the types and docstrings of its own."""
    from jsonargparse import ArgumentParser

    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(kind, fail_untyped=False, sub_configs=False)
    rows = [
        f"| `{action.dest}` | {cell(type_name(action))} | {default(action)} | {prose(action.help)} |"
        for action in parser._actions
        if action.option_strings and action.dest not in ("help", "print_config") and "help" not in action.dest
    ]
    title = kind.__name__ if level > 2 else key
    doc = (kind.__doc__ or "").strip().split("\n\n")[0].replace("\n", " ")
    head = f"{'#' * level} {title}\n\n[`{kind.__name__}`][{kind.__module__}.{kind.__name__}]: {' '.join(doc.split())}\n"
    if not rows:
        return head
    return f"{head}\n| option | type | default | |\n| --- | --- | --- | --- |\n" + "\n".join(rows) + "\n"


def type_name(action: Any) -> str:
    """A type as it is written in the signature, without its modules."""
    text = str(getattr(action, "_typehint", None) or getattr(action.type, "__name__", action.type) or "")
    text = re.sub(r"<class '([^']+)'>", r"\1", text)
    text = re.sub(r"(?:\w+\.)+(\w+)", r"\1", text)
    text = re.sub(r"Literal\[([^]]*)\]", lambda match: match[1].replace("'", "").replace(", ", " | "), text)
    return re.sub(r"^Optional\[(.*)\]$", r"\1 | None", text)


def default(action: Any) -> str:
    """A default as YAML says it."""
    if action.required:
        return "needed"
    value = action.default
    if value.__class__.__name__ == "Namespace":
        value = value.as_dict()
    if isinstance(value, dict) and "class_path" in value:
        options = ", ".join(f"{name}={option}" for name, option in value.get("init_args", {}).items())
        return cell(f"{value['class_path'].rpartition('.')[2]}({options})")
    return cell(json.dumps(value, default=str))


def cell(text: str) -> str:
    """Code in a cell of a table."""
    return f"`{text}`" if text else ""


def prose(text: str | None) -> str:
    """A docstring's words in a cell of a table."""
    return " ".join((text or "").replace("|", "\\|").split())


def notebook_page(path: Path) -> str:
    """A notebook as Markdown, its pictures inside."""
    parts = [f"[{path.name}]({path.name}) is this page as a notebook.\n"]
    for part in json.loads(path.read_text(encoding="utf-8"))["cells"]:
        source = "".join(part["source"])
        parts.append(source if part["cell_type"] == "markdown" else f"```python\n{source}\n```")
        parts += [output_text(output) for output in part.get("outputs", [])]
    first, *rest = parts[1:]
    return "\n\n".join([first, parts[0], *rest]) + "\n"


def output_text(output: dict[str, Any]) -> str:
    """What a cell printed or drew."""
    data = output.get("data", {})
    if "image/png" in data:
        return f"![output](data:image/png;base64,{''.join(data['image/png']).strip()})"
    text = "".join(output.get("text") or data.get("text/plain", ""))
    return f"```text\n{text.rstrip()}\n```"
