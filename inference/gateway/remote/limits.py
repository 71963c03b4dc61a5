"""The most that a server's answer may be on the wire: what its tokens can come to in OpenAI's shapes, and some room.

Beyond this an answer is broken off, whatever it consists of: keep-alives, pieces without text, fields of no use.
"""

from inference.gateway.remote.counting import LONGEST_TOKEN_BYTES

# For heads, usage and keep-alives; some servers send one of these several times a second.
ROOM_BYTES = 2**20
# A token's text, each byte of it escaped, under both names that reasoning goes by; and what is around it in a stream.
_TOKEN_BYTES, _PIECE_BYTES = 2 * 6 * LONGEST_TOKEN_BYTES, 1024
# A token beside others: its text, its bytes one by one, its number.
_LOGPROB_BYTES = 1024
_WHOLE_BYTES, _STREAM_BYTES, _VECTORS_BYTES = 32 * 2**20, 256 * 2**20, 128 * 2**20
# 16,384 numbers, each written out.
_VECTOR_BYTES = 16_384 * 25
# Some servers send a piece for each character.
_ROOM_EVENTS, _EVENTS_PER_TOKEN = 1_000, 16


def of_generation(max_tokens: int, *, logprobs: int | None, streamed: bool) -> int:
    """Bytes of an answer with `logprobs` alternatives for each of its tokens; None: with none."""
    beside = 0 if logprobs is None else (1 + logprobs) * _LOGPROB_BYTES
    each = _TOKEN_BYTES + beside + (_PIECE_BYTES if streamed else 0)
    return min(ROOM_BYTES + max_tokens * each, _STREAM_BYTES if streamed else _WHOLE_BYTES)


def of_embeddings(items: int) -> int:
    """Bytes of as many vectors."""
    return min(ROOM_BYTES + items * _VECTOR_BYTES, _VECTORS_BYTES)


def events(max_tokens: int) -> int:
    """Events of a stream."""
    return _ROOM_EVENTS + _EVENTS_PER_TOKEN * max_tokens


def text_bytes(max_tokens: int) -> int:
    """Of all texts of an answer together."""
    return max_tokens * LONGEST_TOKEN_BYTES
