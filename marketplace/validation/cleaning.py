"""Strangers' text and JSON, made fit for the database and for pages."""

import math
import re
from typing import Any

MAX_DEPTH = 16
# PostgreSQL stores no NUL, and lone surrogates have no UTF-8.
UNSTORABLE = re.compile("[\x00\ud800-\udfff]")


def clean_text(text: str) -> str:
    """The text without characters that cannot be stored."""
    return UNSTORABLE.sub("\N{REPLACEMENT CHARACTER}", text)


def clean_json(value: Any, *, depth: int = 0) -> Any:
    """The value as strict JSON: no unstorable characters, no NaN or infinity, nothing too deep."""
    if isinstance(value, str):
        return clean_text(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict | list | tuple) and depth >= MAX_DEPTH:
        return None
    if isinstance(value, dict):
        return {clean_text(str(key)): clean_json(item, depth=depth + 1) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [clean_json(item, depth=depth + 1) for item in value]
    return value
