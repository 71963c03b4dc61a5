"""The whole static examination of a version's files, before anything loads them."""

from collections.abc import Callable, Mapping
from typing import TypeVar

from marketplace.validation import card, keys, memory
from marketplace.validation.architectures import (
    FEATURE_EXTRACTION,
    IMAGE_CLASSIFICATION,
    TEXT_GENERATION,
    TEXT_TASKS,
)
from marketplace.validation.cleaning import clean_json
from marketplace.validation.configs import Config, rebuild
from marketplace.validation.documents import read_object, read_optional
from marketplace.validation.files import check_names
from marketplace.validation.keys import check_keys
from marketplace.validation.language import Language, examine_language
from marketplace.validation.report import Facts, Finding, LocalFile, Refusal, Report, error
from marketplace.validation.sentences import Sentences, examine_sentences
from marketplace.validation.tensors import Weights, check_weights, read_weights

Result = TypeVar("Result")
# What the keys of these files mean does not depend on the task.
TABLES = {
    "generation_config.json": keys.GENERATION,
    "tokenizer_config.json": keys.TOKENIZER,
    "special_tokens_map.json": keys.SPECIAL_TOKENS,
    "preprocessor_config.json": keys.PREPROCESSOR,
}


def examine(files: Mapping[str, LocalFile], *, task: str | None = None) -> Report:
    """Facts and findings about the files, by their paths; pure Python, nothing of a model is loaded.

    `task` is what the listing is for. Never raises for what a provider sent: whatever is wrong is a finding.
    """
    names, findings = check_names({path: file.size for path, file in files.items()})
    kept = {path: files[path] for path in names}
    examination = _Examination(kept, findings)
    facts = examination.run(task=task)
    told, said = card.read_card(kept)
    findings += said
    training = examination.attempt(lambda: read_optional("training.json", kept)) or {}
    unused = examination.weights.unused if examination.weights else ()
    return Report(
        findings=tuple(findings),
        kept=tuple(path for path in names if path not in unused),
        facts=facts,
        card=told,
        training=clean_json(training),
    )


class _Examination:
    """Collects findings; a `Refusal` ends one line of inquiry, and the others go on."""

    def __init__(self, files: Mapping[str, LocalFile], findings: list[Finding]) -> None:
        self.files = files
        self.findings = findings
        self.weights: Weights | None = None

    def attempt(self, inquiry: Callable[[], Result]) -> Result | None:
        try:
            return inquiry()
        except Refusal as refusal:
            self.findings.append(refusal.finding)
            return None

    def run(self, *, task: str | None) -> Facts | None:
        config = self.attempt(lambda: self._read_config(task))
        weights = self.weights = self.attempt(lambda: read_weights(self.files))
        self.attempt(self._check_small_files)
        if config is None or weights is None:
            return None
        self.findings += check_weights(weights, config)
        language = self._read_language(config) if config.task in TEXT_TASKS else None
        return _state_facts(config, weights, language, self._read_sentences(config))

    def _read_sentences(self, config: Config) -> Sentences:
        result = None
        if config.task == FEATURE_EXTRACTION:
            result = self.attempt(lambda: examine_sentences(self.files))
        sentences, findings = result or (Sentences(), [])
        self.findings += findings
        return sentences

    def _read_config(self, task: str | None) -> Config:
        if "config.json" not in self.files:
            raise Refusal(error("config.json", "config-missing", "There is no config.json.", "Send it too."))
        config, findings = rebuild(read_object("config.json", self.files["config.json"]), task=task)
        self.findings += findings
        if config.task == IMAGE_CLASSIFICATION and "preprocessor_config.json" not in self.files:
            message = "An image model needs preprocessor_config.json: how to turn an image into numbers."
            raise Refusal(error("preprocessor_config.json", "preprocessing-missing", message, "Send it too."))
        return config

    def _read_language(self, config: Config) -> Language | None:
        result = self.attempt(lambda: examine_language(self.files, config))
        if result is None:
            return None
        language, findings = result
        self.findings += findings
        return language

    def _check_small_files(self) -> None:
        for path in sorted(self.files):
            if path.endswith(("_config.json", "/config.json")):
                read_object(path, self.files[path])
        for path, table in TABLES.items():
            if path in self.files:
                self.findings += check_keys(path, read_object(path, self.files[path]), table)
        suggested = read_optional("generation_config.json", self.files)
        self.findings += keys.tell_defaults("generation_config.json", suggested)


def _state_facts(config: Config, weights: Weights, language: Language | None, sentences: Sentences) -> Facts:
    labels = config.values.get("id2label")
    memory_bytes = memory.needed_bytes(weights, config, generates=config.task == TEXT_GENERATION)
    return Facts(
        task=config.task,
        architecture=config.model_type,
        # Embedding models are often trained on less than their positions allow.
        context_length=min(config.shape.positions, sentences.length or config.shape.positions),
        parameter_count=weights.parameter_count + sentences.parameter_count,
        weight_bytes=weights.weight_bytes + sentences.weight_bytes,
        memory_bytes=memory_bytes + sentences.memory_bytes,
        dtype=weights.dtype,
        vocabulary_size=config.shape.vocab,
        eos_token_ids=language.eos_token_ids if language else (),
        has_chat_template=language.has_chat_template if language else False,
        labels=tuple(str(name)[:120] for name in labels.values()) if isinstance(labels, dict) else (),
    )
