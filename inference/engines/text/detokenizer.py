"""Turn sampled tokens into text as they come, never a broken character, never part of a stop string."""

import codecs
import json
from collections.abc import Sequence as Items
from dataclasses import replace
from functools import cache, cached_property
from pathlib import Path

from tokenizers import Tokenizer

from inference.engines.base import TokenLogprob, UnloadableVersion

SPACE_MARK = "\u2581"  # how SentencePiece writes a space


@cache
def _byte_of_character() -> dict[str, int]:
    """GPT-2's printable stand-ins for bytes, as every byte-level tokenizer uses them."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {chr(256 + n): byte for n, byte in enumerate(others)}


class TokenBytes:
    """The exact bytes each token stands for, by the tokenizer's own decoder. Special tokens are empty."""

    def __init__(self, directory: Path) -> None:
        path = directory / "tokenizer.json"
        try:
            self._tokenizer = Tokenizer.from_file(str(path))
            spec = json.loads(path.read_bytes())
        except Exception as error:  # the tokenizers library raises bare Exception
            raise UnloadableVersion(f"tokenizer.json cannot be read: {error}") from error
        decoder = json.dumps(spec.get("decoder") or {}, ensure_ascii=False)
        self._is_byte_level = '"ByteLevel"' in decoder
        self._has_spaces_marked = '"Metaspace"' in decoder or SPACE_MARK in decoder
        self._special = {t["id"] for t in spec.get("added_tokens", []) if t.get("special")}
        self._known: dict[int, bytes] = {}

    @property
    def vocab_size(self) -> int:
        return int(self._tokenizer.get_vocab_size(with_added_tokens=True))

    def of(self, token: int) -> bytes:
        """Bytes of a token; empty for special ones and for ids beyond the vocabulary."""
        known = self._known.get(token)
        if known is None:
            known = self._known[token] = b"" if token in self._special else self.raw(token)
        return known

    def raw(self, token: int) -> bytes:
        """Bytes of a token, special or not: what log-probabilities show."""
        piece = self._tokenizer.id_to_token(token)
        if piece is None:
            return b""
        if self._is_byte_level:
            table = _byte_of_character()
            values = [table.get(character) for character in piece]
            return piece.encode() if None in values else bytes(v for v in values if v is not None)
        if len(piece) == 6 and piece.startswith("<0x") and piece.endswith(">"):
            return bytes([int(piece[3:5], 16)])
        if self._has_spaces_marked:
            return piece.replace(SPACE_MARK, " ").encode()
        return self._beside_a_word(token).encode()

    def first(self, token: int) -> bytes:
        """Bytes of a token that begins a text: without the space that the tokenizer's decoder drops there."""
        found = self.of(token)
        if not found.startswith(b" "):
            return found
        alone: str = self._tokenizer.decode([token])
        return found[1:] if alone.encode() == found[1:] else found

    def _beside_a_word(self, token: int) -> str:
        """What other decoders (word pieces, plain words) add for a token in mid-sentence."""
        word = self._plain_word
        both = self._tokenizer.decode([word, token], skip_special_tokens=False)
        return both.removeprefix(self._tokenizer.decode([word]))

    @cached_property
    def _plain_word(self) -> int:
        ids = range(self.vocab_size)
        return next((i for i in ids if i not in self._special and self._tokenizer.decode([i]).isalnum()), 0)


class TextStream:
    """One answer's text. `push` returns what may be shown now; the rest waits for what comes next.

    A `fresh` text stands for itself; any other goes on from a prompt.
    """

    def __init__(self, table: TokenBytes, stop: Items[str], *, fresh: bool = False) -> None:
        self._table = table
        self._fresh = fresh
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._stop = tuple(stop)
        self._held = ""
        self._released = 0
        self._logprobs: list[tuple[int, TokenLogprob]] = []
        self.stopped = False

    def push(self, token: int, logprob: TokenLogprob | None = None) -> str:
        """Text that `token` makes certain; sets `stopped` when a stop string is complete."""
        if logprob is not None:
            at = self._released + len(self._held)
            self._logprobs.append((at, replace(logprob, offset=at)))
        raw = self._table.first(token) if self._fresh else self._table.of(token)
        # What is special has no text; what comes after it still begins the answer.
        self._fresh = self._fresh and not self._table.of(token)
        return self._accept(self._decoder.decode(raw))

    def finish(self) -> str:
        """What is still held at the end; an incomplete character becomes U+FFFD."""
        text = "" if self.stopped else self._accept(self._decoder.decode(b"", final=True))
        text += self._held
        self._release(len(self._held))
        return text

    def take_logprobs(self) -> tuple[TokenLogprob, ...]:
        """Log-probabilities of the tokens whose text, or its start, has been returned."""
        if not self._logprobs:
            return ()
        everything = not self._held and not self.stopped
        ready = [entry for start, entry in self._logprobs if everything or start < self._released]
        self._logprobs = [] if self.stopped else self._logprobs[len(ready) :]
        return tuple(ready)

    def _accept(self, text: str) -> str:
        self._held += text
        if not self._stop:
            return self._release(len(self._held))
        cut = min((at for at in map(self._held.find, self._stop) if at >= 0), default=-1)
        if cut >= 0:
            self.stopped = True
            shown = self._release(cut)
            self._held = ""
            return shown
        return self._release(len(self._held) - self._possible_stop())

    def _release(self, count: int) -> str:
        shown, self._held = self._held[:count], self._held[count:]
        self._released += len(shown)
        return shown

    def _possible_stop(self) -> int:
        """Length of the longest end of the held text that could become a stop string."""
        longest = max(len(stop) for stop in self._stop) - 1
        for length in range(min(longest, len(self._held)), 0, -1):
            end = self._held[-length:]
            if any(stop.startswith(end) for stop in self._stop):
                return length
        return 0
