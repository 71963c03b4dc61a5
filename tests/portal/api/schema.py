"""The control API as it describes itself: its operations, bodies that fit them, and bodies that do not."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

from drf_spectacular.generators import SchemaGenerator

LEFT_OUT = object()
WRONG: list[Any] = [
    LEFT_OUT, None, "", " ", "x" * 300_000, "a\0b", "\ud800", "2030-13-45T99:99:99Z", 0, -1, 10**30, 1.5, 1e308, True,
    [], [None], [[]], ["x" * 5000], {}, {"a": {"b": 1}},
]  # fmt: skip
# What fits where the type alone does not say it.
FITTING = {
    "sha256": "0" * 64, "listing": "acme/taken", "plan": "mixed", "base_url": "https://models.example.com/v1",
    "task": "text-generation", "meter": "output_tokens", "email": "outsider@example.com", "reason": "because",
    "budget_currency": "USD", "expires_at": "2100-01-01T00:00:00Z",
}  # fmt: skip


@dataclass(frozen=True)
class Operation:
    """One method of one path, with what its body and its query string may be."""

    method: str
    path: str
    body: dict[str, Any] | None
    parameters: tuple[dict[str, Any], ...]

    def __str__(self) -> str:
        return f"{self.method} {self.path}"

    def url(self, arguments: dict[str, Any]) -> str:
        special = {"slug": "acme"} if self.path.startswith("/api/organisations/") else {}
        values = {"id": arguments["pk"], **arguments, **special}
        return re.sub(r"{(\w+)}", lambda found: str(values[found[1]]), self.path)


@cache
def operations() -> list[Operation]:
    return list(_read())


def _read() -> Iterator[Operation]:
    described: Any = SchemaGenerator().get_schema(public=True)  # type: ignore[no-untyped-call]
    shapes = described["components"]["schemas"]
    for path, methods in described["paths"].items():
        for method, operation in methods.items():
            content = operation.get("requestBody", {}).get("content", {}).get("application/json", {})
            body = _resolve(content["schema"], shapes) if content else None
            parameters = tuple(each for each in operation.get("parameters", ()) if each["in"] == "query")
            yield Operation(method.upper(), path, body, parameters)


def _resolve(shape: dict[str, Any], shapes: dict[str, Any]) -> dict[str, Any]:
    if "$ref" in shape:
        return _resolve(shapes[shape["$ref"].rpartition("/")[2]], shapes)
    for choice in ("allOf", "oneOf", "anyOf"):
        if choice in shape:
            return _resolve(shape[choice][0], shapes) | {k: v for k, v in shape.items() if k != choice}
    resolved = dict(shape)
    if "properties" in shape:
        resolved["properties"] = {
            name: _resolve(each, shapes)
            for name, each in shape["properties"].items()
            if not each.get("readOnly")
        }
    if "items" in shape:
        resolved["items"] = _resolve(shape["items"], shapes)
    return resolved


def fitting(shape: dict[str, Any], name: str = "") -> Any:
    """A value that an operation takes."""
    if name in FITTING:
        return FITTING[name]
    if "mixed" in shape.get("enum", ()):
        return "mixed"
    if "enum" in shape:
        return shape["enum"][0]
    if shape.get("type") == "object" or "properties" in shape:
        return {key: fitting(each, key) for key, each in shape.get("properties", {}).items()}
    if shape.get("type") == "array":
        return [fitting(shape["items"])]
    return {"integer": max(1, shape.get("minimum", 1)), "boolean": False}.get(
        shape.get("type", ""), "some-text"[: shape.get("maxLength")]
    )


def spoilt(shape: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """Bodies with one thing wrong at a time, and the name of what is."""
    whole = fitting(shape)
    yield from _spoilt(whole, lambda part: part)


def _spoilt(value: Any, put: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        for name, inner in value.items():
            rest = {key: each for key, each in value.items() if key != name}
            for wrong in WRONG:
                yield name, put(rest if wrong is LEFT_OUT else rest | {name: wrong})
            yield from _spoilt(inner, lambda part, name=name, rest=rest: put(rest | {name: part}))
        yield "unknown_field", put(value | {"unknown_field": 1})
    elif isinstance(value, list) and value:
        yield from _spoilt(value[0], lambda part: put([part]))
