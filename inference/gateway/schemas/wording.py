"""What is wrong with a body, in OpenAI's words: which parameter, what it is, what is allowed, and what to do."""

import difflib
from collections.abc import Callable, Sequence
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from inference.gateway.errors import InvalidRequest, UnsupportedParameter

UNSUPPORTED, TOLD = "unsupported_parameter", "told"

_EXPECTED = {
    "string_type": "a string", "float_type": "a decimal", "int_type": "an integer", "bool_type": "a boolean",
    "list_type": "an array", "dict_type": "an object", "model_type": "an object",
}  # fmt: skip
_JSON_NAMES = {
    str: "a string", bool: "a boolean", int: "an integer", float: "a decimal", list: "an array", dict: "an object",
    type(None): "null",
}  # fmt: skip
_BOUNDS = {
    "less_than_equal": ("above maximum", "<=", "le", "above_max"),
    "greater_than_equal": ("below minimum", ">=", "ge", "below_min"),
    "greater_than": ("below minimum", ">", "gt", "below_min"),
}
# Kind of error: the noun, what is wrong, the words for the bound, its name in pydantic's facts, the unit.
_LENGTHS = {
    "string_too_short": ("string", "too short", "minimum", "min_length", "character"),
    "string_too_long": ("string", "too long", "maximum", "max_length", "character"),
    "too_short": ("array", "too short", "minimum", "min_length", "item"),
    "too_long": ("array", "too long", "maximum", "max_length", "item"),
}
# What a caller sent is quoted, but a megabyte of it is no help.
_MOST_QUOTED, _MOST_NAMES = 60, 5


def explain(
    error: ValidationError, *, known: Sequence[str], at: str = ""
) -> InvalidRequest | UnsupportedParameter:
    """The first of what is wrong; unknown names first, all at once. `known` are those of the body's own level."""
    details = error.errors(include_url=False)
    unknown = [detail["loc"] for detail in details if detail["type"] == "extra_forbidden"]
    if unknown:
        return _name_unknown(unknown, known, at)
    detail = details[0]
    path = _join(at, _path(detail["loc"]), detail.get("ctx", {}).get("param", ""))
    return _WORDS.get(detail["type"], _word_other)(detail, path)


def name_type(value: Any) -> str:
    """What JSON calls it, with its article."""
    return _JSON_NAMES.get(type(value), "another type")


def quote(value: Any) -> str:
    """A value in a message: short, and of one line."""
    text = repr(value)
    return text if len(text) <= _MOST_QUOTED else f"{text[:_MOST_QUOTED]}..."


def _name_unknown(locs: list[tuple[int | str, ...]], known: Sequence[str], at: str) -> InvalidRequest:
    paths = [_join(at, _path(loc)) for loc in locs]
    listed = ", ".join(path[:_MOST_QUOTED] for path in paths[:_MOST_NAMES])
    more = f" and {len(paths) - _MOST_NAMES} more" if len(paths) > _MOST_NAMES else ""
    hint = suggest(str(locs[0][-1]), known) if len(locs[0]) == 1 else ""
    reason = f"Unrecognized request argument{'s' if len(paths) > 1 else ''} supplied: {listed}{more}{hint}"
    return InvalidRequest(reason, param=paths[0][:200], code="unknown_parameter")


def suggest(name: str, known: Sequence[str]) -> str:
    """`. Did you mean 'x'?`, or nothing."""
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.7) if len(name) <= _MOST_QUOTED else []
    return f". Did you mean '{near[0]}'?" if near else ""


def _word_missing(_: ErrorDetails, path: str) -> InvalidRequest:
    return InvalidRequest(
        f"Missing required parameter: '{path}'.", param=path, code="missing_required_parameter"
    )


def _word_unsupported(detail: ErrorDetails, path: str) -> UnsupportedParameter:
    return UnsupportedParameter(path, reason=f"Unsupported value for '{path}': {detail['ctx']['reason']}")


def _word_told(detail: ErrorDetails, path: str) -> InvalidRequest:
    return InvalidRequest(f"Invalid value for '{path}': {detail['ctx']['reason']}", param=path)


def _word_type(detail: ErrorDetails, path: str) -> InvalidRequest:
    got = name_type(detail["input"])
    reason = f"Invalid type for '{path}': expected {_EXPECTED[detail['type']]}, but got {got} instead."
    return InvalidRequest(reason, param=path, code="invalid_type")


def _word_choice(detail: ErrorDetails, path: str) -> InvalidRequest:
    allowed = detail["ctx"]["expected"]
    reason = f"Invalid value for '{path}': {quote(detail['input'])}. Supported values are: {allowed}."
    return InvalidRequest(reason, param=path)


def _word_bound(detail: ErrorDetails, path: str) -> InvalidRequest:
    words, sign, bound, code = _BOUNDS[detail["type"]]
    noun = "integer" if isinstance(detail["input"], int) else "decimal"
    limit = detail["ctx"][bound]
    shown = limit if isinstance(limit, int) else f"{limit:g}"
    got = quote(detail["input"])
    reason = (
        f"Invalid '{path}': {noun} {words} value. Expected a value {sign} {shown}, but got {got} instead."
    )
    return InvalidRequest(reason, param=path, code=f"{noun}_{code}_value")


def _word_length(detail: ErrorDetails, path: str) -> InvalidRequest:
    noun, wrong, bound, name, unit = _LENGTHS[detail["type"]]
    limit, length = detail["ctx"][name], len(detail["input"])
    reason = (
        f"Invalid '{path}': {noun} {wrong}. Expected {bound} {limit} {unit}{'' if limit == 1 else 's'}, "
        f"but got {length}."
    )
    return InvalidRequest(reason, param=path)


def _word_other(detail: ErrorDetails, path: str) -> InvalidRequest:
    said = detail["msg"].removeprefix("Value error, ").removesuffix(".")
    return InvalidRequest(f"Invalid value for '{path}': {said}.", param=path or None)


_WORDS: dict[str, Callable[[ErrorDetails, str], InvalidRequest | UnsupportedParameter]] = {
    "missing": _word_missing, UNSUPPORTED: _word_unsupported, TOLD: _word_told, "literal_error": _word_choice,
    **dict.fromkeys(_EXPECTED, _word_type), **dict.fromkeys(_BOUNDS, _word_bound),
    **dict.fromkeys(_LENGTHS, _word_length),
}  # fmt: skip


def _path(loc: tuple[int | str, ...]) -> str:
    """`messages[0].content` for ("messages", 0, "content")."""
    path = ""
    for part in loc:
        path = f"{path}[{part}]" if isinstance(part, int) else _join(path, part)
    return path


def _join(*parts: str) -> str:
    path = ""
    for part in filter(None, parts):
        path += part if not path or part.startswith("[") else f".{part}"
    return path
