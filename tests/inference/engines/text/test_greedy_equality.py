"""A greedy answer is the answer of transformers' `generate()`, token by token, in whatever company."""

import json
import random
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import LlamaConfig
from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding

from inference.engines.text import decoder
from inference.engines.text.detokenizer import TokenBytes
from tests.inference.engines.text.conftest import Start
from tests.inference.engines.text.models import (
    CONFIGS,
    VOCAB,
    Collector,
    answer,
    ask,
    continue_greedily,
    reference,
    write_model,
)

LENGTHS = [1, 2, 3, 15, 16, 17, 33, 50, 130, 130]


@pytest.mark.parametrize("kind", CONFIGS)
def test_alone_in_a_mixed_batch_and_with_reused_prefixes(
    kind: str, tmp_path: Path, device: str, start: Start, sink: Collector
) -> None:
    directory = write_model(tmp_path, kind)
    draw = random.Random(kind)
    prompts = [[draw.randrange(1, VOCAB) for _ in range(length)] for length in LENGTHS]
    prompts.append(prompts[-1][:100] + prompts[4])  # begins like another, and goes on otherwise
    model, table = reference(directory, kind, device=device), TokenBytes(directory)
    expected = [[tuple(table.raw(t)) for t in continue_greedily(model, p, count=24)] for p in prompts]
    assert len({tuple(e) for e in expected}) > 5, "the model says the same to all, so equality proves nothing"

    # Chunks of 32 tokens: the longest prompts take five steps among the others' decoding.
    engine = start(directory, kind, step_tokens=32)
    for name in ("alone", "mixed", "again"):
        batch = {f"{name}{i}": ask(f"{name}{i}", p, max_tokens=24, logprobs=0) for i, p in enumerate(prompts)}
        if name == "alone":
            for request in batch.values():
                answer(engine, sink, [request])
        else:
            answer(engine, sink, batch.values())
        assert [sink.pieces(key) for key in batch] == expected, name
    assert sink.last("again8").usage["cached_tokens"] == 128  # type: ignore[index]
    assert sink.last("alone10").usage["cached_tokens"] == 96  # type: ignore[index]


@pytest.mark.parametrize("kind", ["llama", "qwen2", "qwen3"])
@pytest.mark.parametrize("limit", ["LARGEST_JOINT_BYTES", "LARGEST_ANGLES_BYTES"])
def test_layers_too_large_to_join_and_contexts_too_long_for_angles_answer_the_same(
    kind: str,
    limit: str,
    tmp_path: Path,
    device: str,
    start: Start,
    sink: Collector,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(decoder, limit, 0)
    directory = write_model(tmp_path, kind)
    prompts = [[7, 8, 9], list(range(1, 50))]
    model, table = reference(directory, kind, device=device), TokenBytes(directory)
    expected = [[tuple(table.raw(t)) for t in continue_greedily(model, p, count=16)] for p in prompts]
    engine = start(directory, kind)
    answer(engine, sink, [ask(str(i), p, max_tokens=16, logprobs=0) for i, p in enumerate(prompts)])
    assert [sink.pieces(str(i)) for i in range(len(prompts))] == expected


def test_answers_stop_at_every_end_token_that_the_files_name(
    tmp_path: Path, device: str, start: Start, sink: Collector
) -> None:
    directory = write_model(tmp_path)
    prompt = [5, 6, 7]
    said = continue_greedily(reference(directory, device=device), prompt, count=12)
    first, second = said[4], said[8]
    assert first not in said[:4]
    assert second not in said[:8]
    for name, ids, length in [
        ("config.json", second, 9),
        ("generation_config.json", [first, VOCAB - 1], 5),
    ]:
        path = directory / name
        path.write_text(json.dumps(json.loads(path.read_text()) | {"eos_token_id": ids}))
        answer(start(directory), sink, [ask(name, prompt, max_tokens=12, logprobs=0)])
        assert sink.last(name).finish_reason == "stop"
        assert sink.last(name).usage["output_tokens"] == length  # type: ignore[index]
        assert len(sink.pieces(name)) == length - 1  # the end token counts but says nothing


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision_runs(dtype: str, tmp_path: Path, start: Start, sink: Collector) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    directory = write_model(tmp_path)
    AutoModelForCausalLM.from_pretrained(directory, dtype=getattr(torch, dtype)).save_pretrained(directory)
    engine = start(directory)
    answer(engine, sink, [ask(str(i), [i + 1] * 20, max_tokens=8, logprobs=0) for i in range(4)])
    assert all(sink.last(str(i)).finish_reason == "length" for i in range(4))


@pytest.mark.parametrize("rope", [
    {"rope_type": "default"}, {"rope_type": "linear", "factor": 4.0},
    {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 64},
    {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
     "original_max_position_embeddings": 64},
])  # fmt: skip
def test_kept_angles_are_the_models_to_the_bit(rope: dict[str, Any]) -> None:
    config = LlamaConfig(
        hidden_size=64,
        num_attention_heads=4,
        max_position_embeddings=256,
        rope_parameters=rope | {"rope_theta": 10_000.0},
    )
    rotary = LlamaRotaryEmbedding(config)
    angles = decoder.Angles(rotary, positions=256, head_dim=16)
    for dtype in (torch.float32, torch.bfloat16):
        angles._kept = None
        hidden, positions = torch.zeros(3, 64, dtype=dtype), torch.tensor([0, 255, 17])
        for kept, own in zip(angles(hidden, positions), rotary(hidden, positions[:, None]), strict=True):
            assert kept.dtype == dtype
            assert torch.equal(kept, own)
        assert angles._kept is not None
