"""Vectors as a server sends them, in the order of the inputs, as little-endian float32."""

import base64
import binascii
import math
from array import array
from typing import Any


def read(items: Any, *, expected: int, dimensions: int | None) -> list[bytes]:
    """One vector for each input, all of one length (that of `dimensions`, where it is given) and of finite numbers.

    Raises `ValueError` for all else.
    """
    if not isinstance(items, list) or len(items) != expected:
        raise ValueError("not as many vectors as inputs")
    try:
        places = {item["index"]: item["embedding"] for item in items}
        vectors = [_vector(places[index]) for index in range(expected)]
    except (KeyError, TypeError, OverflowError, binascii.Error) as error:
        raise ValueError("no vectors") from error
    sizes = {len(vector) for vector in vectors}
    if len(sizes) > 1 or (dimensions is not None and sizes != {4 * dimensions}):
        raise ValueError("vectors of another length")
    return vectors


def _vector(value: Any) -> bytes:
    if isinstance(value, str):
        packed = base64.b64decode(value, validate=True)
        if len(packed) % 4:
            raise ValueError("no vector of float32")
        numbers = array("f", packed)
    elif isinstance(value, list):
        numbers = array("f", value)
    else:
        raise ValueError("no vector")
    # A sum is finite only if all are; it may overflow float32, but not the double that it is.
    if not numbers or not math.isfinite(sum(numbers)):
        raise ValueError("a vector without numbers, or with infinite ones")
    return numbers.tobytes()
