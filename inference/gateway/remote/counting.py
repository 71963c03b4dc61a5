"""What a relayed call has used: as its server reports it, as far as what passed through us bears it out.

A server's report is the only exact count there is, as nobody has its tokenizer here; but it is a claim of whoever is
paid by it. Text tells how many tokens it can be: every tokenizer in use takes at least a byte for a token, and usually
more than one and a half. A report within the latter is billed as it is. One between the two (digits and rare
scripts come there) is billed, and its earnings are held. One beyond the former is no count of this text: our own
estimate is billed, and held too. So is a call whose answer we cut. Reasoning that is reported and not shown can
not be borne out, so its provider declares the most of it beforehand.

A report of fewer tokens than the text can be is none (servers send zeros ahead of the text), and one that came
before some of the text is added to by our estimate of the rest. The event then says that it is estimated.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

# For what nobody reports: about what texts of most languages have.
BYTES_PER_TOKEN = 4
# English, code and Chinese are between two and five. A report may be twice what this comes to.
USUAL_TOKEN_BYTES = 3
MARGIN = 2
# No vocabulary has longer ones throughout; runs of blanks come near.
LONGEST_TOKEN_BYTES = 128


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """What a call can use, by its request. Tokens of input: what it usually is, may be without question (`likely`), and
    is at least. `worst` is what is held, by meter. `unreturned` tokens of an answer leave no text (ends, a stop
    string); `hidden_reasoning` ones need not be shown. `text_bytes` is the most that an answer's text can be.
    """

    worst: Mapping[str, int]
    usual_input: int
    likely_input: int
    least_input: int
    unreturned: int = 0
    hidden_reasoning: int = 0
    text_bytes: int = 0


class Counted(NamedTuple):
    """Units by meter, never above the worst case, and how many of them are reasoning. `report` is what the server said
    where it needs a look: {"input", "output", "reasoning": tokens, "unseen": tokens billed and not shown, "cut", "held"}.
    """

    quantities: dict[str, int]
    reasoning: int = 0
    is_estimated: bool = False
    is_held: bool = False
    report: dict[str, Any] | None = None


@dataclass(slots=True)
class Count:
    """Of one call. `pieces` and bytes are of the answer's texts as far as they have come; `is_cut`: it was longer than
    it may be, and its end was not passed on.
    """

    pieces: int = 0
    text_bytes: int = 0
    reasoning_bytes: int = 0
    is_cut: bool = False
    reported: Mapping[str, Any] | None = None
    _pieces_then: int = 0
    _bytes_then: int = 0

    def add(self, text: str, reasoning: str = "") -> None:
        """A piece of text as the server sent it: one or more tokens."""
        if text:
            self.pieces += 1
            self.text_bytes += size_of(text)
        if reasoning:
            self.pieces += 1
            size = size_of(reasoning)
            self.text_bytes += size
            self.reasoning_bytes += size

    def note(self, usage: Any) -> None:
        """A `usage` object; the last one counts, since some servers send the sums so far with each piece."""
        if isinstance(usage, dict) and (_has(usage, "prompt_tokens") or _has(usage, "completion_tokens")):
            self.reported = usage
            self._pieces_then, self._bytes_then = self.pieces, self.text_bytes

    def settle(self, bounds: Bounds) -> Counted:
        """What is billed."""
        given = self.reported or {}
        said_input, said_output = _number(given.get("prompt_tokens")), _number(given.get("completion_tokens"))
        inputs = _judge(
            said_input, least=bounds.least_input, likely=bounds.likely_input,
            most=bounds.worst["input_tokens"], usual=bounds.usual_input,
        )  # fmt: skip
        units, is_estimated, is_held = inputs
        reasoning, unseen = 0, 0
        # A count that the request does not bear out says nothing of its parts either.
        cached = 0 if is_estimated else _detail(given, "prompt_tokens_details", "cached_tokens")
        quantities = {"input_tokens": units, "cached_tokens": min(cached, units)}
        if "output_tokens" in bounds.worst:
            reasoning, unseen = self._reasoning(given, bounds)
            units, guessed, doubtful = self._judge_output(said_output, unseen=unseen, bounds=bounds)
            quantities["output_tokens"] = units = min(units, bounds.worst["output_tokens"])
            reasoning = min(reasoning, units)
            unseen = min(unseen, reasoning)
            is_estimated, is_held = is_estimated or guessed, is_held or doubtful
        is_held = is_held or self.is_cut
        report = None
        if is_held or unseen:
            report = {
                "input": said_input, "output": said_output, "unseen": unseen, "cut": self.is_cut, "held": is_held,
                "reasoning": _detail(given, "completion_tokens_details", "reasoning_tokens"),
            }  # fmt: skip
        return Counted(quantities, reasoning, is_estimated or self.is_cut, is_held, report)

    def _reasoning(self, given: Mapping[str, Any], bounds: Bounds) -> tuple[int, int]:
        """Of the answer's tokens: how many are reasoning, and how many of those were not shown."""
        said = _detail(given, "completion_tokens_details", "reasoning_tokens")
        if not said:
            return 0, 0
        unseen = min(max(0, said - self.reasoning_bytes), bounds.hidden_reasoning)
        return min(said, self.reasoning_bytes + unseen), unseen

    def _judge_output(self, said: int | None, *, unseen: int, bounds: Bounds) -> tuple[int, bool, bool]:
        more = self._estimate(self.pieces - self._pieces_then, self.text_bytes - self._bytes_then)
        beside = bounds.unreturned + unseen
        if not self.text_bytes and not unseen:
            # Whatever it was, its caller has nothing of it; and what puts nothing out is free.
            return 0, False, (said or 0) > beside
        return _judge(
            None if said is None else said + more,
            least=_up(self.text_bytes, LONGEST_TOKEN_BYTES),
            likely=MARGIN * _up(self.text_bytes, USUAL_TOKEN_BYTES) + beside, most=self.text_bytes + beside,
            usual=self._estimate(self.pieces, self.text_bytes) + unseen, is_partial=more > 0,
        )  # fmt: skip

    @staticmethod
    def _estimate(pieces: int, text_bytes: int) -> int:
        """Tokens of so much text. Servers send a piece for each token, or several tokens in one; not several pieces."""
        likely = MARGIN * _up(text_bytes, USUAL_TOKEN_BYTES)
        return min(max(pieces, _up(text_bytes, BYTES_PER_TOKEN)), likely)


def _judge(
    said: int | None, *, least: int, likely: int, most: int, usual: int, is_partial: bool = False
) -> tuple[int, bool, bool]:
    """Units, whether they are estimated, and whether what was said is doubtful."""
    if said is None or said < least:
        return usual, True, False
    if said > most:
        return usual, True, True
    return said, is_partial, said > likely


def size_of(text: str) -> int:
    """In bytes of UTF-8."""
    return len(text) if text.isascii() else len(text.encode())


def _up(size: int, by: int) -> int:
    return -(-size // by)


def _detail(given: Mapping[str, Any], group: str, name: str) -> int:
    details = given.get(group)
    return (_number(details.get(name)) or 0) if isinstance(details, dict) else 0


def _has(usage: Mapping[str, Any], name: str) -> bool:
    return _number(usage.get(name)) is not None


def _number(value: Any) -> int | None:
    return value if type(value) is int and 0 <= value < 2**53 else None
