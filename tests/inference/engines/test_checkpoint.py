"""Weights from strangers: headers are bounded and compared with the config before any memory is used."""

import json
import struct
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from transformers import BertConfig, BertForMaskedLM, BertModel, ViTConfig, ViTModel

from inference.engines.base import UnloadableVersion
from inference.engines.checkpoint import (
    MAX_HEADER_BYTES,
    check_shapes,
    find_weights,
    load_state,
    read_header,
    read_headers,
    read_json,
)
from inference.engines.configuration import rebuild_config

SIZES = {
    "vocab_size": 50,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "max_position_embeddings": 20,
}


def forge(path: Path, header: object, *, data: bytes = b"", length: int | None = None) -> Path:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text) if length is None else length) + text + data)
    return path


def entry(dtype: str = "F32", shape: object = (1,), offsets: object = (0, 4)) -> dict:
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets}


def bert_on_meta(**changes) -> BertModel:
    with torch.device("meta"):
        return BertModel(BertConfig(**{**SIZES, **changes}))


@pytest.fixture
def bert(tmp_path) -> Path:
    torch.manual_seed(1)
    BertModel(BertConfig(**SIZES)).save_pretrained(tmp_path)
    return tmp_path


def test_a_header_lists_names_types_and_shapes(tmp_path):
    path = tmp_path / "a.safetensors"
    save_file(
        {"x": torch.zeros(2, 3), "y": torch.zeros(4, dtype=torch.bfloat16)}, path, metadata={"format": "pt"}
    )
    assert read_header(path) == {"x": ("F32", (2, 3)), "y": ("BF16", (4,))}


@pytest.mark.parametrize(
    "header",
    [
        {"x": entry(shape=[2])},
        {"x": entry(offsets=[0, 400])},
        {"x": entry(offsets=[4, 0])},
        {"x": entry(offsets=[-4, 0])},
        {"x": entry(shape=[2**41, 0])},
        {"x": entry(shape=[-1])},
        {"x": entry(shape=[True])},
        {"x": entry(shape=["1"])},
        {"x": entry(dtype="F128")},
        {"x": entry(dtype=["F32"])},
        {"x": entry(offsets=[0])},
        {"x": entry(offsets=[0.0, 4.0], shape=[1.0])},
        {"x": 1},
        {"x": {}},
        [],
        b"{",
        b"[" * 100_000,
        b"\xff\xfe",
    ],
)
def test_a_malformed_header_is_refused_in_words(tmp_path, header):
    with pytest.raises(UnloadableVersion, match=r"bad\.safetensors"):
        read_header(forge(tmp_path / "bad.safetensors", header, data=b"\0" * 8))


@pytest.mark.parametrize("length", [0, 2**63, MAX_HEADER_BYTES + 1, 100])
def test_a_header_longer_than_the_file_or_the_cap_is_not_read(tmp_path, length):
    with pytest.raises(UnloadableVersion, match="header"):
        read_header(forge(tmp_path / "bad.safetensors", {}, length=length))


def test_too_many_tensors_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("inference.engines.checkpoint.MAX_TENSORS", 3)
    header = {str(index): entry(shape=[0], offsets=[0, 0]) for index in range(4)}
    path = forge(tmp_path / "bad.safetensors", header)
    with pytest.raises(UnloadableVersion, match="4 tensors"):
        read_header(path)


def test_an_empty_or_pickled_file_is_refused(tmp_path):
    (tmp_path / "model.safetensors").write_bytes(b"")
    with pytest.raises(UnloadableVersion):
        read_header(tmp_path / "model.safetensors")
    torch.save({"x": torch.zeros(2)}, tmp_path / "model.safetensors")
    with pytest.raises(UnloadableVersion):
        read_header(tmp_path / "model.safetensors")


def test_a_directory_with_pickles_only_has_no_weights(tmp_path):
    torch.save({}, tmp_path / "pytorch_model.bin")
    with pytest.raises(UnloadableVersion, match="safetensors"):
        find_weights(tmp_path)


