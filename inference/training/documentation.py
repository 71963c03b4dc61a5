"""A corpus that every Python carries: the documentation strings of its standard library.

Sources are parsed, never imported. The interpreter's built-in modules, which have no source, are asked.
"""

import ast
import importlib
import re
import sys
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Literal

Kind = Literal["module", "class", "function"]

# Tests and bundled applications document themselves for their authors, not for readers.
SKIPPED_FOLDERS = frozenset(
    {"site-packages", "dist-packages", "test", "tests", "idlelib", "lib2to3", "turtledemo"}
)
# Built-in modules whose import does more than define names, or that only repeat others.
SKIPPED_MODULES = frozenset({"xxsubtype", "_xxsubinterpreters", "_xxinterpchannels"})
SHORTEST, LONGEST = 30, 1200


@dataclass(frozen=True, slots=True, kw_only=True)
class Description:
    """What the library says of one of its parts: dotted `name`, `signature` if it has one, prose `text`."""

    kind: Kind
    name: str
    signature: str
    text: str


def collect() -> list[Description]:
    """Every useful description once, in a fixed order."""
    found: dict[str, Description] = {}
    for description in (*_read_builtins(), *_read_sources()):
        found.setdefault(description.text, description)
    return list(found.values())


def collect_articles() -> dict[str, list[str]]:
    """The language reference that `help()` shows: topic to pieces of a few paragraphs, in order."""
    topics: dict[str, str] = importlib.import_module("pydoc_data.topics").topics
    pieces = {topic: _cut(_clean(text.replace("*", ""))) for topic, text in sorted(topics.items())}
    return {topic: [piece for piece in cut if len(piece) >= SHORTEST] for topic, cut in pieces.items()}


def _cut(text: str) -> list[str]:
    pieces = [""]
    for paragraph in text.split("\n\n"):
        if pieces[-1] and len(pieces[-1]) + len(paragraph) > LONGEST:
            pieces.append("")
        pieces[-1] = f"{pieces[-1]}\n\n{paragraph}".strip()
    return pieces


def _clean(text: str) -> str:
    """`text` without sessions, and without the hard line breaks inside paragraphs; lists stay as they are."""
    paragraphs = re.split(r"\n\s*\n", text.expandtabs().strip())
    return "\n\n".join(_reflow(each.rstrip()) for each in paragraphs if each.strip() and ">>>" not in each)


def _reflow(paragraph: str) -> str:
    lines = paragraph.splitlines()
    indents = {len(line) - len(line.lstrip()) for line in lines}
    marked = any(re.match(r"\s*([-*>.|+=#]|\d+[.)]|\w+\s*--?\s|[\w, ]+:\s)", line) for line in lines[1:])
    if len(indents) > 1 or marked:
        return paragraph
    return " ".join(line.strip() for line in lines)


def _shorten(text: str) -> str:
    """Whole paragraphs of `text` up to the longest length, at least one."""
    return _cut(_clean(text))[0]


def _describe(kind: Kind, name: str, signature: str, text: str | None) -> Iterator[Description]:
    if text is None:
        return
    short = _shorten(text)
    if SHORTEST <= len(short) <= 2 * LONGEST and short.count(" ") > 3:
        yield Description(kind=kind, name=name, signature=signature, text=short)


def _read_sources() -> Iterator[Description]:
    root = Path(sysconfig.get_path("stdlib"))
    for path in sorted(root.rglob("*.py")):
        parts = path.relative_to(root).with_suffix("").parts
        if SKIPPED_FOLDERS.isdisjoint(parts):
            module = ".".join(part for part in parts if part != "__init__")
            yield from _read_module(module, ast.parse(path.read_bytes()))


def _read_module(module: str, tree: ast.Module) -> Iterator[Description]:
    yield from _describe("module", module, "", ast.get_docstring(tree))
    yield from _read_members(module, tree)


def _read_members(owner: str, node: ast.Module | ast.ClassDef) -> Iterator[Description]:
    for child in node.body:
        if isinstance(child, ast.ClassDef):
            name = f"{owner}.{child.name}"
            yield from _describe("class", name, "", ast.get_docstring(child))
            yield from _read_members(name, child)
        elif isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
            signature = f"{child.name}({_list_arguments(child.args)})"
            yield from _describe("function", f"{owner}.{child.name}", signature, ast.get_docstring(child))


def _list_arguments(arguments: ast.arguments) -> str:
    named = [
        each.arg for each in (*arguments.posonlyargs, *arguments.args) if each.arg not in {"self", "cls"}
    ]
    if arguments.vararg:
        named.append(f"*{arguments.vararg.arg}")
    named += [each.arg for each in arguments.kwonlyargs]
    if arguments.kwarg:
        named.append(f"**{arguments.kwarg.arg}")
    return ", ".join(named)


def _read_builtins() -> Iterator[Description]:
    for name in sorted(set(sys.builtin_module_names) - SKIPPED_MODULES):
        module = importlib.import_module(name)
        yield from _describe("module", name, "", module.__doc__)
        prefix = "" if name == "builtins" else f"{name.removeprefix('_')}."
        yield from _ask_members(prefix, module)


def _ask_members(prefix: str, owner: ModuleType | type) -> Iterator[Description]:
    for name, member in sorted(vars(owner).items()):
        text = getattr(member, "__doc__", None)
        if name.startswith("__") or not isinstance(text, str):
            continue
        if isinstance(member, type):
            yield from _describe("class", prefix + name, "", text)
            yield from _ask_members(f"{prefix}{name}.", member) if isinstance(owner, ModuleType) else ()
        elif callable(member):
            arguments = getattr(member, "__text_signature__", None) or "()"
            arguments = re.sub(r"\(\$(self|module|type),? ?/?,? ?", "(", arguments)
            yield from _describe("function", prefix + name, name + arguments, text)
