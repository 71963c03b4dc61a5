"""From a JSON object to a request. What is wrong is told in `schemas.wording`."""

from collections.abc import Mapping
from typing import Any, ClassVar, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import PydanticCustomError

from inference.gateway.errors import InvalidRequest, UnsupportedParameter
from inference.gateway.schemas import wording


class RequestBody(BaseModel):
    """The base of all bodies. `harmless` names parameters that we do not support, each with the values that
    change nothing and are therefore accepted (None always is).
    """

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, protected_namespaces=())
    harmless: ClassVar[Mapping[str, tuple[Any, ...]]] = {}


Body = TypeVar("Body", bound=RequestBody)


def parse(schema: type[Body], data: Any, *, at: str = "") -> Body:
    """The validated request. `at` is where it lies in the body, such as `input`.

    Raises `InvalidRequest` or `UnsupportedParameter`, with `param`.
    """
    if not isinstance(data, dict):
        what = f"'{at}'" if at else "The request body"
        reason = f"{what} must be a JSON object, but is {wording.name_type(data)}."
        raise InvalidRequest(reason, param=at or None, code="invalid_type")
    if not schema.harmless.keys().isdisjoint(data):
        data = {name: value for name, value in data.items() if not _is_dropped(schema, name, value, at=at)}
    try:
        return schema.model_validate(data)
    except ValidationError as error:
        raise wording.explain(error, known=[*schema.model_fields, *schema.harmless], at=at) from None


def invalid(reason: str, *, param: str = "") -> PydanticCustomError:
    """For validators: what is wrong, as a whole sentence. `param` continues the path of what is validated."""
    return PydanticCustomError(wording.TOLD, "{reason}", {"reason": reason, "param": param})


def unsupported(reason: str, *, param: str = "") -> PydanticCustomError:
    """For validators: the value is OpenAI's, but we cannot honour it."""
    return PydanticCustomError(wording.UNSUPPORTED, "{reason}", {"reason": reason, "param": param})


def is_one_of(value: Any, neutral: tuple[Any, ...]) -> bool:
    """Whether a value changes nothing. True is not 1 here."""
    return value is None or any(value == each and type(value) is type(each) for each in neutral)


def _is_dropped(schema: type[RequestBody], name: str, value: Any, *, at: str) -> bool:
    """True for an unsupported parameter at a value that changes nothing; any other value is refused."""
    if name not in schema.harmless:
        return False
    if not is_one_of(value, schema.harmless[name]):
        raise UnsupportedParameter(f"{at}.{name}" if at else name)
    return True
