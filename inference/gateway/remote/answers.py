"""What a provider's server sends back, read into what the gateway's own shapes are made of.

Nothing of it is passed on as it came: texts, log-probabilities, finish reasons and vectors are taken out, and
names, ids and all other fields are ours. What is counted is what is passed on.
"""

from typing import Any

import orjson

from inference.gateway.call import Call
from inference.gateway.remote import limits, logprobs, vectors
from inference.gateway.remote.asking import RemoteWork
from inference.gateway.remote.counting import Count, size_of
from inference.remote import texts
from inference.remote.faults import UpstreamFault

MOST_EVENT_BYTES = 2 * 2**20
_FINISH_REASONS = frozenset({"stop", "length", "content_filter"})
_DONE = b"[DONE]"
_PLAIN = {"role", "content"}


class Reader:
    """Gathers what a server says, up to the longest text that its tokens can be; `give` passes it on."""

    def __init__(self, call: Call, count: Count, work: RemoteWork) -> None:
        self.finish_reason = ""
        self._call = call
        self._count = count
        self._work = work
        self._is_chat = work.kind == "chat"
        self._most_bytes = work.bounds.text_bytes
        self._texts: list[str] = []
        self._entries: list[dict[str, Any]] = []
        self._beside: dict[str, str] = {}

    def give(self) -> None:
        """Give the call what has been read."""
        if self._texts or self._entries or self._beside:
            self._call.add("".join(self._texts), self._entries or None, self._beside)
            self._texts, self._entries, self._beside = [], [], {}

    def read(self, source: dict[str, Any], probabilities: Any) -> None:
        """A message, a delta or a completion's choice, and what is said of its tokens. Raises `ValueError`."""
        if self._is_chat:
            text, beside = texts.read(source)
        else:
            text, beside = texts.read({"content": source.get("text")})[0], {}
        if self._work.logprobs is not None and probabilities:
            self._entries += logprobs.read(
                probabilities, is_chat=self._is_chat, alternatives=self._work.logprobs
            )
        reasoning = texts.reasoning(beside) if beside else ""
        said = text + beside.get("refusal", "")
        if self._count.text_bytes + size_of(said) + size_of(reasoning) > self._most_bytes:
            text = said = self._cut(text)
            reasoning, beside = "", {}
        self._count.add(said, reasoning)
        if text:
            self._texts.append(text)
        for name, more in beside.items():
            self._beside[name] = self._beside.get(name, "") + more

    def _cut(self, text: str) -> str:
        self._count.is_cut = True
        self.finish_reason = "length"
        room = self._most_bytes - self._count.text_bytes
        return text.encode()[:room].decode(errors="ignore")


class Stream(Reader):
    """Server-sent events of a generation, fed in whatever pieces they arrive."""

    def __init__(self, call: Call, count: Count, work: RemoteWork) -> None:
        super().__init__(call, count, work)
        self.is_done = False
        self._events_left = limits.events(work.bounds.worst["output_tokens"])
        # Joined only at the end of a line, however small the pieces are.
        self._rest = bytearray()

    @property
    def is_whole(self) -> bool:
        """Whether all of the answer has come; usage may not have."""
        return bool(self.finish_reason)

    def feed(self, data: bytes) -> None:
        """Give the call what is new. Raises `UpstreamFault` for an error event and for what is no event."""
        if b"\n" in data:
            lines = (bytes(self._rest) + data if self._rest else data).split(b"\n")
            self._rest.clear()
            data = lines.pop()
            for line in lines:
                if line.startswith(b"data:"):
                    self._take(line[5:].strip())
            self.give()
        if data:
            self._rest += data
        if len(self._rest) > MOST_EVENT_BYTES:
            raise UpstreamFault("broken", f"An event of the answer is longer than {MOST_EVENT_BYTES} bytes.")

    def _take(self, data: bytes) -> None:
        if self.is_done or not data:
            return
        if data == _DONE:
            self.is_done = True
            return
        self._events_left -= 1
        if self._events_left < 0:
            raise UpstreamFault("broken", "The answer has more events than it can have tokens.")
        event = _parse(data)
        if event.get("error") is not None or event.get("object") == "error":
            raise UpstreamFault("failing", "The server broke its answer off with an error.")
        choice = _first_choice(event)
        # What comes behind its end is no part of the answer.
        if choice is not None and not self.finish_reason:
            self._read_choice(choice)
        if (usage := event.get("usage")) is not None:
            self._count.note(usage)

    def _read_choice(self, choice: dict[str, Any]) -> None:
        source = choice.get("delta") if self._is_chat else choice
        if isinstance(source, dict) and not self._read_plain(source, choice):
            try:
                self.read(source, choice.get("logprobs"))
            except ValueError:
                raise _unexpected() from None
        if self._count.is_cut:
            self.is_done = True
        elif choice.get("finish_reason"):
            self.finish_reason = _finish_reason(choice["finish_reason"])

    def _read_plain(self, delta: dict[str, Any], choice: dict[str, Any]) -> bool:
        """Nearly all pieces are a text and nothing else: no more is done for them than must be."""
        text = delta.get("content")
        if type(text) is not str or not delta.keys() <= _PLAIN or choice.get("logprobs"):
            return False
        count = self._count
        size = size_of(text)
        if count.text_bytes + size > self._most_bytes:
            return False
        if text:
            count.pieces += 1
            count.text_bytes += size
            self._texts.append(text)
        return True


def read_whole(data: bytes, call: Call, count: Count, work: RemoteWork) -> str:
    """A generation in one piece: gives its text to the call and answers its finish reason."""
    answer = _parse(data)
    choice = _first_choice(answer)
    if choice is None:
        raise _unexpected()
    source = choice.get("message") if work.kind == "chat" else choice
    if not isinstance(source, dict):
        raise _unexpected()
    reader = Reader(call, count, work)
    try:
        reader.read(source, choice.get("logprobs"))
    except ValueError:
        raise _unexpected() from None
    reader.give()
    count.note(answer.get("usage"))
    return reader.finish_reason or _finish_reason(choice.get("finish_reason"))


def read_embeddings(data: bytes, count: Count, work: RemoteWork) -> list[bytes]:
    """Vectors in the order of the inputs, as little-endian float32."""
    answer = _parse(data)
    count.note(answer.get("usage"))
    try:
        return vectors.read(answer.get("data"), expected=work.items, dimensions=work.dimensions)
    except ValueError:
        raise _unexpected() from None


def _parse(data: bytes) -> dict[str, Any]:
    try:
        found = orjson.loads(data)
    except orjson.JSONDecodeError:
        raise _unexpected() from None
    if not isinstance(found, dict):
        raise _unexpected()
    return found


def _first_choice(answer: dict[str, Any]) -> dict[str, Any] | None:
    """The one that was asked for; others are nobody's."""
    choices = answer.get("choices")
    if not isinstance(choices, list):
        return None
    for choice in choices:
        if isinstance(choice, dict) and choice.get("index") in (0, None):
            return choice
    return None


def _finish_reason(value: Any) -> str:
    return value if isinstance(value, str) and value in _FINISH_REASONS else "stop"


def _unexpected() -> UpstreamFault:
    return UpstreamFault("broken", "The server's answer is not what OpenAI's protocol says.")
