"""Small random models of every architecture the text engine allows, and a sink that waits for answers."""

import threading
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from inference.engines.base import Chunk, GenerateRequest, Manifest, Sampling
from inference.engines.text.configuration import ARCHITECTURES
from inference.engines.text.engine import TextEngine

torch.set_num_threads(1)
VOCAB, CONTEXT = 320, 512

DECODER = {
    "vocab_size": VOCAB, "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 3,
    "num_attention_heads": 4, "max_position_embeddings": CONTEXT, "bos_token_id": None, "eos_token_id": None,
    "pad_token_id": 0, "initializer_range": 0.3,
}  # fmt: skip
CONFIGS: dict[str, dict[str, Any]] = {
    "llama": DECODER | {"num_key_value_heads": 2},
    "mistral": DECODER | {"num_key_value_heads": 2, "sliding_window": 40},
    "qwen2": DECODER
    | {"num_key_value_heads": 2, "use_sliding_window": True, "sliding_window": 24, "max_window_layers": 1},
    "qwen3": DECODER | {"num_key_value_heads": 2, "head_dim": 16, "tie_word_embeddings": True},
    "phi3": DECODER | {"num_key_value_heads": 2, "original_max_position_embeddings": CONTEXT},
    "gemma": DECODER | {"num_key_value_heads": 1, "head_dim": 16},
    "gpt2": {
        "vocab_size": VOCAB, "n_embd": 64, "n_layer": 3, "n_head": 4, "n_positions": CONTEXT,
        "bos_token_id": None, "eos_token_id": None, "initializer_range": 0.3,
    },
    "gpt_neox": DECODER,
}  # fmt: skip


def write_tokenizer(directory: Path) -> Tokenizer:
    """A byte-level tokenizer of at most `VOCAB` tokens that can write any text."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=VOCAB, special_tokens=["<end>"], initial_alphabet=alphabet)
    tokenizer.train_from_iterator(
        ["the quick brown fox jumps over the lazy dog", "über naïve 日本語"], trainer
    )
    tokenizer.save(str(directory / "tokenizer.json"))
    return tokenizer


def write_model(directory: Path, kind: str = "llama", *, seed: int = 0, **changes: Any) -> Path:
    """A version's directory with a random model of `kind`."""
    directory.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(seed)
    model_class = getattr(transformers, ARCHITECTURES[kind].class_name)
    model = model_class(model_class.config_class(**(CONFIGS[kind] | changes))).eval()
    model.generation_config.eos_token_id = changes.get("eos_token_id")
    model.save_pretrained(directory)
    write_tokenizer(directory)
    return directory


def continue_greedily(model: Any, prompt: Sequence[int], *, count: int, **options: Any) -> list[int]:
    """What transformers' own `generate()` says after `prompt`, at most `count` tokens."""
    ids = torch.tensor([list(prompt)], device=model.device)
    output = model.generate(
        ids,
        attention_mask=torch.ones_like(ids),
        max_new_tokens=count,
        do_sample=False,
        pad_token_id=0,
        **options,
    )
    return [int(token) for token in output[0, len(prompt) :]]


def reference(directory: Path, kind: str = "llama", *, device: str = "cpu") -> Any:
    """transformers' own model, to compare with, in float32."""
    model_class = getattr(transformers, ARCHITECTURES[kind].class_name)
    return model_class.from_pretrained(directory, dtype="float32").eval().to(device)


def manifest(kind: str = "llama", *, context: int = CONTEXT, memory: int = 64 * 2**20) -> Manifest:
    name = ARCHITECTURES[kind].class_name
    return Manifest(
        task="text-generation", architecture=name, context_length=context, weight_bytes=0, memory_bytes=memory
    )


class Collector:
    """A sink that keeps every chunk, and lets a test wait for last ones (at most 60 s)."""

    def __init__(self) -> None:
        self.chunks: dict[str, list[Chunk]] = defaultdict(list)
        self.flushes = 0
        self._news = threading.Condition()

    def emit(self, request_id: str, chunk: Chunk) -> None:
        with self._news:
            self.chunks[request_id].append(chunk)
            self._news.notify_all()

    def flush(self) -> None:
        self.flushes += 1

    def wait(self, *ids: str) -> None:
        with self._news:
            assert self._news.wait_for(lambda: all(map(self.is_done, ids)), 60), "no last chunk came"

    def wait_for_text(self, request_id: str, *, chunks: int = 1) -> None:
        with self._news:
            assert self._news.wait_for(lambda: len(self.chunks[request_id]) >= chunks, 60), "no text came"

    def is_done(self, request_id: str) -> bool:
        return any(chunk.finish_reason for chunk in self.chunks[request_id])

    def text(self, request_id: str) -> str:
        return "".join(chunk.text for chunk in self.chunks[request_id])

    def last(self, request_id: str) -> Chunk:
        return self.chunks[request_id][-1]

    def pieces(self, request_id: str) -> list[tuple[int, ...]]:
        """The bytes of every sampled token, from its log-probability; tokenizers here give no two alike."""
        return [entry.bytes for chunk in self.chunks[request_id] for entry in chunk.logprobs]


def ask(
    request_id: str, prompt: Sequence[int], *, max_tokens: int = 16, scope: str = "", **sampling: Any
) -> GenerateRequest:
    """A request, greedy unless told otherwise."""
    return GenerateRequest(
        id=request_id,
        prompt_ids=list(prompt),
        sampling=Sampling(max_tokens=max_tokens, **({"temperature": 0.0} | sampling)),
        cache_scope=scope,
    )


def answer(engine: TextEngine, sink: Collector, requests: Iterable[GenerateRequest]) -> dict[str, str]:
    """Submit all at once, wait for all, and return their texts by id."""
    requests = list(requests)
    for request in requests:
        engine.submit(request)
    sink.wait(*(request.id for request in requests))
    return {request.id: sink.text(request.id) for request in requests}
