"""Shapes of legacy completions, whole and in chunks."""

import time
from typing import Any

from inference.gateway.call import Call, Ending, Piece
from inference.gateway.responses import logprobs, usage
from inference.gateway.responses.chat import finish_reason


class CompletionShape:
    """Shapes one call's answer. `echo` is the prompt's text where the caller wants it back."""

    def __init__(self, call: Call, *, model: str, with_logprobs: bool, with_usage: bool, echo: str) -> None:
        self._call = call
        self._with_logprobs = with_logprobs
        self._with_usage = with_usage
        self._echo = echo
        self._offset = len(echo)
        self._head = {
            "id": f"cmpl-{call.code}", "object": "text_completion", "created": int(time.time()),
            "model": model, "system_fingerprint": f"v_{call.version[-12:]}",
        }  # fmt: skip

    def whole(self, ending: Ending) -> dict[str, Any]:
        piece = self._call.fetch() or Piece()
        choice = self._choice(self._echo + piece.text, piece, finish_reason=finish_reason(ending))
        return {**self._head, "choices": [choice], "usage": usage.of_generation(self._call, ending)}

    def first(self) -> list[dict[str, Any]]:
        return [self._chunk(self._choice(self._echo, Piece()))] if self._echo else []

    def piece(self, piece: Piece) -> dict[str, Any]:
        return self._chunk(self._choice(piece.text, piece))

    def last(self, ending: Ending) -> list[dict[str, Any]]:
        chunks = [self._chunk(self._choice("", Piece(), finish_reason=finish_reason(ending)))]
        if self._with_usage:
            chunks.append({**self._head, "choices": [], "usage": usage.of_generation(self._call, ending)})
        return chunks

    def _choice(self, text: str, piece: Piece, *, finish_reason: str | None = None) -> dict[str, Any]:
        logprobs = self._logprobs(piece) if self._with_logprobs and piece.logprobs else None
        return {"text": text, "index": 0, "logprobs": logprobs, "finish_reason": finish_reason}

    def _chunk(self, choice: dict[str, Any]) -> dict[str, Any]:
        return {**self._head, "choices": [choice], **({"usage": None} if self._with_usage else {})}

    def _logprobs(self, piece: Piece) -> dict[str, Any]:
        found, self._offset = logprobs.of_completion(
            piece.logprobs, start=self._offset, echoed=len(self._echo)
        )
        return found
