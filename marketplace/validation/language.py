"""Tokenizer and chat template of a version: sound, within limits, and fitting the embedding."""

import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from marketplace.validation.configs import Config
from marketplace.validation.documents import read_bytes, read_optional
from marketplace.validation.files import MIB
from marketplace.validation.report import Finding, LocalFile, Refusal, error, info, warning
from marketplace.validation.speed import judge_rendering

TOKENIZER = "tokenizer.json"
TOKENIZER_CONFIG = "tokenizer_config.json"
TEMPLATE = "chat_template.jinja"
PROBE = Path(__file__).with_name("probe.py")
PROBE_SECONDS = 20
PROBE_MEMORY_BYTES = 3 * 2**30
MAX_TEMPLATE_BYTES = 256 * 1024
MAX_PROMPT_CHARACTERS = 100_000
COMPLETE = "Save the tokenizer that has this token, and the model with a row for it."


@dataclass(frozen=True, slots=True, kw_only=True)
class Language:
    """`eos_token_ids` end a generation; they come from generation_config.json, else from config.json."""

    eos_token_ids: tuple[int, ...]
    has_chat_template: bool


def examine_language(files: Mapping[str, LocalFile], config: Config) -> tuple[Language, list[Finding]]:
    """What the tokenizer files say. Raises `Refusal` if the version could take no text at all."""
    if TOKENIZER not in files:
        remedy = "Save it with AutoTokenizer.from_pretrained(folder).save_pretrained(folder)."
        raise Refusal(error(TOKENIZER, "tokenizer-missing", "A text model needs its fast tokenizer.", remedy))
    settings = read_optional(TOKENIZER_CONFIG, files)
    template = _read_template(files, settings)
    named = _special_tokens(settings, read_optional("special_tokens_map.json", files))
    answer = _probe(files[TOKENIZER], template=template, special_tokens=named)
    findings = [*_judge_tokenizer(answer["tokenizer"], config), *_judge_template(answer.get("template"))]
    findings += _judge_missing(answer, named, config)
    if config.task == "text-generation" and template is None:
        message = "There is no chat template: this version serves completions, and not chat."
        findings.append(info(TEMPLATE, "no-chat-template", message))
    eos_token_ids, problem = _read_eos(files, config)
    findings += [problem] if problem else []
    if config.task == "text-generation" and not problem:
        findings += _judge_ends(eos_token_ids, named.get("eos_token"), answer["tokenizer"].get("eos"))
    return Language(eos_token_ids=eos_token_ids, has_chat_template=template is not None), findings


def _read_template(files: Mapping[str, LocalFile], settings: Mapping[str, Any]) -> str | None:
    if TEMPLATE in files:
        text: Any = read_bytes(TEMPLATE, files[TEMPLATE]).decode("utf-8", "replace")
    else:
        text = settings.get("chat_template")
        if isinstance(text, list):
            named = {item.get("name"): item.get("template") for item in text if isinstance(item, dict)}
            text = named.get("default")
    if text is None:
        return None
    if not isinstance(text, str) or len(text.encode()) > MAX_TEMPLATE_BYTES:
        message = f"The chat template must be text of at most {MAX_TEMPLATE_BYTES} bytes."
        raise Refusal(error(TEMPLATE, "template-size", message))
    return text


def _special_tokens(settings: Mapping[str, Any], older: Mapping[str, Any]) -> dict[str, str]:
    tokens = {}
    for name in ("bos_token", "eos_token", "unk_token", "pad_token", "sep_token", "cls_token", "mask_token"):
        value = settings.get(name) or older.get(name)
        value = value.get("content") if isinstance(value, dict) else value
        if isinstance(value, str):
            tokens[name] = value[:256]
    return tokens


