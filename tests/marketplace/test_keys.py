"""Every key of every small file of a version is honoured, without effect, or refused by its name."""

import inspect
import json
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from sentence_transformers.base.modules import Dense, Normalize, Transformer
from sentence_transformers.sentence_transformer.modules import Pooling
from transformers import GenerationConfig

from inference.engines.batch.preprocessing import PROCESSORS
from marketplace.validation import examine, keys, local_file
from marketplace.validation.examining import TABLES
from marketplace.validation.keys import KeyTable, check_keys
from marketplace.validation.report import Refusal
from marketplace.validation.sentences import KINDS, examine_sentences
from tests.marketplace.checkpoints import write_json

FILES = {
    **TABLES,
    "modules.json": keys.MODULE,
    "sentence_bert_config.json": keys.SENTENCE_BERT,
    "config_sentence_transformers.json": keys.SENTENCE_SETTINGS,
    "1_Pooling/config.json": keys.POOLING,
    "2_Dense/config.json": keys.DENSE,
    "3_Normalize/config.json": keys.NORMALIZE,
}
each_file = pytest.mark.parametrize(("file", "table"), FILES.items(), ids=list(FILES))


@each_file
def test_no_key_of_a_file_is_in_two_lists(file: str, table: KeyTable) -> None:
    assert not table.honoured & table.idle
    assert not table.fixed.keys() & (table.honoured | table.idle)


@each_file
def test_a_key_that_nobody_honours_is_refused_by_name_at_any_other_value(file: str, table: KeyTable) -> None:
    for key, allowed in table.fixed.items():
        for value in allowed:
            assert check_keys(file, {key: value}, table) == []
        with pytest.raises(Refusal) as refusal:
            check_keys(file, {key: ["another", "value"]}, table)
        assert refusal.value.finding.file == file
        assert key in refusal.value.finding.message


@each_file
def test_honoured_and_idle_keys_pass_in_silence(file: str, table: KeyTable) -> None:
    assert check_keys(file, dict.fromkeys(table.honoured | table.idle, 1), table) == []


@each_file
def test_a_key_that_nobody_knows_is_refused_or_told_by_name(file: str, table: KeyTable) -> None:
    if not table.strict:
        (found,) = check_keys(file, {"mystery": 1}, table)
        assert found.severity == "warning"
        assert "mystery" in found.message
        return
    with pytest.raises(Refusal, match="mystery"):
        check_keys(file, {"mystery": 1}, table)


def test_every_key_of_the_reference_s_generation_is_decided() -> None:
    read = {key for key in GenerationConfig().to_dict() if not key.startswith("_")}
    assert read <= keys.GENERATION.known


@pytest.mark.parametrize("family", PROCESSORS)
def test_every_key_of_the_reference_s_image_processors_is_decided(family: str) -> None:
    name = PROCESSORS[family]
    module = import_module(f"transformers.models.{name}.image_processing_pil_{name}")
    own = getattr(module, f"{family}ImageProcessorPil").valid_kwargs.__annotations__
    assert set(own) <= keys.PREPROCESSOR.known


@pytest.mark.parametrize(
    ("kind", "table"), [(Pooling, keys.POOLING), (Dense, keys.DENSE), (Normalize, keys.NORMALIZE)]
)
def test_every_key_of_the_reference_s_modules_is_decided(kind: Any, table: KeyTable) -> None:
    assert set(kind.config_keys) <= table.known


def test_every_key_of_the_reference_s_transformer_is_decided() -> None:
    parameters = inspect.signature(inspect.unwrap(Transformer.__init__)).parameters
    taken = set(parameters) - {"self", "model_name_or_path"}
    assert taken | set(Transformer.config_keys) <= keys.SENTENCE_BERT.known


def examine_encoder(folder: Path, **files: Any) -> set[tuple[str, str]]:
    """The rules and files of what is wrong with the sentence-transformers files of an encoder."""
    write_json(
        folder / "modules.json",
        [{"path": "", "type": "x.Transformer"}, {"path": "1_Pooling", "type": "x.Pooling"}],
    )
    write_json(folder / "1_Pooling/config.json", {"pooling_mode": "mean"})
    for name, value in files.items():
        write_json(folder / name.replace("__", "/"), value)
    found = {p.relative_to(folder).as_posix(): local_file(p) for p in folder.rglob("*.json")}
    try:
        examine_sentences(found)
    except Refusal as refusal:
        return {(refusal.finding.rule, refusal.finding.file)}
    return set()


@pytest.mark.parametrize(
    ("files", "wrong"),
    [
        ({}, set()),
        ({"modules.json": []}, {("module", "modules.json")}),
        ({"modules.json": [{"path": "", "type": "x.Transformer"}, {"path": "1_Pooling", "type": "x.CNN"}]}, {("module", "modules.json")}),
        ({"modules.json": [{"path": "1_Pooling", "type": "x.Pooling"}]}, {("module", "modules.json")}),
        ({"modules.json": [{"path": "0_Transformer", "type": "x.Transformer"}]}, {("module", "modules.json")}),
        ({"modules.json": [{"path": "", "type": "x.Transformer", "kwargs": ["task"]}]}, {("unsupported-key", "modules.json")}),
        ({"sentence_bert_config.json": {"query_expansion": {"length": 3}}}, {("unsupported-key", "sentence_bert_config.json")}),
        ({"sentence_bert_config.json": {"max_length": 3}}, {("unknown-key", "sentence_bert_config.json")}),
        ({"config_sentence_transformers.json": {"default_prompt_name": "query"}}, {("prompts", "config_sentence_transformers.json")}),
        ({"config_sentence_transformers.json": {"model_type": "SparseEncoder"}}, {("unsupported-key", "config_sentence_transformers.json")}),
        (
            {
                "config_sentence_transformers.json": {"prompts": {"q": "q: "}, "default_prompt_name": "q"},
                "1_Pooling__config.json": {"include_prompt": False},
            },
            {("unsupported-key", "1_Pooling/config.json")},
        ),
        ({"tokenizer_config.json": {"chat_template": "{{ messages }}"}}, {("template", "chat_template.jinja")}),
    ],
    ids=str,
)  # fmt: skip
def test_settings_that_would_change_a_vector_are_refused(tmp_path: Path, files: Any, wrong: Any) -> None:
    assert examine_encoder(tmp_path, **files) == wrong


def test_suggested_sampling_that_callers_must_ask_for_is_told() -> None:
    (found,) = keys.tell_defaults("g", {"temperature": 0.6, "top_p": 1.0, "repetition_penalty": 1.05})
    assert found.severity == "warning"
    assert found.message.endswith("without: temperature 0.6, repetition_penalty 1.05.")
    assert keys.tell_defaults("g", {"temperature": 1.0, "top_k": 50}) == []


def test_every_kind_of_module_has_a_table_or_no_config() -> None:
    assert {kind for kind, table in KINDS.items() if table is None} == {"Transformer", "Dropout"}


def test_a_key_in_a_folder_of_a_version_reaches_the_report(tmp_path: Path) -> None:
    (tmp_path / "generation_config.json").write_text(json.dumps({"no_repeat_ngram_size": 3}))
    report = examine(
        {"generation_config.json": local_file(tmp_path / "generation_config.json")}, task="text-generation"
    )
    wrong = {found.rule: found.message for found in report.findings if found.severity == "error"}
    assert "no_repeat_ngram_size 3" in wrong["unsupported-key"]
