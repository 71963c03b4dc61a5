"""Shapes of chat completions, whole and in chunks."""

import time
from typing import Any

from inference.gateway.call import Call, Ending, Piece
from inference.gateway.responses import logprobs, usage


class ChatShape:
    """Shapes one call's answer. `model` is the name that the caller used."""

    def __init__(self, call: Call, *, model: str, with_logprobs: bool, with_usage: bool) -> None:
        self._call = call
        self._with_logprobs = with_logprobs
        self._with_usage = with_usage
        self._head = {
            "id": f"chatcmpl-{call.code}", "created": int(time.time()), "model": model,
            "service_tier": "default", "system_fingerprint": f"v_{call.version[-12:]}",
        }  # fmt: skip

    def whole(self, ending: Ending) -> dict[str, Any]:
        piece = self._call.fetch() or Piece()
        choice = {
            "index": 0,
            "message": {"role": "assistant", "content": piece.text, "refusal": None, "annotations": []}
            | _beside(piece),
            "logprobs": logprobs.of_chat(piece.logprobs) if self._with_logprobs else None,
            "finish_reason": finish_reason(ending),
        }
        return self._body("chat.completion", [choice], usage=usage.of_generation(self._call, ending))

    def first(self) -> list[dict[str, Any]]:
        return [self._chunk({"role": "assistant", "content": "", "refusal": None})]

    def piece(self, piece: Piece) -> dict[str, Any]:
        delta = {"content": piece.text} if piece.text or not piece.beside else {}
        return self._chunk(
            {**delta, **piece.beside},
            logprobs=logprobs.of_chat(piece.logprobs) if self._with_logprobs else None,
        )

    def last(self, ending: Ending) -> list[dict[str, Any]]:
        chunks = [self._chunk({}, finish_reason=finish_reason(ending))]
        if self._with_usage:
            counted = usage.of_generation(self._call, ending)
            chunks.append(self._body("chat.completion.chunk", [], usage=counted))
        return chunks

    def _chunk(
        self, delta: dict[str, Any], *, logprobs: Any = None, finish_reason: str | None = None
    ) -> dict[str, Any]:
        choice = {"index": 0, "delta": delta, "logprobs": logprobs, "finish_reason": finish_reason}
        # With include_usage every chunk has the field, and only the last one a value.
        return self._body("chat.completion.chunk", [choice], **({"usage": None} if self._with_usage else {}))

    def _body(self, kind: str, choices: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
        return {"object": kind, "choices": choices, **self._head, **more}


def finish_reason(ending: Ending) -> str:
    """OpenAI knows no "cancelled": a run that was stopped from outside was cut at its length."""
    return "length" if ending.finish_reason == "cancelled" else ending.finish_reason


def _beside(piece: Piece) -> dict[str, Any]:
    """What a message says beside its content; one that refuses has none."""
    return {**piece.beside, **({"content": None} if "refusal" in piece.beside and not piece.text else {})}
