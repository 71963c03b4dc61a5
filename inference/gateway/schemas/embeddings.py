"""The body of POST /v1/embeddings."""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from inference.gateway.schemas.parsing import RequestBody, invalid
from inference.gateway.schemas.sampling import Name

INPUT_LIMIT = 2048


def _is_tokens(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(type(item) is int and item >= 0 for item in value)


def _listed(value: Any) -> Any:
    """Always a list of inputs, each a non-empty string or a non-empty list of token ids."""
    items = [value] if isinstance(value, str) or _is_tokens(value) else value
    if not isinstance(items, list) or not items:
        raise invalid("Expected a string, an array of strings or arrays of token ids, and at least one.")
    if len(items) > INPUT_LIMIT:
        raise invalid(f"At most {INPUT_LIMIT} inputs fit into one call, and these are {len(items)}.")
    for index, item in enumerate(items):
        if not (isinstance(item, str) and item) and not _is_tokens(item):
            reason = "Every input must be a string or an array of token ids, and none may be empty."
            raise invalid(reason, param=f"[{index}]")
    return items


class EmbeddingRequest(RequestBody):
    """`dimensions` is the length to cut vectors to; the version knows which ones it was trained for."""

    model: Name
    input: Annotated[list[str | list[int]], BeforeValidator(_listed)]
    dimensions: Annotated[int, Field(ge=1)] | None = None
    encoding_format: Literal["float", "base64"] | None = None
    user: str | None = None
