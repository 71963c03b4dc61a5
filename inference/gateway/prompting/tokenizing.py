"""A version's tokenizer and chat template, read from its directory without transformers."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
from tokenizers import AddedToken, Tokenizer, models, normalizers, pre_tokenizers

from inference.gateway.prompting.templates import TemplateTooLong, compile_template

_NAMED = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")

# Classes of transformers that take part of their steps from tokenizer_config.json, and those that a model has by itself.
_OF_WORDS = frozenset({"Bert", "DistilBert", "MPNet"})
_OF_BYTES = frozenset({"Roberta", "GPT2", "GPTNeoX"})
_CLASS_OF = {
    "bert": "BertTokenizer", "distilbert": "BertTokenizer", "mpnet": "MPNetTokenizer", "roberta": "RobertaTokenizer",
    "gpt2": "GPT2Tokenizer", "gpt_neox": "GPTNeoXTokenizer",
}  # fmt: skip

# What an assistant says in the turn that shows how a template ends one, and the most such turns may take.
_ANSWER = "Mercato answers."
_LONGEST_TURN = 100_000
_TEMPLATE_FAULTS = (
    jinja2.TemplateError,
    ArithmeticError,
    LookupError,
    TypeError,
    ValueError,
    AttributeError,
    RecursionError,
)

# Four code points at most become one in this normal form: a Greek vowel and three marks.
NFC_SHRINKS = 4


@dataclass(frozen=True, slots=True)
class TextCodec:
    """`render` is None where the version has no chat template. A token stands for at most `longest_token`
    characters; 0 where that cannot be known. `prompt` goes before every text, but not before token ids. Ids lie
    below `vocabulary`, though not every number there need be one. `lowers` where texts are lowered first, whatever
    the tokenizer itself does.
    """

    tokenizer: Tokenizer
    special_tokens: Mapping[str, str]
    render: Callable[..., str] | None
    longest_token: int
    vocabulary: int
    prompt: str = ""
    lowers: bool = False

    def turn_ends(self) -> list[int]:
        """The tokens that end an assistant's turn: the tokenizer's own end, and what the template puts there."""
        eos = self.special_tokens.get("eos_token")
        ends = {self.tokenizer.token_to_id(eos) if eos else None, self._end_in_template()}
        return sorted(end for end in ends if end is not None)

    def _end_in_template(self) -> int | None:
        if self.render is None:
            return None
        turns = [{"role": "user", "content": "Hello"}, {"role": "assistant", "content": _ANSWER}]
        try:
            text = self.render(turns, self.special_tokens, _LONGEST_TURN, answered=True)
        except (*_TEMPLATE_FAULTS, TemplateTooLong):
            return None  # a template of another kind of chat
        _, found, rest = text.rpartition(_ANSWER)
        ids = self.tokenizer.encode(rest.lstrip(), add_special_tokens=False).ids if found else []
        return ids[0] if ids and ids[0] in self.tokenizer.get_added_tokens_decoder() else None


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
    model = _read_json(directory / "config.json")
    _add_missing(tokenizer, special_tokens, rows=model.get("vocab_size"))
    _follow_settings(tokenizer, config, model_type=str(model.get("model_type")))
    source = _template_source(directory, config)
    render = compile_template(source) if source else None
    prompt, lowers = _prepare_sentences(directory, tokenizer)
    return TextCodec(
        tokenizer=tokenizer,
        special_tokens=special_tokens,
        render=render,
        longest_token=_longest_token(tokenizer),
        vocabulary=max(tokenizer.get_vocab().values(), default=-1) + 1,
        prompt=prompt,
        lowers=lowers,
    )


def _follow_settings(tokenizer: Tokenizer, config: Mapping[str, Any], *, model_type: str) -> None:
    """What tokenizer_config.json says over tokenizer.json, for the classes that transformers builds from it."""
    named = config.get("tokenizer_class")
    if named is None:
        named = _CLASS_OF.get(model_type, "")
    kind = str(named).removesuffix("Fast").removesuffix("Tokenizer")
    if kind in _OF_WORDS and isinstance(tokenizer.normalizer, normalizers.BertNormalizer):
        tokenizer.normalizer = normalizers.BertNormalizer(
            clean_text=True,
            handle_chinese_chars=bool(config.get("tokenize_chinese_chars", True)),
            strip_accents=config.get("strip_accents"),
            lowercase=bool(config.get("do_lower_case", True)),
        )
    if kind in _OF_BYTES and isinstance(tokenizer.pre_tokenizer, pre_tokenizers.ByteLevel):
        prefix = bool(config.get("add_prefix_space", False))
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=prefix)


def _prepare_sentences(directory: Path, tokenizer: Tokenizer) -> tuple[str, bool]:
    """The default prompt, and whether texts are lowered, as sentence-transformers takes them from a model's files."""
    if not (directory / "modules.json").exists():
        return "", False
    lowers = bool(_read_json(directory / "sentence_bert_config.json").get("do_lower_case"))
    if lowers:
        steps = [normalizers.Lowercase(), *([tokenizer.normalizer] if tokenizer.normalizer else [])]
        tokenizer.normalizer = normalizers.Sequence(steps)
    settings = _read_json(directory / "config_sentence_transformers.json")
    name = settings.get("default_prompt_name")
    prompt = (settings.get("prompts") or {}).get(name) if name is not None else ""
    return prompt if isinstance(prompt, str) else "", lowers


