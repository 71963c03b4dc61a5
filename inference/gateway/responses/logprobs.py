"""Log-probabilities in the shapes of chat and of legacy completions.

A token may hold a part of a character only. It is called by its bytes then, as OpenAI calls it, so that no two
tokens get one name and no alternative is lost.
"""

from collections.abc import Iterable, Mapping
from typing import Any

Entry = Mapping[str, Any]


def of_chat(entries: Iterable[Entry]) -> dict[str, Any]:
    content = [
        _chat_token(entry) | {"top_logprobs": [_chat_token(other) for other in entry["top"]]}
        for entry in entries
    ]
    return {"content": content, "refusal": None}


def of_completion(entries: list[dict[str, Any]], *, start: int, echoed: int) -> tuple[dict[str, Any], int]:
    """The object, and where the next token begins. `start` is where the first does, for those that do not say it
    themselves; `echoed` is how many characters of the prompt stand before the answer.
    """
    offsets = []
    for entry in entries:
        own = entry.get("offset")
        at = start if own is None else echoed + own
        offsets.append(at)
        start = at + len(entry["token"])
    found = {
        "tokens": [_completion_name(entry) for entry in entries],
        "token_logprobs": [entry["logprob"] for entry in entries],
        "top_logprobs": [_by_name(entry["top"]) for entry in entries],
        "text_offset": offsets,
    }
    return found, start


def _chat_token(entry: Entry) -> dict[str, Any]:
    raw = bytes(entry["bytes"])
    token = entry["token"] if _is_text(raw) else _spell(raw)
    return {"token": token, "logprob": entry["logprob"], "bytes": list(raw)}


def _completion_name(entry: Entry) -> str:
    raw = bytes(entry["bytes"])
    return str(entry["token"]) if _is_text(raw) else f"bytes:{_spell(raw)}"


def _by_name(others: Iterable[Entry]) -> dict[str, float]:
    """Alternatives, the likeliest first. A name that is taken gives way to the bytes' own."""
    found: dict[str, float] = {}
    for other in others:
        name = _completion_name(other)
        if name in found:
            name = f"bytes:{_spell(bytes(other['bytes']))}"
        found.setdefault(name, other["logprob"])
    return found


def _is_text(raw: bytes) -> bool:
    try:
        raw.decode()
    except UnicodeDecodeError:
        return False
    return True


def _spell(raw: bytes) -> str:
    return "".join(f"\\x{byte:02x}" for byte in raw)
