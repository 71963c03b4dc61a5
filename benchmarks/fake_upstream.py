"""An OpenAI-compatible server that answers 16 tokens at once: what gateways are put in front of."""

import json
from typing import Any

_HEAD = {"id": "chatcmpl-1", "created": 1_700_000_000, "model": "fake"}
_USAGE = {"prompt_tokens": 12, "completion_tokens": 16, "total_tokens": 28}
_MESSAGE = {"role": "assistant", "content": "tok " * 16}
WHOLE = json.dumps(
    _HEAD
    | {
        "object": "chat.completion", "usage": _USAGE,
        "choices": [{"index": 0, "message": _MESSAGE, "finish_reason": "length"}],
    }
).encode()  # fmt: skip


def _event(choices: list[Any], **more: Any) -> bytes:
    chunk = _HEAD | {"object": "chat.completion.chunk", "choices": choices} | more
    return b"data: " + json.dumps(chunk).encode() + b"\n\n"


EVENTS = [
    *(_event([{"index": 0, "delta": {"content": "tok "}, "finish_reason": None}]) for _ in range(16)),
    _event([{"index": 0, "delta": {}, "finish_reason": "length"}]),
    _event([], usage=_USAGE),
    b"data: [DONE]\n\n",
]


async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """ASGI; streams where the body asks for it."""
    if scope["type"] != "http":
        return
    body, more = b"", True
    while more:
        message = await receive()
        body, more = body + message.get("body", b""), message.get("more_body", False)
    streamed = json.loads(body or b"{}").get("stream", False)
    kind = b"text/event-stream" if streamed else b"application/json"
    length = [] if streamed else [(b"content-length", str(len(WHOLE)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", kind), *length]})
    for event in EVENTS if streamed else [WHOLE]:
        await send({"type": "http.response.body", "body": event, "more_body": True})
    await send({"type": "http.response.body", "body": b""})
