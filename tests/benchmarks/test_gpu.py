"""The GPU benchmark on the CPU: the same way with a tiny shape, and its arithmetic at full size."""

import json
from pathlib import Path

import pytest
import torch
from transformers import LlamaForCausalLM

from benchmarks import gpu
from benchmarks.__main__ import GROUPS

TINY = {
    "vocab_size": 512, "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "tie_word_embeddings": True,
}  # fmt: skip
LOAD = gpu.Load(prompt=20, answer=12, counts=(1, 4), rounds=1)


@pytest.mark.parametrize(("shape", "billions", "per_token"), [("1b", 1.236, 32_768), ("8b", 8.030, 131_072)])
def test_full_shapes_have_the_sizes_of_the_models_that_they_stand_for(
    shape: str, billions: float, per_token: int
) -> None:
    sizes = gpu.blank(gpu.SHAPES[shape], load=gpu.Load())
    assert sizes.weights / 2e9 == pytest.approx(billions, abs=0.001)
    assert sizes.per_token == per_token
    # The large one reads rows of its embedding only; the small one's is its head, too.
    unread = 0 if shape == "1b" else 128_256 * 4096 * 2
    assert sizes.read == sizes.weights - unread
    assert sizes.step_bytes(64, context=192) == sizes.read + 64 * 192 * per_token


@pytest.mark.parametrize("tied", [True, False])
def test_shards_are_a_whole_model(tmp_path: Path, *, tied: bool) -> None:
    shape = TINY | {"tie_word_embeddings": tied}
    gpu.write(tmp_path, shape, load=LOAD, file_bytes=50_000)
    index = json.loads((tmp_path / "model.safetensors.index.json").read_text())["weight_map"]
    assert len(set(index.values())) > 1
    assert set(index.values()) == {path.name for path in tmp_path.glob("*.safetensors")}
    model, loading = LlamaForCausalLM.from_pretrained(
        tmp_path, dtype=torch.bfloat16, output_loading_info=True
    )
    assert not loading["missing_keys"]
    assert not loading["unexpected_keys"]
    assert gpu.Sizes.of(model) == gpu.blank(shape, load=LOAD)


@pytest.mark.parametrize("tied", [True, False])
def test_the_whole_measurement_runs_without_a_gpu(*, tied: bool) -> None:
    bandwidth = gpu.copy_bandwidth("cpu", size=2**20, rounds=2)
    shape = TINY | {"tie_word_embeddings": tied}
    rows = {
        row["name"]: row for row in gpu.measure("tiny", shape, load=LOAD, device="cpu", bandwidth=bandwidth)
    }
    for count in LOAD.counts:
        rate, share = rows[f"gpu.tokens_per_s.tiny.c{count}"], rows[f"gpu.bandwidth_share.tiny.c{count}"]
        assert rate["value"] > 0
        assert rate["peer_value"] > 0
        sizes = gpu.blank(shape, load=LOAD)
        limit = count * bandwidth / sizes.step_bytes(count, context=26)
        assert share["value"] == pytest.approx(rate["value"] / limit, rel=1e-3)
    assert rows["gpu.bandwidth_share.tiny.c1"]["goal"] == "value >= 0.6"


def test_without_a_device_it_says_so_and_measures_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert gpu.run(quick=False) == []
    assert "There is no CUDA device" in capsys.readouterr().out
    assert "gpu" in GROUPS