@pytest.mark.parametrize(
    "name", ["../secret.safetensors", "/etc/passwd", "sub/x.safetensors", "model.bin", "gone.safetensors"]
)
def test_an_index_cannot_point_elsewhere(tmp_path, name):
    index = {"weight_map": {"x": name}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(UnloadableVersion):
        find_weights(tmp_path)


def test_one_name_in_two_files_is_refused(tmp_path):
    for name in ("a", "b"):
        save_file({"x": torch.zeros(1)}, tmp_path / f"{name}.safetensors")
    with pytest.raises(UnloadableVersion, match="more than one"):
        read_headers([tmp_path / "a.safetensors", tmp_path / "b.safetensors"])


def test_loading_gives_the_same_answers_as_transformers(bert):
    reference = BertModel.from_pretrained(bert).eval()
    loaded = load_state(bert_on_meta(), find_weights(bert), "cpu")
    ids = torch.tensor([[3, 4, 5]])
    with torch.inference_mode():
        assert torch.equal(loaded(ids).last_hidden_state, reference(ids).last_hidden_state)
    assert not loaded.training
    assert not any(parameter.requires_grad for parameter in loaded.parameters())


def test_half_precision_weights_are_widened(bert):
    BertModel.from_pretrained(bert).half().save_pretrained(bert)
    loaded = load_state(bert_on_meta(), find_weights(bert), "cpu")
    assert {parameter.dtype for parameter in loaded.parameters()} == {torch.float32}


@pytest.mark.parametrize(
    "changes",
    [{"hidden_size": 2**11}, {"vocab_size": 2**18}, {"num_hidden_layers": 3}, {"intermediate_size": 25}],
)
def test_a_config_that_the_weights_do_not_fit_allocates_nothing(bert, changes):
    with pytest.raises(UnloadableVersion, match="do not fit"):
        load_state(bert_on_meta(**changes), find_weights(bert), "cpu")


def test_integers_in_place_of_weights_are_refused(bert):
    header = {name: ("I32", shape) for name, (_, shape) in read_headers(find_weights(bert)).items()}
    with pytest.raises(UnloadableVersion, match="not floating point"):
        check_shapes(bert_on_meta(), header)


def test_a_base_model_is_found_inside_one_with_a_head_and_ties_are_kept(tmp_path):
    torch.manual_seed(1)
    whole = BertForMaskedLM(BertConfig(**SIZES))
    whole.save_pretrained(tmp_path)
    with torch.device("meta"):
        bare = BertModel(BertConfig(**SIZES), add_pooling_layer=False)
        again = BertForMaskedLM(BertConfig(**SIZES))
    loaded = load_state(bare, find_weights(tmp_path), "cpu", options={"add_pooling_layer": False})
    assert torch.equal(loaded.embeddings.word_embeddings.weight, whole.bert.embeddings.word_embeddings.weight)
    tied = load_state(again, find_weights(tmp_path), "cpu")
    assert tied.cls.predictions.decoder.weight is tied.bert.embeddings.word_embeddings.weight


def test_tensors_that_transformers_renames_are_found_by_their_old_names(tmp_path):
    torch.manual_seed(1)
    config = ViTConfig(
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=24,
        image_size=16,
        patch_size=8,
    )
    model = ViTModel(config)
    model.save_pretrained(tmp_path)
    names = read_headers(find_weights(tmp_path))
    assert any("encoder.layer.0" in name for name in names), "saved under the names of older versions"
    with torch.device("meta"):
        empty = ViTModel(config)
    loaded = load_state(empty, find_weights(tmp_path), "cpu")
    for name, value in model.state_dict().items():
        assert torch.equal(value, loaded.state_dict()[name])


def test_two_tensors_for_one_weight_are_refused(bert):
    header = read_headers(find_weights(bert))
    header["bert.pooler.dense.bias"] = header["pooler.dense.bias"]
    with pytest.raises(UnloadableVersion, match="both"):
        check_shapes(bert_on_meta(), header)


def test_plain_torch_modules_load_too(tmp_path):
    source = nn.Linear(3, 2)
    save_file(source.state_dict(), tmp_path / "model.safetensors")
    with torch.device("meta"):
        empty = nn.Linear(3, 2)
    loaded = load_state(empty, find_weights(tmp_path), "cpu")
    assert torch.equal(loaded.weight, source.weight)


@pytest.mark.parametrize("text", ["{", "[1]", "nul", '{"a": ' * 10_000, " " * (4 * 2**20 + 1)])
def test_json_that_is_broken_deep_or_huge_is_refused(tmp_path, text):
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(UnloadableVersion, match=r"config\.json"):
        read_json(tmp_path / "config.json")


def rebuild(**changes):
    return rebuild_config({"model_type": "bert", **SIZES, **changes}, model_types={"bert", "distilbert"})


def test_a_config_keeps_what_describes_the_model_and_nothing_else():
    config = rebuild(
        hidden_act="relu",
        id2label={"0": "no", "1": "yes"},
        auto_map={"AutoModel": "evil.Model"},
        quantization_config={"quant_method": "evil"},
        attn_implementation="attacker/kernel",
        _attn_implementation="attacker/kernel",
        _attn_implementation_internal="attacker/kernel",
        experts_implementation="attacker/kernel",
        output_hidden_states=True,
        return_dict=False,
        chunk_size_feed_forward=7,
        name_or_path="attacker/repo",
        surprise={"a": 1},
    )
    assert (config.hidden_act, config.id2label) == ("relu", {0: "no", 1: "yes"})
    assert config.return_dict is True
    assert config.output_hidden_states is False
    assert config.chunk_size_feed_forward == 0
    kept = json.dumps(config.to_dict())
    assert not any(word in kept for word in ("attacker", "evil", "surprise"))


@pytest.mark.parametrize(
    "changes",
    [
        {"model_type": "llama"},
        {"model_type": "../bert"},
        {"model_type": None},
        {"model_type": ["bert"]},
        {"num_hidden_layers": 100_000},
        {"hidden_size": 10**12},
        {"hidden_size": -(10**12)},
        {"hidden_size": "big"},
        {"layer_norm_eps": float("inf")},
        {"hidden_act": "x" * 10_000},
        {"id2label": {str(index): "a" for index in range(60_000)}},
        {"id2label": {"0": [[[[[["deep"]]]]]]}},
        {"position_embedding_type": "relative_key"},
        {"add_cross_attention": True},
    ],
)
def test_values_out_of_bounds_are_refused(changes):
    with pytest.raises(UnloadableVersion):
        rebuild(**changes)


def test_names_that_a_config_calls_by_another_word_still_count():
    raw = {"model_type": "distilbert", "hidden_size": 64, "n_layers": 1}
    assert rebuild_config(raw, model_types={"distilbert"}).dim == 64
