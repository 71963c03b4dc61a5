"""What a provider's server sends back, read into what the gateway's own shapes are made of.

Nothing of it is passed on as it came: texts, log-probabilities, finish reasons and vectors are taken out, and
names, ids and all other fields are ours.
"""

import base64
import binascii
from array import array
from collections.abc import Iterator
from typing import Any

import orjson

from inference.gateway.call import Call
from inference.gateway.remote.counting import Count
from inference.remote.faults import UpstreamFault

MOST_EVENT_BYTES = 2 * 2**20
_FINISH_REASONS = frozenset({"stop", "length", "content_filter"})
_DONE = b"[DONE]"


class Stream:
    """Server-sent events of a generation, fed in whatever pieces they arrive."""

    def __init__(self, call: Call, count: Count, *, is_chat: bool) -> None:
        self.finish_reason = ""
        self.is_done = False
        self._call = call
        self._count = count
        self._is_chat = is_chat
        self._rest = b""

    @property
    def is_whole(self) -> bool:
        """Whether all of the answer has come; usage may not have."""
        return bool(self.finish_reason)

    def feed(self, data: bytes) -> None:
        """Give the call what is new. Raises `UpstreamFault` for an error event and for what is no event."""
        lines = (self._rest + data).split(b"\n")
        self._rest = lines.pop()
        if len(self._rest) > MOST_EVENT_BYTES:
            raise UpstreamFault("broken", f"An event of the answer is longer than {MOST_EVENT_BYTES} bytes.")
        texts: list[str] = []
        logprobs: list[dict[str, Any]] = []
        for line in lines:
            if line.startswith(b"data:"):
                self._read(line[5:].strip(), texts, logprobs)
        if texts:
            self._call.add("".join(texts), logprobs or None)

    def _read(self, data: bytes, texts: list[str], logprobs: list[dict[str, Any]]) -> None:
        if data == _DONE:
            self.is_done = True
            return
        if self.is_done or not data:
            return
        event = _parse(data)
        if event.get("error") is not None or event.get("object") == "error":
            raise UpstreamFault("failing", "The server broke its answer off with an error.")
        self._count.note(event.get("usage"))
        choice = _first_choice(event)
        if choice is None:
            return
        text = _delta(choice) if self._is_chat else choice.get("text")
        if isinstance(text, str) and text:
            self._count.add(text)
            texts.append(text)
            if choice.get("logprobs"):
                logprobs.extend(_logprobs(choice["logprobs"], is_chat=self._is_chat))
        if choice.get("finish_reason"):
            self.finish_reason = _finish_reason(choice["finish_reason"])


def read_whole(data: bytes, call: Call, count: Count, *, is_chat: bool) -> str:
    """A generation in one piece: gives its text to the call and answers its finish reason."""
    answer = _parse(data)
    choice = _first_choice(answer)
    if choice is None:
        raise _unexpected()
    message = choice.get("message") if is_chat else choice
    text = message.get("content" if is_chat else "text") if isinstance(message, dict) else None
    if text is not None and not isinstance(text, str):
        raise _unexpected()
    count.add(text or "")
    count.note(answer.get("usage"))
    logprobs = list(_logprobs(choice["logprobs"], is_chat=is_chat)) if choice.get("logprobs") else None
    call.add(text or "", logprobs)
    return _finish_reason(choice.get("finish_reason"))


def read_embeddings(data: bytes, count: Count, *, expected: int) -> list[bytes]:
    """Vectors in the order of the inputs, as little-endian float32."""
    answer = _parse(data)
    count.note(answer.get("usage"))
    items = answer.get("data")
    if not isinstance(items, list) or len(items) != expected:
        raise _unexpected()
    try:
        ordered = sorted(items, key=lambda item: item["index"])
        return [_vector(item["embedding"]) for item in ordered]
    except (KeyError, TypeError, ValueError, OverflowError, binascii.Error):
        raise _unexpected() from None


def _vector(value: Any) -> bytes:
    if isinstance(value, str):
        packed = base64.b64decode(value, validate=True)
        if not packed or len(packed) % 4:
            raise ValueError("no vector of float32")
        return packed
    if not isinstance(value, list) or not value:
        raise ValueError("no vector")
    return array("f", value).tobytes()


def _parse(data: bytes) -> dict[str, Any]:
    try:
        found = orjson.loads(data)
    except orjson.JSONDecodeError:
        raise _unexpected() from None
    if not isinstance(found, dict):
        raise _unexpected()
    return found


def _first_choice(answer: dict[str, Any]) -> dict[str, Any] | None:
    choices = answer.get("choices")
    if isinstance(choices, list) and choices and isinstance(choices[0], dict):
        return choices[0]
    return None


def _delta(choice: dict[str, Any]) -> Any:
    delta = choice.get("delta")
    return delta.get("content") if isinstance(delta, dict) else None


def _finish_reason(value: Any) -> str:
    return value if isinstance(value, str) and value in _FINISH_REASONS else "stop"


def _logprobs(found: Any, *, is_chat: bool) -> Iterator[dict[str, Any]]:
    try:
        yield from _of_chat(found) if is_chat else _of_completion(found)
    except (KeyError, TypeError, ValueError, AttributeError, IndexError):
        raise _unexpected() from None


def _of_chat(found: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for entry in found.get("content") or ():
        yield _token(entry) | {"top": [_token(other) for other in entry.get("top_logprobs") or ()]}


def _token(entry: dict[str, Any]) -> dict[str, Any]:
    token = str(entry["token"])
    given = entry.get("bytes")
    return {"token": token, "logprob": float(entry["logprob"]), "bytes": bytes(given or token.encode())}


def _of_completion(found: dict[str, Any]) -> Iterator[dict[str, Any]]:
    tops = found.get("top_logprobs") or [None] * len(found["tokens"])
    for token, logprob, top in zip(found["tokens"], found["token_logprobs"], tops, strict=True):
        yield _token({"token": token, "logprob": logprob}) | {
            "top": [_token({"token": other, "logprob": value}) for other, value in (top or {}).items()]
        }


def _unexpected() -> UpstreamFault:
    return UpstreamFault("broken", "The server's answer is not what OpenAI's protocol says.")
