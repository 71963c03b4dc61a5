"""A version's files are a stranger's: what is wrong with them is said before anything is allocated."""

import json
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from inference.engines import registry
from inference.engines.base import UnloadableVersion
from inference.engines.text import configuration, loading
from inference.engines.text.engine import TextEngine, _usual_step
from inference.engines.text.memory import estimate_memory, slot_lengths
from tests.inference.engines.text.conftest import Start
from tests.inference.engines.text.models import (
    CONFIGS,
    CONTEXT,
    Collector,
    answer,
    ask,
    manifest,
    write_model,
)

Change = Callable[[Path], None]


def configure(**changes: Any) -> Change:
    """Set keys of config.json."""

    def change(directory: Path) -> None:
        path = directory / "config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))

    return change


def retensor(alter: Callable[[dict[str, torch.Tensor]], object]) -> Change:
    """Rewrite model.safetensors."""

    def change(directory: Path) -> None:
        path = directory / "model.safetensors"
        tensors = load_file(path)
        alter(tensors)
        save_file(tensors, path)

    return change


def write(name: str, content: bytes) -> Change:
    return lambda directory: (directory / name).write_bytes(content) and None


def header(text: str, data: bytes = b"") -> bytes:
    return len(text).to_bytes(8, "little") + text.encode() + data


def only_pickle(directory: Path) -> None:
    torch.save(load_file(directory / "model.safetensors"), directory / "pytorch_model.bin")
    (directory / "model.safetensors").unlink()


def twice(directory: Path) -> None:
    (directory / "more.safetensors").write_bytes((directory / "model.safetensors").read_bytes())


ENTRY = '{"a": {"dtype": "F32", "shape": [%s], "data_offsets": [0, %d]}}'
REFUSED: dict[str, tuple[Change, str]] = {
    "pickle only": (only_pickle, "no weights"),
    "no config": (lambda d: (d / "config.json").unlink(), "config.json is missing"),
    "config is not JSON": (write("config.json", b"{"), "not valid JSON"),
    "config is a list": (write("config.json", b"[]"), "object"),
    "huge config": (write("config.json", b" " * 5_000_000), "larger than"),
    "no tokenizer": (lambda d: (d / "tokenizer.json").unlink(), "tokenizer.json"),
    "unknown type": (configure(model_type="mamba"), "model_type"),
    "type of a wrong kind": (configure(model_type=["llama"]), "model_type"),
    "quantised": (configure(quantization_config={"quant_method": "gptq"}), "Quantised"),
    "too many layers": (configure(num_hidden_layers=100_000), "num_hidden_layers"),
    "more layers than weights": (configure(num_hidden_layers=200), "missing"),
    "negative size": (configure(hidden_size=-64), "hidden_size"),
    "size of a wrong kind": (configure(hidden_size="64"), "hidden_size"),
    "huge size": (configure(intermediate_size=400_000), "shape"),
    "heads that do not divide": (configure(num_attention_heads=7, head_dim=None), "describe a model|shape"),
    "zero key heads": (configure(num_key_value_heads=0), "num_key_value_heads"),
    "activation": (configure(hidden_act="__import__"), "hidden_act"),
    "batch-dependent rope": (configure(rope_parameters={"rope_type": "dynamic", "factor": 2.0}), "dynamic"),
    "rope with text": (configure(rope_parameters={"rope_theta": "x"}), "rope_theta"),
    "dtype": (configure(dtype="int4"), "dtype"),
    "wrong vocabulary": (configure(vocab_size=1000), "shape"),
    "other class": (configure(model_type="qwen2"), "manifest"),
    "both ways": (configure(use_bidirectional_attention=True), "use_bidirectional_attention"),
    "tensor missing": (retensor(lambda t: t.pop("model.norm.weight")), "missing"),
    "tensor added": (retensor(lambda t: t.update(evil=torch.zeros(2))), "evil"),
    "integer weights": (
        retensor(lambda t: t.update({"model.norm.weight": torch.zeros(64, dtype=torch.int64)})),
        "I64",
    ),
    "tensor twice": (twice, "two files"),
    "empty file": (write("model.safetensors", b""), "not a safetensors"),
    "header beyond the file": (write("model.safetensors", b"\xff" * 8 + b"{}"), "not a safetensors"),
    "header not JSON": (write("model.safetensors", header("{")), "broken header"),
    "header a list": (write("model.safetensors", header("[1]")), "wrong kind"),
    "tensor beyond the file": (write("model.safetensors", header(ENTRY % ("4", 16))), "wrongly"),
    "size that lies": (write("model.safetensors", header(ENTRY % ("4000", 16), b"0" * 16)), "wrongly"),
    "negative shape": (write("model.safetensors", header(ENTRY % ("-2, -2", 16), b"0" * 16)), "wrongly"),
    "entry of a wrong kind": (write("model.safetensors", header('{"a": 1}')), "wrongly"),
}


