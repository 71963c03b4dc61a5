"""What a provider sends is a stranger's file until it is proven sound."""

import json
import pickle
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from inference.engines.text import memory as engine_memory
from marketplace.validation import Report, examine, local_file, memory
from tests.marketplace.checkpoints import (
    LAYERS,
    VOCAB,
    llama_tensors,
    write_json,
    write_safetensors,
    write_tokenizer,
)

Edit = Callable[..., None]


def look(folder: Path, task: str | None = "text-generation") -> Report:
    files = {p.relative_to(folder).as_posix(): local_file(p) for p in folder.rglob("*") if p.is_file()}
    return examine(files, task=task)


def errors(report: Report) -> dict[str, str]:
    return {found.rule: found.file for found in report.findings if found.severity == "error"}


def test_what_is_reserved_for_a_step_is_what_an_engine_takes() -> None:
    reserved = memory.STEP_TOKENS, memory.LOGIT_ROWS
    assert reserved == (engine_memory.GPU_STEP_TOKENS, engine_memory.GPU_LOGIT_ROWS)


def test_a_sound_model_gives_its_facts(model: Path) -> None:
    report = look(model)
    assert report.ok, report.findings
    facts = report.facts
    assert facts is not None
    assert (facts.task, facts.architecture, facts.context_length) == ("text-generation", "llama", 128)
    assert facts.parameter_count == sum(tensor.size for tensor in llama_tensors().values())
    assert facts.weight_bytes == (model / "model.safetensors").stat().st_size
    assert facts.memory_bytes > facts.parameter_count * 4
    assert facts.eos_token_ids == (1,)
    assert facts.has_chat_template
    assert facts.vocabulary_size == VOCAB


def test_the_card_describes_the_model(model: Path) -> None:
    card = look(model).card
    assert (card.licence, card.languages, card.tags) == ("apache-2.0", ("en", "fr"), ("tiny", "test"))
    assert card.body.startswith("# Tiny")
    assert [(row["metric"], row["dataset"], row["value"]) for row in card.evaluation] == [
        ("Perplexity", "Documentation", 12.5)
    ]


def test_a_yaml_bomb_is_left_out(model: Path) -> None:
    bomb = "a: &a [x,x,x]\nb: &b [*a,*a]\ntags: *b\n"
    (model / "README.md").write_text(f"---\n{bomb}---\nText")
    report = look(model)
    assert report.ok
    assert report.card.tags == ()
    assert "front-matter" in {found.rule for found in report.findings}


def test_a_pickle_only_folder_is_refused_with_a_remedy(model: Path) -> None:
    (model / "model.safetensors").unlink()
    (model / "pytorch_model.bin").write_bytes(pickle.dumps({}))
    report = look(model)
    assert errors(report)["pickle"] == "pytorch_model.bin"
    assert "weights-missing" in errors(report)
    remedy = next(found.remedy for found in report.findings if found.rule == "pickle")
    assert "safe_serialization=True" in remedy


@pytest.mark.parametrize(
    "name", ["a.pt", "a.PTH", "x/training_args.bin", "a.ckpt", "a.pkl", "a.npy", "a.joblib", "runs.tar.gz"]
)
def test_pickles_and_archives_beside_sound_weights_are_left_out_and_told(model: Path, name: str) -> None:
    (model / name).parent.mkdir(exist_ok=True)
    (model / name).write_bytes(b"\x80\x04.")
    report = look(model)
    assert report.ok
    assert name not in report.kept
    assert [(found.file, found.severity) for found in report.findings if found.rule == "left-out"] == [
        (name, "info")
    ]


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_a_renamed_pickle_is_no_safetensors(model: Path, protocol: int) -> None:
    (model / "model.safetensors").write_bytes(pickle.dumps({"a": list(range(100))}, protocol=protocol))
    assert errors(look(model)) == {"not-safetensors": "model.safetensors"}


def test_code_is_not_kept(model: Path) -> None:
    (model / "modeling_evil.py").write_text("raise SystemExit")
    report = look(model)
    assert report.ok
    assert "modeling_evil.py" not in report.kept


def test_auto_map_is_ignored_where_the_model_type_is_known(model: Path, edit: Edit) -> None:
    edit(auto_map={"AutoModelForCausalLM": "evil.Evil"})
    report = look(model)
    assert report.ok
    assert "remote-code" in {found.rule for found in report.findings}


def test_auto_map_cannot_stand_in_for_a_model_type(model: Path, edit: Edit) -> None:
    edit(model_type="evil", auto_map={"AutoModelForCausalLM": "evil.Evil"})
    assert "architecture" in errors(look(model))


