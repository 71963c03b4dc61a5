"""A version's tokenizer and chat template, read from its directory without transformers."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Tokenizer

from inference.gateway.prompting.templates import compile_template

_NAMED = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")


@dataclass(frozen=True, slots=True)
class TextCodec:
    """`render` is None where the version has no chat template."""

    tokenizer: Tokenizer
    special_tokens: Mapping[str, str]
    render: Callable[..., str] | None


def read_codec(directory: Path) -> TextCodec:
    """The codec of a Hugging Face style directory. Raises `OSError`, `ValueError` or a Jinja error.

    What is added before and after a text is tokenizer.json's to say: where that file exists, transformers
    too ignores add_bos_token and add_eos_token of tokenizer_config.json.
    """
    path = directory / "tokenizer.json"
    if not path.exists():
        raise FileNotFoundError(path)
    tokenizer = Tokenizer.from_file(str(path))
    # Lengths are the gateway's to judge: a tokenizer that cuts silently would change the result.
    tokenizer.no_truncation()
    tokenizer.no_padding()
    config = _read_json(directory / "tokenizer_config.json")
    special_tokens = _special_tokens(config, _read_json(directory / "special_tokens_map.json"))
    _add_missing(tokenizer, special_tokens)
    source = _template_source(directory, config)
    return TextCodec(tokenizer, special_tokens, compile_template(source) if source else None)


def _read_json(path: Path) -> dict[str, Any]:
    if not path.exists():
        return {}
    data = json.loads(path.read_text(encoding="utf-8"))
    return data if isinstance(data, dict) else {}


def _special_tokens(config: Mapping[str, Any], older: Mapping[str, Any]) -> dict[str, str]:
    """Named special tokens as text; the tokenizer's config wins over the older special_tokens_map.json."""
    found: dict[str, str] = {}
    for name in _NAMED:
        value = config.get(name) or older.get(name)
        text = value.get("content") if isinstance(value, dict) else value
        if isinstance(text, str):
            found[name] = text
    return found


def _add_missing(tokenizer: Tokenizer, special_tokens: Mapping[str, str]) -> None:
    missing = [text for text in special_tokens.values() if tokenizer.token_to_id(text) is None]
    tokenizer.add_special_tokens([AddedToken(text, special=True) for text in dict.fromkeys(missing)])


def _template_source(directory: Path, config: Mapping[str, Any]) -> str | None:
    path = directory / "chat_template.jinja"
    if path.exists():
        return path.read_text(encoding="utf-8")
    source = config.get("chat_template")
    if isinstance(source, list):
        named = {entry.get("name"): entry.get("template") for entry in source if isinstance(entry, dict)}
        source = named.get("default")
    return source if isinstance(source, str) else None
