"""The texts of a message, or of a delta, in the forms in which servers send them."""

from collections.abc import Mapping
from typing import Any

# What a message may say beside its content: passed on under the server's own name for it.
REASONING = ("reasoning_content", "reasoning")
BESIDE = (*REASONING, "refusal")


def read(message: Mapping[str, Any]) -> tuple[str, dict[str, str]]:
    """The content, and what is said beside it by name. Content is a text or a list of parts; what is neither, and parts
    that hold no text, are left out. Raises `ValueError` for content of another kind.
    """
    beside: dict[str, str] = {}
    content = message.get("content")
    if not isinstance(content, str):
        content = _join(content, beside)
    for name in BESIDE:
        said = message.get(name)
        if said and (text := _plain(said)):
            beside[name] = text
    return content, beside


def reasoning(beside: Mapping[str, str]) -> str:
    """What was reasoned: servers send it under one of two names, or the same under both."""
    return max((beside.get(name, "") for name in REASONING), key=len)


def _join(parts: Any, beside: dict[str, str]) -> str:
    if parts is None:
        return ""
    if not isinstance(parts, list):
        raise ValueError("content is no text and no list of parts")
    texts = []
    for part in parts:
        if isinstance(part, dict) and part.get("type") in ("thinking", "reasoning"):
            name, said = REASONING[0], _plain(part.get("thinking") or part.get("text"))
        elif isinstance(part, dict) and part.get("type") == "refusal":
            name, said = "refusal", _plain(part.get("refusal"))
        else:
            texts.append(_plain(part))
            continue
        if said:
            beside[name] = beside.get(name, "") + said
    return "".join(texts)


def _plain(value: Any) -> str:
    """A text, that of a part, or those of a list of either; "" for all else."""
    if isinstance(value, str):
        return value
    if isinstance(value, dict):
        text = value.get("text")
        return text if isinstance(text, str) else ""
    if isinstance(value, list):
        return "".join(_plain(each) for each in value if not isinstance(each, list))
    return ""
