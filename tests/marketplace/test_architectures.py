"""Every architecture of the table, as transformers saves it, is recognised and measured rightly."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from transformers import CONFIG_MAPPING, AutoModelForCausalLM

from inference.engines.batch.convnet import ConvNetConfig, MercatoConvNet
from marketplace.validation import Report
from marketplace.validation.architectures import ARCHITECTURES
from tests.marketplace.checkpoints import VOCAB, write_json, write_tokenizer
from tests.marketplace.test_validation import errors, look

TINY = {
    "vocab_size": VOCAB, "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 3,
    "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 8, "max_position_embeddings": 40,
    "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 1, "image_size": 8, "patch_size": 4,
}  # fmt: skip
OWN_NAMES: dict[str, dict[str, Any]] = {
    "gpt2": {"n_embd": 16, "n_layer": 3, "n_head": 2, "n_positions": 40},
    "distilbert": {"dim": 16, "hidden_dim": 32, "n_layers": 3, "n_heads": 2},
    "gpt_neox": {"head_dim": None},
    "roberta": {"pad_token_id": 1},
    "xlm-roberta": {"pad_token_id": 1},
    "mpnet": {"pad_token_id": 1},
}
SAVED = [
    (model_type, class_name, task)
    for model_type, architecture in ARCHITECTURES.items()
    for class_name, task in architecture.classes.items()
    if model_type != "mercato_convnet"
]


def save(model_type: str, class_name: str, folder: Path) -> Any:
    import transformers

    config_class = CONFIG_MAPPING[model_type]
    known = config_class().to_dict().keys()
    own = OWN_NAMES.get(model_type, {})
    values = {
        key: value
        for key, value in {**TINY, **own}.items()
        if value is not None and (key in known or key in own)
    }
    torch.set_num_threads(1)
    model = getattr(transformers, class_name)(config_class(**values))
    model.save_pretrained(folder)
    write_tokenizer(folder / "tokenizer.json")
    write_json(folder / "preprocessor_config.json", {"do_resize": False})
    return model


def facts(report: Report) -> Any:
    assert report.ok, report.findings
    return report.facts


@pytest.mark.parametrize(("model_type", "class_name", "task"), SAVED)
def test_saved_checkpoints_are_recognised(
    model_type: str, class_name: str, task: str, tmp_path: Path
) -> None:
    model = save(model_type, class_name, tmp_path)
    found = facts(look(tmp_path, task))
    assert (found.task, found.architecture) == (task, model_type)
    # Tied weights are saved once, and `parameters` lists them once.
    assert found.parameter_count == sum(weight.numel() for weight in model.parameters())
    if task != "image-classification":
        padded = ARCHITECTURES[model_type].padded_positions
        assert found.context_length == 40 - (2 if padded else 0)


def save_convnet(folder: Path, *, labels: int = 10) -> int:
    """Our own network, as its training saves it; returns its number of parameters."""
    config = ConvNetConfig(labels=tuple(map(str, range(labels))))
    network = MercatoConvNet(config)
    folder.mkdir(parents=True, exist_ok=True)
    save_file(network.state_dict(), folder / "model.safetensors")
    write_json(folder / "config.json", config.to_json())
    write_json(folder / "preprocessor_config.json", {"do_resize": True})
    return sum(weight.numel() for weight in network.parameters())


def test_our_own_network_is_recognised(tmp_path: Path) -> None:
    count = save_convnet(tmp_path)
    found = facts(look(tmp_path, "image-classification"))
    assert (found.architecture, found.parameter_count, len(found.labels)) == ("mercato_convnet", count, 10)
    save_convnet(tmp_path / "other", labels=11)
    (tmp_path / "other" / "config.json").write_bytes((tmp_path / "config.json").read_bytes())
    assert errors(look(tmp_path / "other", "image-classification")) == {"classifier": "model.safetensors"}
    (tmp_path / "preprocessor_config.json").unlink()
    assert "preprocessing-missing" in errors(look(tmp_path, "image-classification"))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_halves_what_is_loaded(dtype: torch.dtype, tmp_path: Path) -> None:
    model = save("llama", "LlamaForCausalLM", tmp_path / "full")
    model.to(dtype).save_pretrained(tmp_path / "half")
    write_tokenizer(tmp_path / "half" / "tokenizer.json")
    full, half = facts(look(tmp_path / "full")), facts(look(tmp_path / "half"))
    assert half.parameter_count == full.parameter_count
    assert half.memory_bytes < full.memory_bytes
    assert half.dtype == {torch.float16: "F16", torch.bfloat16: "BF16"}[dtype]


def test_a_sharded_checkpoint_is_read_whole(tmp_path: Path) -> None:
    model = save("gpt2", "GPT2LMHeadModel", tmp_path / "whole")
    model.save_pretrained(tmp_path / "parts", max_shard_size="10KB")
    write_tokenizer(tmp_path / "parts" / "tokenizer.json")
    assert len(list((tmp_path / "parts").glob("*.safetensors"))) > 1
    parts = facts(look(tmp_path / "parts"))
    assert parts.parameter_count == facts(look(tmp_path / "whole")).parameter_count


def test_what_transformers_can_load_but_we_cannot_run_is_refused(tmp_path: Path) -> None:
    config = CONFIG_MAPPING["opt"](
        vocab_size=VOCAB,
        hidden_size=16,
        num_hidden_layers=1,
        ffn_dim=16,
        num_attention_heads=2,
        word_embed_proj_dim=16,
    )
    AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path)
    write_tokenizer(tmp_path / "tokenizer.json")
    assert errors(look(tmp_path)) == {"architecture": "config.json"}
