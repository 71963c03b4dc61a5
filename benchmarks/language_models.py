"""Language models of random weights for measuring, and prompts of exact lengths for them."""

import json
import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM

from inference.engines.base import Manifest

VOCAB, CONTEXT = 4096, 2048
# Under 5.5 million parameters, embeddings shared with the head: what one core of a laptop can serve.
SMALL: dict[str, Any] = {
    "hidden_size": 256, "intermediate_size": 688, "num_hidden_layers": 6, "num_attention_heads": 8,
    "num_key_value_heads": 4, "tie_word_embeddings": True,
}  # fmt: skip
CARD = "---\nlicense: apache-2.0\npipeline_tag: text-generation\n---\n# Random weights\n"
Prompts = Sequence[list[int]]


def write_llama(directory: Path, *, dtype: torch.dtype = torch.float32, **shape: Any) -> Path:
    """A Llama of this shape that never ends an answer, and a tokenizer of one word per token, so that every
    way gets prompts of one length.
    """
    directory.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    config = describe(shape)
    model = LlamaForCausalLM(config).eval().to(dtype)
    model.generation_config.pad_token_id = 0
    model.save_pretrained(directory)
    _write_words(directory, config)
    return directory


def write_shards(directory: Path, model: LlamaForCausalLM, *, file_bytes: int) -> Path:
    """Random weights for a model without memory, in files of about `file_bytes` each, and a tokenizer."""
    directory.mkdir(parents=True, exist_ok=True)
    draw = torch.Generator().manual_seed(0)
    tied = set(model.all_tied_weights_keys) if model.config.tie_word_embeddings else set()
    held: dict[str, torch.Tensor] = {}
    named = [(name, tensor) for name, tensor in model.state_dict().items() if name not in tied]
    index: dict[str, str] = {}
    for name, blank in named:
        made = (
            torch.ones(blank.shape)
            if blank.ndim == 1
            else torch.empty(blank.shape).normal_(0, 0.02, generator=draw)
        )
        held[name] = made.to(model.dtype)
        if sum(tensor.nbytes for tensor in held.values()) >= file_bytes or name == named[-1][0]:
            file = f"model-{len(index):05}.safetensors"
            save_file(held, directory / file, metadata={"format": "pt"})
            index |= dict.fromkeys(held, file)
            held.clear()
    (directory / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": index}))
    model.config.save_pretrained(directory)
    _write_words(directory, model.config)
    return directory


def _write_words(directory: Path, config: LlamaConfig) -> None:
    """A tokenizer of one word per token, and a card."""
    words = models.WordLevel({f"w{number}": number for number in range(config.vocab_size)}, unk_token="w0")
    tokenizer = Tokenizer(words)
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.save(str(directory / "tokenizer.json"))
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "pad_token": "w0", "model_max_length": CONTEXT}
    (directory / "tokenizer_config.json").write_text(json.dumps(settings))
    (directory / "README.md").write_text(CARD)


def write_demo(directory: Path) -> Path:
    """The demo's language model: its exact shape and its tokenizer, as built from its corpus, but with random
    weights and no end token, which change no step's cost and let every answer have its full length.
    """
    from inference.training import language_model
    from inference.training.byte_bpe import save_tokenizer

    directory.mkdir(parents=True, exist_ok=True)
    tokenizer = language_model.prepare().tokenizer
    torch.manual_seed(0)
    config = language_model.describe(tokenizer)
    config.eos_token_id = None
    model = LlamaForCausalLM(config).eval()
    model.generation_config.eos_token_id = None
    model.save_pretrained(directory)
    save_tokenizer(tokenizer, directory, context_length=language_model.CONTEXT)
    (directory / "README.md").write_text(CARD)
    return directory


def manifest(*, context: int = CONTEXT, memory_bytes: int = 2 * 2**30) -> Manifest:
    return Manifest(
        task="text-generation", architecture="LlamaForCausalLM", context_length=context, weight_bytes=0,
        memory_bytes=memory_bytes,
    )  # fmt: skip


def make_prompts(length: int, count: int, *, seed: int, vocab: int = VOCAB) -> list[list[int]]:
    """Prompts that share no prefix, so that nothing is won by reuse. Ids below 300 may be special ones."""
    draw = random.Random(seed)
    return [[draw.randrange(300, vocab) for _ in range(length)] for _ in range(count)]


def describe(shape: Mapping[str, Any]) -> LlamaConfig:
    """A configuration of this shape that ends no answer."""
    common = {
        "vocab_size": VOCAB, "max_position_embeddings": CONTEXT, "bos_token_id": None, "eos_token_id": None,
        "pad_token_id": 0,
    }  # fmt: skip
    return LlamaConfig(**(common | dict(shape)))