def _longest_token(tokenizer: Tokenizer) -> int:
    """The most characters that one token stands for; 0 for kinds of tokenizers that may drop characters, or
    stand one token for a word of any length.
    """
    vocabulary = tokenizer.get_vocab()
    added = tokenizer.get_added_tokens_decoder().values()
    if not isinstance(tokenizer.model, models.BPE) or any(token.lstrip or token.rstrip for token in added):
        return 0
    if not _keeps_all_bytes(tokenizer) or not vocabulary.keys() >= set(pre_tokenizers.ByteLevel.alphabet()):
        return 0
    # A token is spelt with one character per byte, and no character has less than one byte.
    longest = max(map(len, vocabulary))
    return longest * (1 if tokenizer.normalizer is None else NFC_SHRINKS)


def _keeps_all_bytes(tokenizer: Tokenizer) -> bool:
    if not isinstance(tokenizer.normalizer, normalizers.NFC | None):
        return False
    step = json.loads(tokenizer.pre_tokenizer.__getstate__()) if tokenizer.pre_tokenizer else {}
    steps = step.get("pretokenizers", [step])
    *before, last = steps
    splits = all(step.get("type") == "Split" and step["behavior"] != "Removed" for step in before)
    return splits and last.get("type") == "ByteLevel"


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


def _add_missing(tokenizer: Tokenizer, special_tokens: Mapping[str, str], *, rows: Any) -> None:
    """Named tokens that tokenizer.json lacks get the next ids, as in transformers, where the model has such rows."""
    missing = [text for text in special_tokens.values() if tokenizer.token_to_id(text) is None]
    for text in dict.fromkeys(missing):
        if type(rows) is not int or _next_id(tokenizer) < rows:
            tokenizer.add_special_tokens([AddedToken(text, special=True)])


def _next_id(tokenizer: Tokenizer) -> int:
    """The id that the library gives to the next token that is added."""
    size = tokenizer.get_vocab_size(with_added_tokens=False)
    return max([size - 1, *tokenizer.get_added_tokens_decoder()]) + 1


def _template_source(directory: Path, config: Mapping[str, Any]) -> str | None:
    path = directory / "chat_template.jinja"
    if path.exists():
        return path.read_text(encoding="utf-8")
    source = config.get("chat_template")
    if isinstance(source, list):
        named = {entry.get("name"): entry.get("template") for entry in source if isinstance(entry, dict)}
        source = named.get("default")
    return source if isinstance(source, str) else None
