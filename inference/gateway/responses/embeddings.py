"""The shape of embeddings."""

import base64
from array import array
from typing import Any

from inference.gateway.call import Call, Ending
from inference.gateway.responses import usage


def whole(call: Call, ending: Ending, *, model: str, encoding_format: str) -> dict[str, Any]:
    """Vectors come from the engine as little-endian float32 bytes, which is OpenAI's base64 form already."""
    shape = _as_base64 if encoding_format == "base64" else _as_floats
    data = [
        {"object": "embedding", "index": index, "embedding": shape(vector)}
        for index, vector in enumerate(ending.output["embeddings"])
    ]
    return {"object": "list", "data": data, "model": model, "usage": usage.of_embeddings(call, ending)}


def _as_base64(vector: bytes) -> str:
    return base64.b64encode(vector).decode()


def _as_floats(vector: bytes) -> list[float]:
    values = array("f")
    values.frombytes(vector)
    return values.tolist()
