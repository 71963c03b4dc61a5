"""What a relayed call has used: as its server reports it, else as counted here.

A server's zero is a zero; only what it leaves out is counted, and the event then says that it is estimated.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

# For answers that come in one piece: about what texts of most languages have.
BYTES_PER_TOKEN = 4


@dataclass(slots=True)
class Count:
    """Of one call. `pieces` and `text_bytes` are of the answer as far as it has come."""

    pieces: int = 0
    text_bytes: int = 0
    reported: Mapping[str, Any] | None = None

    def add(self, text: str) -> None:
        """A piece of text as the server sent it: one or more tokens."""
        if text:
            self.pieces += 1
            self.text_bytes += len(text) if text.isascii() else len(text.encode())

    def note(self, usage: Any) -> None:
        """A `usage` object; the last one counts, since some servers send the sums so far with each piece."""
        if isinstance(usage, dict):
            self.reported = usage

    def quantities(self, worst: Mapping[str, int], *, usual_input: int) -> tuple[dict[str, int], bool]:
        """Units by meter, never above the worst case, and whether any of them is estimated."""
        given = self.reported or {}
        found = {"input_tokens": _number(given.get("prompt_tokens"))}
        if "output_tokens" in worst:
            found["output_tokens"] = _number(given.get("completion_tokens"))
        is_estimated = None in found.values()
        guesses = {"input_tokens": usual_input, "output_tokens": self.estimate()}
        counted = {
            meter: min(guesses[meter] if units is None else units, worst[meter])
            for meter, units in found.items()
        }
        details = given.get("prompt_tokens_details")
        cached = _number(details.get("cached_tokens")) if isinstance(details, dict) else 0
        counted["cached_tokens"] = min(cached or 0, counted["input_tokens"])
        return counted, is_estimated

    def estimate(self) -> int:
        """Tokens of the answer so far. Servers send a piece for each token, or several tokens in one."""
        return max(self.pieces, -(-self.text_bytes // BYTES_PER_TOKEN))


def _number(value: Any) -> int | None:
    return value if type(value) is int and 0 <= value < 2**53 else None