def _probe(tokenizer: LocalFile, *, template: str | None, special_tokens: dict[str, str]) -> dict[str, Any]:
    """The probe's answer. Raises `Refusal` if it had to be killed."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, TOKENIZER).write_bytes(read_bytes(TOKENIZER, tokenizer))
        if template is not None:
            Path(folder, TEMPLATE).write_text(template, "utf-8")
        terms = {
            "folder": folder,
            "has_template": template is not None,
            "special_tokens": special_tokens,
            "memory_bytes": PROBE_MEMORY_BYTES,
            "cpu_seconds": PROBE_SECONDS,
        }
        try:
            done = subprocess.run(
                [sys.executable, "-I", str(PROBE), json.dumps(terms)],
                capture_output=True,
                timeout=2 * PROBE_SECONDS,
                check=True,
                env={"RAYON_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"},
            )
            answer: dict[str, Any] = json.loads(done.stdout[: 64 * 1024])
        except (subprocess.SubprocessError, ValueError) as problem:
            file = TOKENIZER if template is None else f"{TOKENIZER}, {TEMPLATE}"
            message = f"Reading them took more than {PROBE_SECONDS} s or {PROBE_MEMORY_BYTES // MIB} MiB."
            raise Refusal(error(file, "too-costly", message)) from problem
    return answer


def _judge_tokenizer(answer: Mapping[str, Any], config: Config) -> list[Finding]:
    if "error" in answer:
        return [error(TOKENIZER, "tokenizer", f"The tokenizers library cannot read it: {answer['error']}")]
    if not answer["size"] or not answer["tokens"]:
        return [error(TOKENIZER, "tokenizer", "It makes no tokens of plain text.")]
    if answer["largest_id"] >= config.shape.vocab:
        message = (
            f"It makes token ids up to {answer['largest_id']}; the embedding has {config.shape.vocab} rows."
        )
        return [
            error(TOKENIZER, "vocabulary", message, "Send the tokenizer that the model was trained with.")
        ]
    return []


def _judge_missing(answer: Mapping[str, Any], named: Mapping[str, str], config: Config) -> list[Finding]:
    """Special tokens that are named and not in the tokenizer: transformers adds them, whether or not the model has
    rows for them. A prompt that holds one without a row could not be computed.
    """
    findings = []
    prompted = (answer.get("template") or {}).get("holds") or []
    for name, token_id in (answer["tokenizer"].get("missing") or {}).items():
        shown = f"{name} {named[name][:80]!r} is not in tokenizer.json"
        if token_id < config.shape.vocab:
            message = f"{shown}; it gets the id {token_id}, as in transformers."
            findings.append(warning(TOKENIZER_CONFIG, "special-token", message))
        elif name in prompted:
            message = f"{shown}, and the embedding has no row {token_id} for it; the chat template writes it."
            findings.append(error(TOKENIZER_CONFIG, "special-token", message, COMPLETE))
        else:
            message = f"{shown}, and the embedding has no row {token_id} for it; it is read as plain text."
            findings.append(warning(TOKENIZER_CONFIG, "special-token", message, COMPLETE))
    return findings


def _judge_ends(ends: tuple[int, ...], eos_token: str | None, eos: int | None) -> list[Finding]:
    """What ends an answer: without an end it runs to its limit, and its caller pays for all of it."""
    if not ends:
        message = "Neither file names an end: completions run until max_tokens, and are paid to there."
        return [warning("generation_config.json", "no-end", message, "Name eos_token_id there.")]
    if eos is not None and eos not in ends:
        listed = ", ".join(map(str, ends))
        message = (
            f"The tokenizer's end {str(eos_token)[:80]!r} has the id {eos}, which is none of the ends {listed}: "
            "chats stop at it, completions run on."
        )
        return [
            warning(
                "generation_config.json", "other-end", message, "Add it to eos_token_id if it ends answers."
            )
        ]
    return []


def _judge_template(answer: Mapping[str, Any] | None) -> list[Finding]:
    if answer is None:
        return []
    if "error" in answer:
        message = f"A greeting cannot be rendered with it: {answer['error']}"
        return [error(TEMPLATE, "template", message, "Correct the chat template or remove it.")]
    if answer["length"] > MAX_PROMPT_CHARACTERS:
        return [error(TEMPLATE, "template", f"It makes {answer['length']} characters of a greeting.")]
    return judge_rendering(TEMPLATE, answer)


def _read_eos(files: Mapping[str, LocalFile], config: Config) -> tuple[tuple[int, ...], Finding | None]:
    file, value = "generation_config.json", read_optional("generation_config.json", files).get("eos_token_id")
    if value is None:
        file, value = "config.json", config.values.get("eos_token_id")
    ids = value if isinstance(value, list) else [] if value is None else [value]
    if not all(type(token) is int and 0 <= token < config.shape.vocab for token in ids) or len(ids) > 64:
        return (), error(file, "eos", f"eos_token_id {str(value)[:80]} lies outside the vocabulary.")
    return tuple(ids), None
