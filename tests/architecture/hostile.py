"""Every place that takes text apart, and what each one reads: found in the code, so that a new one is noticed."""

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGES = ("portal", "marketplace", "billing", "inference")
_CALLS = {
    "re": {"compile", "match", "search", "fullmatch", "sub", "split", "findall", "finditer"},
    "json": {"load", "loads"}, "orjson": {"loads"}, "yaml": {"load", "parse", "safe_load"}, "ast": {"literal_eval"},
    "datetime": {"fromisoformat", "strptime"}, "comrak": {"render_markdown"}, "nh3": {"clean"}, "csv": {"reader"},
    "Tokenizer": {"from_file", "from_str"}, "environment": {"from_string"},
}  # fmt: skip
_NAMES = {
    "Decimal",
    "urlsplit",
    "parse_qs",
    "SlugField",
    "RegexField",
    "RegexValidator",
    "slugify",
    "ip_network",
}


def parsers() -> Iterator[str]:
    """`module: construct` of each place in the code, in order."""
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            if "migrations" in path.parts or "training" in path.parts or "demo" in path.parts:
                continue
            module = ".".join(path.relative_to(ROOT).with_suffix("").parts)
            yield from sorted({f"{module}: {found}" for found in _constructs(path)})


def _constructs(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if not isinstance(node, ast.Call):
            continue
        called = node.func
        if isinstance(called, ast.Attribute) and isinstance(called.value, ast.Name):
            if called.attr in _CALLS.get(called.value.id, ()):
                yield f"{called.value.id}.{called.attr}"
            elif called.attr in _NAMES:
                yield called.attr
        elif isinstance(called, ast.Name) and called.id in _NAMES:
            yield called.id