@pytest.mark.parametrize("trap", REFUSED)
def test_traps_are_refused_with_a_sentence_and_at_once(trap: str, tmp_path: Path) -> None:
    change, message = REFUSED[trap]
    change(write_model(tmp_path))
    started = time.monotonic()
    with pytest.raises(UnloadableVersion, match=message):
        loading.load(tmp_path, manifest=manifest(), device="cpu")
    assert time.monotonic() - started < 10


def test_code_and_kernels_that_a_config_names_are_dropped(tmp_path: Path) -> None:
    write_model(tmp_path)
    configure(
        auto_map={"AutoModelForCausalLM": "evil.Evil"},
        attn_implementation="attacker/kernel",
        _attn_implementation="attacker/kernel",
        _attn_implementation_internal="attacker/kernel",
        experts_implementation="attacker/kernel",
    )(tmp_path)
    (tmp_path / "evil.py").write_text("raise SystemExit('ran')")
    loaded = loading.load(tmp_path, manifest=manifest(), device="cpu")
    assert loaded.model.config._attn_implementation == "sdpa"
    assert not hasattr(loaded.model.config, "auto_map")


def test_rebuilt_configs_hold_allowed_keys_only() -> None:
    raw = {"model_type": "llama", "auto_map": {}, "attn_implementation": "x", "sliding_window": 3} | CONFIGS[
        "llama"
    ]
    _, kept = configuration.rebuild(raw)
    assert kept == {key: value for key, value in CONFIGS["llama"].items() if key != "initializer_range"}


def test_null_turns_a_default_off(tmp_path: Path) -> None:
    write_model(tmp_path, "mistral", sliding_window=None)
    loaded = loading.load(tmp_path, manifest=manifest("mistral"), device="cpu")
    assert loaded.model.config.sliding_window is None


def test_weights_saved_without_the_models_prefix_load(tmp_path: Path, start: Start, sink: Collector) -> None:
    write_model(tmp_path, "gpt2")
    whole = Collector()
    answer(start(tmp_path, "gpt2", sink=whole), whole, [ask("a", [1, 2, 3])])

    def strip(tensors: dict[str, torch.Tensor]) -> None:
        for name in list(tensors):
            tensors[name.removeprefix("transformer.")] = tensors.pop(name)
        tensors["h.0.attn.bias"] = torch.ones(1, 1, 4, 4)  # a buffer of old checkpoints

    retensor(strip)(tmp_path)
    assert answer(start(tmp_path, "gpt2"), sink, [ask("a", [1, 2, 3])])["a"] == whole.text("a")


LEGACY: dict[str, dict[str, torch.Tensor]] = {
    "llama": {
        "model.layers.1.self_attn.rotary_emb.inv_freq": torch.full((8,), 7.0),
        "model.layers.1.self_attn.rotary_emb.cos_cached": torch.ones(1, 1, 4, 16),
    },
    "gpt2": {
        "transformer.h.0.attn.bias": torch.zeros(1, 1, 4, 4, dtype=torch.bool),
        "transformer.h.0.attn.masked_bias": torch.tensor(-1e4),
    },
    "gpt_neox": {
        "gpt_neox.layers.2.attention.bias": torch.zeros(1, 1, 4, 4, dtype=torch.uint8),
        "gpt_neox.layers.2.attention.masked_bias": torch.tensor(-1e9),
        "gpt_neox.layers.2.attention.rotary_emb.inv_freq": torch.ones(8),
        "gpt_neox.embed_in.position_ids": torch.arange(4),
    },
}


@pytest.mark.parametrize("kind", LEGACY)
def test_buffers_of_old_checkpoints_are_left_out_and_told(
    tmp_path: Path, start: Start, sink: Collector, kind: str
) -> None:
    write_model(tmp_path, kind)
    whole = Collector()
    answer(start(tmp_path, kind, sink=whole), whole, [ask("a", [1, 2, 3])])
    retensor(lambda tensors: tensors.update(LEGACY[kind]))(tmp_path)
    engine = start(tmp_path, kind)
    assert answer(engine, sink, [ask("a", [1, 2, 3])])["a"] == whole.text("a")
    (note,) = engine.notes
    assert all(re.sub(r"\d+", "*", name) in note.message for name in LEGACY[kind])


