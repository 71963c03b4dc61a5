"""From a JSON object to a request, with OpenAI's words for everything that is wrong."""

from collections.abc import Mapping
from typing import Any, ClassVar, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import ErrorDetails, PydanticCustomError

from inference.gateway.errors import InvalidRequest, UnsupportedParameter

UNSUPPORTED = "unsupported_parameter"

_WORDS = {
    "string_type": "a string", "float_type": "a decimal", "int_type": "an integer", "bool_type": "a boolean",
    "list_type": "an array", "dict_type": "an object", "model_type": "an object", "literal_error": "a known value",
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


class RequestBody(BaseModel):
    """The base of all bodies. `harmless` names parameters that we do not support, each with the values that
    change nothing and are therefore accepted (None always is).
    """

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, protected_namespaces=())
    harmless: ClassVar[Mapping[str, tuple[Any, ...]]] = {}


Body = TypeVar("Body", bound=RequestBody)


def parse(schema: type[Body], data: Any) -> Body:
    """The validated request. Raises `InvalidRequest` or `UnsupportedParameter`, with `param`."""
    if not isinstance(data, dict):
        raise InvalidRequest("The request body must be a JSON object.", code="invalid_type")
    kept = {name: value for name, value in data.items() if not _drops(schema, name, value)}
    try:
        return schema.model_validate(kept)
    except ValidationError as error:
        raise _translate(error) from None


def unsupported(reason: str) -> PydanticCustomError:
    """For validators: the value is OpenAI's, but we cannot honour it."""
    return PydanticCustomError(UNSUPPORTED, "{reason}", {"reason": reason})


def _drops(schema: type[RequestBody], name: str, value: Any) -> bool:
    """True for an unsupported parameter at a value that changes nothing; any other value is refused."""
    if name not in schema.harmless:
        return False
    if value is not None and not any(
        value == same and type(value) is type(same) for same in schema.harmless[name]
    ):
        raise UnsupportedParameter(name)
    return True


def _translate(error: ValidationError) -> InvalidRequest | UnsupportedParameter:
    details = error.errors(include_url=False)
    unknown = [_path(detail["loc"]) for detail in details if detail["type"] == "extra_forbidden"]
    if unknown:
        return _unrecognised(unknown)
    return _worded(details[0])


def _unrecognised(names: list[str]) -> InvalidRequest:
    plural = "s" if len(names) > 1 else ""
    listed = ", ".join(names)
    reason = f"Unrecognized request argument{plural} supplied: {listed}"
    return InvalidRequest(reason, param=names[0], code="unknown_parameter")


def _worded(detail: ErrorDetails) -> InvalidRequest | UnsupportedParameter:
    kind, path, given = detail["type"], _path(detail["loc"]), detail["input"]
    if kind == "missing":
        reason = f"Missing required parameter: '{path}'."
        return InvalidRequest(reason, param=path, code="missing_required_parameter")
    if kind == UNSUPPORTED:
        return UnsupportedParameter(path or None, reason=detail["msg"])
    if kind in _BOUNDS:
        return _out_of_range(detail, path)
    if kind in _WORDS and kind != "literal_error":
        got = _JSON_NAMES.get(type(given), "another type")
        reason = f"Invalid type for '{path}': expected {_WORDS[kind]}, but got {got} instead."
        return InvalidRequest(reason, param=path, code="invalid_type")
    reason = f"Invalid value for '{path}': {detail['msg'].removeprefix('Value error, ')}."
    return InvalidRequest(reason.replace("..", "."), param=path or None)


def _out_of_range(detail: ErrorDetails, path: str) -> InvalidRequest:
    words, sign, bound, code = _BOUNDS[detail["type"]]
    noun = "integer" if isinstance(detail["input"], int) else "decimal"
    limit = f"{detail.get('ctx', {})[bound]:g}"
    reason = f"Invalid '{path}': {noun} {words} value. Expected a value {sign} {limit}, but got {detail['input']} instead."
    return InvalidRequest(reason, param=path, code=f"{noun}_{code}_value")


def _path(loc: tuple[int | str, ...]) -> str:
    """`messages[0].content` for ("messages", 0, "content")."""
    path = ""
    for part in loc:
        path += f"[{part}]" if isinstance(part, int) else f".{part}" if path else part
    return path
