"""The files of sentence-transformers beside an encoder: which modules make a vector of it, and with what settings."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from marketplace.validation import keys
from marketplace.validation.documents import read_json, read_object, read_optional
from marketplace.validation.headers import ITEM_BYTES, Tensor, read_header
from marketplace.validation.keys import KeyTable, check_keys
from marketplace.validation.report import Finding, LocalFile, Refusal, error, warning

MODULES = "modules.json"
TRANSFORMER = "sentence_bert_config.json"
SETTINGS = "config_sentence_transformers.json"
# Each kind of module with what its config may say; those without a table have none.
KINDS: Mapping[str, KeyTable | None] = {
    "Transformer": None,
    "Pooling": keys.POOLING,
    "Dense": keys.DENSE,
    "Normalize": keys.NORMALIZE,
    "Dropout": None,
}
FOLDER = re.compile(r"\d{1,2}_(Pooling|Dense|Normalize|Dropout)")
MAX_MODULES = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Sentences:
    """`length` is how many tokens the model was trained on; 0 where the files do not say. Of dense layers: the number
    of their parameters, and the bytes of their files."""

    length: int = 0
    parameter_count: int = 0
    weight_bytes: int = 0

    @property
    def memory_bytes(self) -> int:
        return self.parameter_count * ITEM_BYTES["F32"]


def examine_sentences(files: Mapping[str, LocalFile]) -> tuple[Sentences, list[Finding]]:
    """What the files say. Raises `Refusal` for what we cannot honour."""
    transformer, settings = read_optional(TRANSFORMER, files), read_optional(SETTINGS, files)
    tokenizer = read_optional("tokenizer_config.json", files)
    _refuse_template(files, tokenizer, transformer)
    if MODULES not in files:
        return Sentences(length=_read_length({}, tokenizer)), _tell_unread(files)
    findings = check_keys(TRANSFORMER, transformer, keys.SENTENCE_BERT)
    findings += check_keys(SETTINGS, settings, keys.SENTENCE_SETTINGS)
    modules = _read_modules(files)
    prompt = _read_prompt(settings)
    dense: list[Tensor] = []
    weight_bytes = 0
    for module in modules:
        kind, folder = _kind(module), str(module.get("path", ""))
        findings += _check_config(files, kind, folder, prompt=prompt)
        if kind == "Dense":
            tensors, size = _read_dense(files, folder)
            dense += tensors
            weight_bytes += size
    told = Sentences(
        length=_read_length(transformer, tokenizer),
        parameter_count=sum(tensor.count for tensor in dense),
        weight_bytes=weight_bytes,
    )
    return told, findings


def _tell_unread(files: Mapping[str, LocalFile]) -> list[Finding]:
    message = "Without modules.json it has no effect, in sentence-transformers neither: pooling is by mean."
    return [warning(path, "not-read", message) for path in (TRANSFORMER, SETTINGS) if path in files]


def _refuse_template(
    files: Mapping[str, LocalFile], tokenizer: Mapping[str, Any], transformer: Mapping[str, Any]
) -> None:
    """sentence-transformers renders inputs as messages where it finds a chat template."""
    has_template = "chat_template.jinja" in files or tokenizer.get("chat_template") is not None
    if has_template and "modality_config" not in transformer:
        message = "Embedding models with a chat template are not supported: inputs are taken as plain text."
        remedy = f"Remove the template, or let modality_config of {TRANSFORMER} name text alone."
        raise Refusal(error("chat_template.jinja", "template", message, remedy))


def _read_modules(files: Mapping[str, LocalFile]) -> Sequence[Mapping[str, Any]]:
    modules = read_json(MODULES, files[MODULES])
    if not isinstance(modules, list) or not 1 <= len(modules) <= MAX_MODULES:
        raise Refusal(error(MODULES, "module", f"A list of 1 to {MAX_MODULES} modules is expected."))
    for place, module in enumerate(modules):
        if not isinstance(module, dict):
            raise Refusal(error(MODULES, "module", f"A list of 1 to {MAX_MODULES} modules is expected."))
        check_keys(MODULES, module, keys.MODULE)
        _check_module(module, place)
    return modules


def _check_module(module: Mapping[str, Any], place: int) -> None:
    kind, folder = _kind(module), str(module.get("path", ""))
    if kind not in KINDS or (kind == "Transformer") != (place == 0) or (kind == "Pooling") != (place == 1):
        named = str(module.get("type", ""))[:120]
        message = f"The module {named!r} is not supported; {', '.join(sorted(KINDS))} are."
        remedy = "The Transformer comes first, then its Pooling, then the others."
        raise Refusal(error(MODULES, "module", message, remedy))
    if place == 0 and folder:
        message = f"The Transformer lies in {folder[:60]}; its files must lie beside modules.json."
        raise Refusal(error(MODULES, "module", message, "Save the model with a newer sentence-transformers."))
    if place and KINDS[kind] and FOLDER.fullmatch(folder) is None:
        raise Refusal(error(MODULES, "module", f"The folder {folder[:60]!r} is not one that a {kind} has."))


def _check_config(files: Mapping[str, LocalFile], kind: str, folder: str, *, prompt: str) -> list[Finding]:
    table, path = KINDS[kind], f"{folder}/config.json"
    if table is None:
        return []
    if path not in files:
        if kind == "Normalize":
            return []
        raise Refusal(error(path, "module", f"The config of the {kind} module was not sent.", "Send it too."))
    config = read_object(path, files[path])
    if prompt and config.get("include_prompt") is False:
        message = "include_prompt false beside a default prompt is not supported: prompts are pooled too."
        raise Refusal(error(path, "unsupported-key", message, "Save the model without a default prompt."))
    return check_keys(path, config, table)


def _read_prompt(settings: Mapping[str, Any]) -> str:
    """The text that goes before every input. Raises `Refusal`."""
    prompts, name = settings.get("prompts") or {}, settings.get("default_prompt_name")
    if not isinstance(prompts, dict) or not all(isinstance(text, str) for text in prompts.values()):
        raise Refusal(error(SETTINGS, "prompts", "prompts must be an object of texts."))
    if name is None:
        return ""
    if name not in prompts:
        message = f"default_prompt_name {str(name)[:80]!r} is not among the prompts."
        raise Refusal(error(SETTINGS, "prompts", message, "Name one of the prompts, or none."))
    return str(prompts[name])


def _read_dense(files: Mapping[str, LocalFile], folder: str) -> tuple[list[Tensor], int]:
    path = f"{folder}/model.safetensors"
    if path not in files:
        message = "The weights of the Dense module were not sent as safetensors."
        remedy = "Save the model with a newer sentence-transformers."
        raise Refusal(error(path, "weights-missing", message, remedy))
    return list(read_header(path, files[path]).values()), files[path].size


def _read_length(transformer: Mapping[str, Any], tokenizer: Mapping[str, Any]) -> int:
    """Newer files say it of the tokenizer alone, where a huge number stands for "any"."""
    named = transformer.get("max_seq_length")
    if named is None:
        named = tokenizer.get("model_max_length")
    return named if type(named) is int and named > 0 else 0


def _kind(module: Mapping[str, Any]) -> str:
    return str(module.get("type", "")).rpartition(".")[2]