@pytest.mark.parametrize(
    "key", ["attn_implementation", "_attn_implementation_internal", "experts_implementation"]
)
def test_implementations_are_ignored(model: Path, edit: Edit, key: str) -> None:
    edit(**{key: "attacker/kernel"})
    report = look(model)
    assert report.ok
    assert any(found.rule == "implementation" and key in found.message for found in report.findings)


def test_quantised_weights_are_refused(model: Path, edit: Edit) -> None:
    edit(quantization_config={"quant_method": "gptq"})
    assert "quantisation" in errors(look(model))


def test_a_hundred_thousand_layers_are_refused_at_once(model: Path, edit: Edit) -> None:
    edit(num_hidden_layers=100_000)
    started = time.monotonic()
    assert errors(look(model)) == {"out-of-bounds": "config.json"}
    assert time.monotonic() - started < 1


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        ({"num_hidden_layers": LAYERS + 1}, "layers"),
        ({"num_hidden_layers": 1}, "layers"),
        ({"vocab_size": VOCAB * 2}, "embedding"),
        ({"hidden_size": 32}, "embedding"),
        ({"vocab_size": -1}, "shape"),
        ({"vocab_size": "64"}, "shape"),
        ({"vocab_size": None}, "shape"),
        ({"num_attention_heads": 3}, "shape"),
        ({"num_key_value_heads": 3}, "shape"),
        ({"rope_theta": 1e400}, "out-of-bounds"),
        ({"max_position_embeddings": 2**40}, "out-of-bounds"),
        ({"note": "x" * 5000}, "out-of-bounds"),
        ({"note": [[[[[[1]]]]]]}, "out-of-bounds"),
        ({"eos_token_id": 10**6}, None),
        ({"architectures": ["LlamaForSequenceClassification"]}, None),
    ],
)
def test_a_config_that_lies_is_refused(
    model: Path, edit: Edit, changes: dict[str, object], rule: str | None
) -> None:
    edit(**changes)
    found = errors(look(model))
    assert rule in found if rule else len(found) <= 1


def test_eos_outside_the_vocabulary_is_refused(model: Path, edit: Edit) -> None:
    edit("generation_config.json", eos_token_id=VOCAB)
    assert errors(look(model)) == {"eos": "generation_config.json"}


def test_files_for_another_task_are_refused(model: Path) -> None:
    assert errors(look(model, "feature-extraction")) == {"task": "config.json"}


@pytest.mark.parametrize(
    "path",
    ["../evil.md", "/etc/evil.md", "a/../../evil.md", "C:\\evil.md", "a\\..\\evil.md", "~/evil.md", "a//b.md",
     "./a.md", "a\x00.md", "a\n.md", "con:.md", "x/ /a.md", "a./b.md", "\u202eevil.md", ""],
)  # fmt: skip
def test_hostile_paths_are_refused(model: Path, path: str) -> None:
    files = {p.name: local_file(p) for p in model.iterdir()}
    report = examine({**files, path: files["README.md"]}, task="text-generation")
    assert "hostile-path" in errors(report)
    assert path not in report.kept


def test_names_that_differ_by_case_are_refused(model: Path) -> None:
    (model / "readme.md").write_text("another")
    if len({p.name.casefold() for p in model.iterdir()}) == len(list(model.iterdir())):
        pytest.skip("this file system cannot hold both")
    assert "same-name" in errors(look(model))


def test_too_many_files_are_refused(model: Path) -> None:
    file = local_file(model / "README.md")
    assert "too-many-files" in errors(examine({f"{number}.md": file for number in range(1001)}))


def test_an_oversized_document_is_refused(model: Path) -> None:
    with (model / "config.json").open("a") as file:
        file.write(" " * 5 * 2**20)
    assert errors(look(model))["too-large"] == "config.json"


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "null", '{"a":' * 100_000, '{"vocab_size": ' + "9" * 5000 + "}"]
)
def test_broken_json_is_a_finding(model: Path, text: str) -> None:
    (model / "config.json").write_text(text)
    assert errors(look(model))["json"] == "config.json"


F32 = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}


