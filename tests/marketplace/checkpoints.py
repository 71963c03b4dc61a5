"""Writes tiny checkpoints of the kinds that providers send."""

import json
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file
from tokenizers import Tokenizer, models, pre_tokenizers

VOCAB, HIDDEN, LAYERS, HEADS, POSITIONS = 64, 16, 2, 2, 128
TEMPLATE = (
    "{% for message in messages %}<|{{ message.role }}|>{{ message.content }}{{ eos_token }}{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
CARD = """---
language: [en, fr]
license: apache-2.0
tags: [tiny, test]
pipeline_tag: text-generation
model-index:
- name: tiny
  results:
  - task: {type: text-generation, name: Text generation}
    dataset: {name: Documentation, type: docs}
    metrics:
    - {type: perplexity, name: Perplexity, value: 12.5}
    - {type: broken}
---
# Tiny
A model for tests.
"""


def write_json(path: Path, value: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value))


def write_tokenizer(path: Path, *, size: int = VOCAB) -> None:
    """A word-level tokenizer with ids 0 to size - 1."""
    words = ["<unk>", "<eos>", "Hello", "world", ",", *(f"w{number}" for number in range(size - 5))]
    vocabulary = {word: number for number, word in enumerate(words)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.save(str(path))


def llama_tensors(*, layers: int = LAYERS, vocab: int = VOCAB, hidden: int = HIDDEN) -> dict[str, Any]:
    tensors = {
        "model.embed_tokens.weight": np.zeros((vocab, hidden), np.float32),
        "model.norm.weight": np.ones(hidden, np.float32),
        "lm_head.weight": np.zeros((vocab, hidden), np.float32),
    }
    for layer in range(layers):
        for part in ("q", "k", "v", "o"):
            name = f"model.layers.{layer}.self_attn.{part}_proj.weight"
            tensors[name] = np.zeros((hidden, hidden), np.float32)
    return tensors


def llama_config() -> dict[str, Any]:
    return {
        "model_type": "llama",
        "architectures": ["LlamaForCausalLM"],
        "vocab_size": VOCAB,
        "hidden_size": HIDDEN,
        "intermediate_size": 2 * HIDDEN,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS,
        "max_position_embeddings": POSITIONS,
        "rms_norm_eps": 1e-6,
        "rope_theta": 10000.0,
        "eos_token_id": 1,
        "dtype": "float32",
    }


def write_text_model(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "config.json", llama_config())
    write_json(folder / "generation_config.json", {"eos_token_id": 1})
    write_json(folder / "tokenizer_config.json", {"eos_token": "<eos>", "chat_template": TEMPLATE})
    write_tokenizer(folder / "tokenizer.json")
    save_file(llama_tensors(), folder / "model.safetensors")
    (folder / "README.md").write_text(CARD)
    return folder


def write_safetensors(
    path: Path, header: Mapping[str, Any] | bytes, data: bytes = b"", *, length: int | None = None
) -> None:
    """A safetensors file with any header, also a lying one."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text) if length is None else length) + text + data)
