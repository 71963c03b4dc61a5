"""The body of POST /v1/embeddings."""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field
from pydantic_core import PydanticCustomError

from inference.gateway.schemas.parsing import RequestBody
from inference.gateway.schemas.sampling import Name

INPUT_LIMIT = 2048


def _is_tokens(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(type(item) is int and item >= 0 for item in value)


def _listed(value: Any) -> Any:
    """Always a list of inputs, each a non-empty string or a non-empty list of token ids."""
    items = [value] if isinstance(value, str) or _is_tokens(value) else value
    if not isinstance(items, list) or not items:
        raise PydanticCustomError("input", "expected a string, an array of strings or arrays of token ids")
    if len(items) > INPUT_LIMIT:
        raise PydanticCustomError("input", "at most {limit} inputs fit into one call", {"limit": INPUT_LIMIT})
    for item in items:
        if not (isinstance(item, str) and item) and not _is_tokens(item):
            raise PydanticCustomError("input", "every input must be a non-empty string or array of token ids")
    return items


class EmbeddingRequest(RequestBody):
    """`dimensions` is the length to cut vectors to; the version knows which ones it was trained for."""

    model: Name
    input: Annotated[list[str | list[int]], BeforeValidator(_listed)]
    dimensions: Annotated[int, Field(ge=1)] | None = None
    encoding_format: Literal["float", "base64"] | None = None
    user: str | None = None
