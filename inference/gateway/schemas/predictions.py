"""The body of POST /v1/predictions: tasks for which OpenAI has no shape."""

import base64
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, model_validator

from inference.gateway.errors import InvalidRequest
from inference.gateway.schemas.parsing import RequestBody, invalid
from inference.gateway.schemas.sampling import Name

ITEM_LIMIT = 64
IMAGE_LIMIT_BYTES = 8 * 2**20


class PredictionRequest(RequestBody):
    """`version` and `model` both take `owner/slug` or `owner/slug:number`; `input` depends on the task.

    Webhooks are refused: there are none yet, and a caller who named one would wait for it.
    """

    harmless = {"webhook": (), "webhook_events_filter": ([],), "stream": (False,)}

    model: Name | None = None
    version: Name | None = None
    input: Annotated[dict[str, Any], Field(min_length=1)]

    @model_validator(mode="after")
    def _names_one_model(self) -> "PredictionRequest":
        if (self.model is None) == (self.version is None):
            reason = "Name the model once, as 'model' or as 'version'."
            raise invalid(reason, param="model")
        return self

    @property
    def name(self) -> str:
        return self.model or self.version or ""


def _listed(value: Any) -> Any:
    """Of one or several strings, all of them."""
    items = [value] if isinstance(value, str) else value
    if not isinstance(items, list) or not all(isinstance(item, str) and item for item in items):
        raise invalid("Expected a string or an array of strings, none of them empty.")
    if not 1 <= len(items) <= ITEM_LIMIT:
        raise invalid(f"Expected 1 to {ITEM_LIMIT} items, but got {len(items)}.")
    return value


OneOrSeveral = Annotated[str | list[str], BeforeValidator(_listed)]


class TextInput(RequestBody):
    """Input of text classification: `text` is one string or several; `top_k` bounds the labels reported."""

    text: OneOrSeveral
    top_k: Annotated[int, Field(ge=1, le=1000)] | None = None

    def items(self) -> list[str]:
        return [self.text] if isinstance(self.text, str) else self.text


class ImageInput(RequestBody):
    """Input of image classification: base64 or a data URL, one or several."""

    image: OneOrSeveral
    top_k: Annotated[int, Field(ge=1, le=1000)] | None = None

    def items(self) -> list[bytes]:
        """The encoded images (PNG, JPEG, ...), as bytes. Raises `InvalidRequest`."""
        images = [self.image] if isinstance(self.image, str) else self.image
        return [_decode(image) for image in images]


def _decode(text: str) -> bytes:
    text = text.strip()
    head, comma, tail = text.partition(",")
    if comma and not (head.startswith("data:") and head.endswith(";base64")):
        raise InvalidRequest("An image must be base64 or a data URL in base64.", param="input.image")
    encoded = tail if comma else text
    if text.startswith(("http://", "https://")):
        raise InvalidRequest(
            "Images are not fetched from URLs; send the bytes as base64.", param="input.image"
        )
    # Many encoders break lines, each with its own width and ending.
    encoded = "".join(encoded.split())
    if len(encoded) > IMAGE_LIMIT_BYTES * 4 // 3 + 4:
        raise InvalidRequest(f"An image may have at most {IMAGE_LIMIT_BYTES} bytes.", param="input.image")
    try:
        return base64.b64decode(encoded, validate=True)
    except ValueError:  # among them binascii.Error
        raise InvalidRequest("The image is not valid base64.", param="input.image") from None