@pytest.mark.parametrize(
    ("header", "data", "rule"),
    [
        ({}, b"", "tensor-count"),
        ({"a": {**F32, "shape": [3]}}, b"12345678", "tensor-entry"),
        ({"a": {**F32, "shape": [-2]}}, b"12345678", "tensor-entry"),
        ({"a": {**F32, "shape": [2**62, 2**62]}}, b"12345678", "tensor-entry"),
        ({"a": {**F32, "shape": [True, 2]}}, b"12345678", "tensor-entry"),
        ({"a": {**F32, "dtype": "F8_E4M3"}}, b"12345678", "dtype"),
        ({"a": {**F32, "data_offsets": [8, 0]}}, b"12345678", "tensor-entry"),
        ({"a": {**F32, "data_offsets": [-8, 0]}}, b"12345678", "tensor-entry"),
        ({"a": {**F32, "data_offsets": [4, 12]}}, b"123456789012", "tensor-layout"),
        ({"a": F32, "b": F32}, b"12345678", "tensor-layout"),
        ({"a": F32}, b"1234567", "tensor-layout"),
        ({"a": F32}, b"12345678 hidden payload", "tensor-layout"),
        ({"a": 1}, b"", "tensor-entry"),
        (b"[1]", b"", "header-json"),
        (b"{" + b'"a":{' * 50_000, b"", "header-json"),
        (b'{"a":1,"a":2}', b"", "header-json"),
        (b"\xff\xfe{}", b"", "header-json"),
    ],
)
def test_a_lying_header_is_refused(
    model: Path, header: dict[str, object] | bytes, data: bytes, rule: str
) -> None:
    write_safetensors(model / "model.safetensors", header, data)
    assert errors(look(model)) == {rule: "model.safetensors"}


@pytest.mark.parametrize("length", [0, 1, 2**20, 9 * 2**20, 2**63, 2**64 - 1])
def test_a_header_of_a_false_length_is_refused_unread(model: Path, length: int) -> None:
    write_safetensors(model / "model.safetensors", {"a": F32}, b"12345678", length=length)
    assert errors(look(model)) == {"header-size": "model.safetensors"}


def test_a_bloated_header_is_refused(model: Path) -> None:
    path = model / "model.safetensors"
    write_safetensors(path, json.dumps({"a": F32}).encode() + b" " * 9 * 2**20, b"12345678")
    assert errors(look(model)) == {"header-size": "model.safetensors"}


def test_a_hundred_thousand_tensors_are_refused(model: Path) -> None:
    empty = {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}
    write_safetensors(model / "model.safetensors", {str(number): empty for number in range(100_000)})
    assert errors(look(model)) == {"tensor-count": "model.safetensors"}


def shard(model: Path) -> None:
    (model / "model.safetensors").unlink()
    tensors = llama_tensors()
    names = sorted(tensors)
    parts = {"model-00001-of-00002.safetensors": names[:4], "model-00002-of-00002.safetensors": names[4:]}
    for file, held in parts.items():
        save_file({name: tensors[name] for name in held}, model / file)
    write_json(
        model / "model.safetensors.index.json",
        {"weight_map": {name: file for file, held in parts.items() for name in held}},
    )


def test_shards_count_together(model: Path) -> None:
    whole = look(model).facts
    shard(model)
    report = look(model)
    assert report.ok, report.findings
    assert report.facts is not None
    assert whole is not None
    assert report.facts.parameter_count == whole.parameter_count


def test_shards_need_their_index(model: Path) -> None:
    shard(model)
    (model / "model.safetensors.index.json").unlink()
    assert "index-missing" in errors(look(model))


def test_an_index_names_no_file_elsewhere(model: Path) -> None:
    shard(model)
    write_json(model / "model.safetensors.index.json", {"weight_map": {"a": "../../other/model.safetensors"}})
    assert "index" in errors(look(model))


def test_one_tensor_in_two_shards_is_refused(model: Path) -> None:
    shard(model)
    save_file(llama_tensors(), model / "model-00002-of-00002.safetensors")
    assert "tensor-twice" in errors(look(model))


def test_adapters_alone_are_refused(model: Path) -> None:
    save_file({"model.layers.0.lora_A": np.zeros((2, 2), np.float32)}, model / "model.safetensors")
    assert "layers" in errors(look(model))


def test_text_models_need_a_tokenizer(model: Path) -> None:
    (model / "tokenizer.json").unlink()
    assert errors(look(model)) == {"tokenizer-missing": "tokenizer.json"}


def test_a_tokenizer_beyond_the_embedding_is_refused(model: Path) -> None:
    write_tokenizer(model / "tokenizer.json", size=VOCAB + 1)
    assert errors(look(model)) == {"vocabulary": "tokenizer.json"}


def told(report: Report, rule: str) -> list[tuple[str, str]]:
    return [(found.severity, found.message) for found in report.findings if found.rule == rule]


@pytest.mark.parametrize(
    ("changes", "severity", "words"),
    [
        ({"pad_token": "[PAD]"}, "warning", "no row 64"),
        ({"pad_token": {"content": "[PAD]"}, "chat_template": "{{ pad_token }}"}, "error", "no row 64"),
        ({"eos_token": "</s>"}, "error", "no row 64"),
    ],
)
def test_a_special_token_that_the_tokenizer_lacks_is_found(
    model: Path, edit: Edit, changes: dict[str, str], severity: str, words: str
) -> None:
    if "eos_token" in changes:
        changes = changes | {"chat_template": "{{ eos_token }}"}
    edit("tokenizer_config.json", **changes)
    ((found, message),) = told(look(model), "special-token")
    assert (found, next(iter(changes)) in message, words in message) == (severity, True, True)


