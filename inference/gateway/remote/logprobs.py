"""Log-probabilities as servers send them, for the shapes that ours have: no more of them than was asked for."""

import math
from collections.abc import Iterator
from typing import Any

# No token is longer, in characters or bytes.
_LONGEST = 1024


def read(found: Any, *, is_chat: bool, alternatives: int) -> Iterator[dict[str, Any]]:
    """An entry for each token, with at most so many alternatives. Raises `ValueError` for what are none."""
    try:
        yield from _of_chat(found, alternatives) if is_chat else _of_completion(found, alternatives)
    except (KeyError, TypeError, AttributeError, IndexError, OverflowError) as error:
        raise ValueError("no log-probabilities") from error


def _of_chat(found: dict[str, Any], alternatives: int) -> Iterator[dict[str, Any]]:
    for entry in found.get("content") or ():
        others = (entry.get("top_logprobs") or [])[:alternatives]
        yield _token(entry) | {"top": [_token(other) for other in others]}


def _of_completion(found: dict[str, Any], alternatives: int) -> Iterator[dict[str, Any]]:
    tops = found.get("top_logprobs") or [None] * len(found["tokens"])
    for token, logprob, top in zip(found["tokens"], found["token_logprobs"], tops, strict=True):
        others = list((top or {}).items())[:alternatives]
        yield _token({"token": token, "logprob": logprob}) | {
            "top": [_token({"token": other, "logprob": value}) for other, value in others]
        }


def _token(entry: dict[str, Any]) -> dict[str, Any]:
    token, logprob = entry["token"], entry["logprob"]
    if not isinstance(token, str) or len(token) > _LONGEST or type(logprob) not in (int, float):
        raise ValueError("no token with its logarithm")
    return {"token": token, "logprob": _finite(logprob), "bytes": _bytes(entry.get("bytes"), token)}


def _bytes(given: Any, token: str) -> bytes:
    # A number here would make as many zeros.
    if isinstance(given, list) and 0 < len(given) <= _LONGEST:
        return bytes(given)
    return token.encode()


def _finite(logprob: float) -> float:
    """Of an impossible token OpenAI says -9999; JSON has no infinity."""
    return float(logprob) if math.isfinite(logprob) else -9999.0