@pytest.mark.parametrize("kind", ["llama", "gpt_neox"])
def test_a_tensor_that_no_model_recomputes_is_refused(tmp_path: Path, kind: str) -> None:
    write_model(tmp_path, kind)
    retensor(lambda tensors: tensors.update({"model.layers.0.self_attn.bias": torch.ones(4)}))(tmp_path)
    with pytest.raises(UnloadableVersion, match=r"self_attn\.bias"):
        loading.load(tmp_path, manifest=manifest(kind), device="cpu")


def test_sharded_weights_load(tmp_path: Path, start: Start, sink: Collector) -> None:
    tensors = load_file(write_model(tmp_path) / "model.safetensors")
    whole = Collector()
    answer(start(tmp_path, sink=whole), whole, [ask("a", [1, 2, 3])])
    (tmp_path / "model.safetensors").unlink()
    names = sorted(tensors)
    for number, part in enumerate((names[:7], names[7:])):
        save_file({name: tensors[name] for name in part}, tmp_path / f"model-{number}.safetensors")
    assert answer(start(tmp_path), sink, [ask("a", [1, 2, 3])])["a"] == whole.text("a")


def test_a_context_beyond_the_models_is_refused(llama: Path) -> None:
    with pytest.raises(UnloadableVersion, match="context"):
        TextEngine.load(llama, manifest=manifest(context=CONTEXT + 1), device="cpu", sink=Collector())


def test_memory_for_not_even_one_request_is_refused(llama: Path) -> None:
    with pytest.raises(UnloadableVersion, match="leave room"):
        TextEngine.load(llama, manifest=manifest(memory=1_000_000), device="cpu", sink=Collector())


@pytest.mark.parametrize("kind", CONFIGS)
def test_estimated_memory_holds_the_slots_it_was_asked_for(kind: str, tmp_path: Path) -> None:
    directory = write_model(tmp_path, kind)
    raw = json.loads((directory / "config.json").read_text())
    weights = (directory / "model.safetensors").stat().st_size
    memory = estimate_memory(raw, slots=3, context=CONTEXT, weight_bytes=weights)
    engine = TextEngine.load(
        directory, manifest=manifest(kind, memory=memory), device="cpu", sink=Collector()
    )
    try:
        assert 3 * CONTEXT <= engine._cache._budget_tokens < 3.5 * CONTEXT
    finally:
        engine.close(drain=False, timeout=10)


def test_slot_lengths_reach_the_context() -> None:
    assert slot_lengths(1000) == [128, 256, 512, 1000]
    assert slot_lengths(128) == [128]
    assert slot_lengths(100) == [100]


def test_the_registry_loads_the_text_engine(llama: Path, sink: Collector) -> None:
    engine = registry.load(llama, manifest=manifest(), device="cpu", sink=sink)
    try:
        assert isinstance(engine, TextEngine)
        assert answer(engine, sink, [ask("a", [1, 2, 3])])["a"] == sink.text("a") != ""
    finally:
        engine.close(drain=False, timeout=10)


def test_the_registry_refuses_unknown_tasks(llama: Path, sink: Collector) -> None:
    import dataclasses

    strange: Any = dataclasses.replace(manifest(), task="mind-reading")
    with pytest.raises(UnloadableVersion, match="mind-reading"):
        registry.load(llama, manifest=strange, device="cpu", sink=sink)


def test_publishing_can_ask_for_memory_without_torch() -> None:
    import subprocess
    import sys

    code = (
        "import sys; import inference.engines.text.memory, inference.engines.text.weights, "
        "inference.engines.registry; sys.exit('torch' in sys.modules or 'transformers' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(("device", "extra", "usual"), [
    ("cpu", 10**9, (64, 256)), ("cuda", 10**9, (256, 2048)), ("cuda:1", 10**9, (256, 2048)), ("cuda", 0, (64, 256)),
])  # fmt: skip
def test_a_gpu_takes_large_steps_where_the_memory_was_reckoned_for_them(
    llama: Path, device: str, extra: int, usual: tuple[int, int]
) -> None:
    loaded = loading.load(llama, manifest=manifest(), device="cpu")
    raw = json.loads((llama / "config.json").read_text())
    small = estimate_memory(raw, slots=1, context=CONTEXT, weight_bytes=loaded.weight_bytes)
    assert _usual_step(loaded, manifest(memory=small + extra), device=device) == usual