def test_a_missing_special_token_of_the_older_file_is_added_where_there_is_a_row(model: Path) -> None:
    write_tokenizer(model / "tokenizer.json", size=VOCAB - 2)
    write_json(model / "special_tokens_map.json", {"pad_token": "[PAD]"})
    report = look(model)
    assert report.ok
    ((severity, message),) = told(report, "special-token")
    assert severity == "warning"
    assert "it gets the id 62" in message


def test_an_end_of_the_tokenizer_that_ends_nothing_is_told(model: Path, edit: Edit) -> None:
    edit("tokenizer_config.json", eos_token="world")
    ((severity, message),) = told(look(model), "other-end")
    assert severity == "warning"
    assert "'world' has the id 3, which is none of the ends 1" in message


def test_a_model_without_any_end_is_told(model: Path, edit: Edit) -> None:
    edit("generation_config.json", eos_token_id=None)
    edit("config.json", eos_token_id=None)
    report = look(model)
    assert report.ok
    assert [severity for severity, _ in told(report, "no-end")] == ["warning"]


def test_a_broken_tokenizer_is_refused(model: Path) -> None:
    (model / "tokenizer.json").write_text('{"version": "1.0"}')
    assert errors(look(model)) == {"tokenizer": "tokenizer.json"}


@pytest.mark.parametrize(
    ("template", "rule"),
    [
        ("{% for x in range(10**12) %}{% endfor %}", "template"),
        ("{% for x in range(99999) %}{% for y in range(99999) %}{% endfor %}{% endfor %}", "too-costly"),
        ("{{ 'a' * 10**11 }}", "template"),
        (
            "{% set x = namespace(s='aaaaaaaa') %}{% for i in range(40) %}{% set x.s = x.s ~ x.s %}{% endfor %}",
            "too-costly",
        ),
        ("{{ 'a' * 200000 }}", "template"),
        ("{{ ''.__class__.__mro__[1].__subclasses__() }}", "template"),
        ("{{ cycler.__init__.__globals__.os.system('touch owned') }}", "template"),
        ("{% include '/etc/passwd' %}", "template"),
        ("{% if %}", "template"),
        ("{{ raise_exception('no') }}", "template"),
        ("x" * 300_000, "template-size"),
    ],
)
def test_a_costly_or_prying_template_is_refused(
    model: Path, edit: Edit, monkeypatch: pytest.MonkeyPatch, template: str, rule: str
) -> None:
    monkeypatch.setattr("marketplace.validation.language.PROBE_SECONDS", 2)
    edit("tokenizer_config.json", chat_template=template)
    found = errors(look(model)).keys()
    # Whether memory or time ends first depends on the machine; either way the template is refused.
    assert rule in found or {rule, *found} == {"template", "too-costly"}
    assert not Path("owned").exists()


@pytest.mark.parametrize(
    ("template", "rules"),
    [
        ("{% for a in range(9000) %}{% for b in range(3000) %}{% endfor %}{% endfor %}x", {"template-slow"}),
        (
            "{% for a in messages %}{% for b in messages %}{% for c in messages %}{% for d in messages %}"
            "{% endfor %}{% endfor %}{% endfor %}{% endfor %}x",
            {"template-slow"},
        ),
        ("{% for m in messages %}{{ m.content | trim }}{% endfor %}", set()),
    ],
)
def test_a_template_too_slow_for_calls_is_refused_with_its_time(
    model: Path, template: str, rules: set[str]
) -> None:
    (model / "chat_template.jinja").write_text(template)
    found = look(model)
    assert errors(found).keys() == rules
    if rules:
        slow = next(finding for finding in found.findings if finding.rule == "template-slow")
        assert "s of processor time; a call may take 0.25 s." in slow.message
        assert "simpler" in slow.remedy


def test_a_template_file_wins_over_the_one_in_the_settings(model: Path) -> None:
    (model / "chat_template.jinja").write_text("{% if %}")
    assert errors(look(model)) == {"template": "chat_template.jinja"}


def test_training_tags_and_loop_controls_are_known(model: Path) -> None:
    (model / "chat_template.jinja").write_text(
        "{% for m in messages %}{% generation %}{{ m.content | tojson }}{% endgeneration %}{% break %}{% endfor %}"
    )
    assert look(model).ok
