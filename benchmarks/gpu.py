"""The text engine on a GPU against transformers' own continuous batching, and against the memory's bandwidth.

Llama shapes of 1.2 and 8 billion parameters, random bf16 weights; 1 to 256 requests at once, prompts of 128 tokens,
answers of 128, greedy. Both run in this process on the same device, one after the other, and the best of several bursts
counts; neither speaks HTTP.

- `gpu.tokens_per_s.SHAPE.cN`: the answers' tokens over the time from the first request to the last token, prompts
  included.
- `gpu.bandwidth_share.SHAPE.cN`: that rate over the most that memory allows: a step reads all weights once (of an input
  embedding that is not also the head, only rows) and every request's keys and values, half an answer long, at the
  bandwidth that a large copy on the device reaches, bytes read and written together.

Without a CUDA device the group measures nothing and says so.
"""

import gc
import itertools
import json
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import GenerationConfig, LlamaForCausalLM
from transformers.generation.configuration_utils import ContinuousBatchingConfig

from benchmarks import alone, language_models
from benchmarks.language_models import Prompts, make_prompts
from benchmarks.results import Goal, at_least, row, times
from inference.engines.device import hand_back_memory, wait

COMMAND = "make bench ONLY=gpu"
PEER = "transformers continuous batching"
NO_DEVICE = "There is no CUDA device: nothing was measured. Run this where torch.cuda.is_available()."
WORKING_BYTES = 2 * 2**30
DTYPE = torch.bfloat16
SHAPES: Mapping[str, Mapping[str, Any]] = {
    "1b": {
        "vocab_size": 128_256, "hidden_size": 2048, "intermediate_size": 8192, "num_hidden_layers": 16,
        "num_attention_heads": 32, "num_key_value_heads": 8, "tie_word_embeddings": True,
    },
    "8b": {
        "vocab_size": 128_256, "hidden_size": 4096, "intermediate_size": 14_336, "num_hidden_layers": 32,
        "num_attention_heads": 32, "num_key_value_heads": 8, "tie_word_embeddings": False,
    },
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Load:
    """Tokens of every prompt and answer, how many at once, and measured bursts of each."""

    prompt: int = 128
    answer: int = 128
    counts: Sequence[int] = (1, 4, 16, 64, 256)
    rounds: int = 3

    @property
    def context(self) -> int:
        return self.prompt + self.answer


@dataclass(frozen=True, slots=True)
class Sizes:
    """Bytes of all weights, of those that a decoding step reads, and of one token's keys and values."""

    weights: int
    read: int
    per_token: int

    @classmethod
    def of(cls, model: LlamaForCausalLM) -> "Sizes":
        """Works on a model without memory, too."""
        config = model.config
        sizes = {name: tensor.numel() * tensor.element_size() for name, tensor in model.named_parameters()}
        weights = sum(sizes.values())
        embedding = 0 if config.tie_word_embeddings else sizes["model.embed_tokens.weight"]
        head_dim = config.hidden_size // config.num_attention_heads
        per_token = (
            2 * config.num_hidden_layers * config.num_key_value_heads * head_dim * model.dtype.itemsize
        )
        return cls(weights, weights - embedding, per_token)

    def step_bytes(self, count: int, *, context: float) -> float:
        """What a step of `count` requests reads that hold `context` tokens each."""
        return self.read + count * context * self.per_token

    def needed(self, load: Load) -> int:
        """Bytes for weights, the keys and values of the largest burst with some to spare, and a step's work."""
        return self.weights + int(1.25 * max(load.counts) * load.context * self.per_token) + WORKING_BYTES


def run(quick: bool) -> list[dict[str, Any]]:
    """Rows of every shape that the device holds; none where there is no device."""
    if not torch.cuda.is_available():
        print(NO_DEVICE)
        return []
    load = Load(counts=(1, 64), rounds=1) if quick else Load()
    bandwidth = copy_bandwidth("cuda", size=2 * 2**30)
    rows = [row("gpu.copy_gb_per_s", bandwidth / 1e9, "GB/s", command=COMMAND)]
    for name, shape in SHAPES.items():
        needed, free = blank(shape, load=load).needed(load), torch.cuda.mem_get_info()[0]
        if needed > free:
            print(
                f"{name} needs {needed / 2**30:.0f} GiB; the device has {free / 2**30:.0f} free. It is left out."
            )
            continue
        rows += measure(name, shape, load=load, device="cuda", bandwidth=bandwidth)
    return rows


def measure(
    name: str, shape: Mapping[str, Any], *, load: Load, device: str, bandwidth: float
) -> list[dict[str, Any]]:
    """Rows of one shape: rates beside the peer's, and shares of what `bandwidth` (bytes a second) allows."""
    sizes = blank(shape, load=load)
    with tempfile.TemporaryDirectory() as folder:
        directory = write(Path(folder), shape, load=load)
        vocab = shape["vocab_size"]
        mine = _ours(directory, load=load, sizes=sizes, vocab=vocab, device=device)
        _hand_back(device)
        theirs = _peer(directory, load=load, vocab=vocab, device=device)
        _hand_back(device)
    rows = [
        row(f"gpu.tokens_per_s.{name}.c{count}", rate, "tok/s", command=COMMAND, peer=PEER,
            peer_value=theirs[count], goal=_beyond_peer(count))
        for count, rate in mine.items()
    ]  # fmt: skip
    for count, rate in mine.items():
        context = load.prompt + load.answer / 2
        limit = count * bandwidth / sizes.step_bytes(count, context=context)
        share = row(
            f"gpu.bandwidth_share.{name}.c{count}", rate / limit, "of the limit", command=COMMAND,
            goal=at_least(0.6) if count == 1 else None,
        )  # fmt: skip
        rows.append(share)
    return rows


def copy_bandwidth(device: str, *, size: int, rounds: int = 10) -> float:
    """Bytes a second, read and written, of the best of several copies of `size` bytes on the device."""
    source = torch.zeros(size, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    seconds = []
    for _ in range(rounds + 1):
        wait(device)
        started = time.perf_counter()
        target.copy_(source)
        wait(device)
        seconds.append(time.perf_counter() - started)
    # The first touches the memory.
    return 2 * size / min(seconds[1:])


def blank(shape: Mapping[str, Any], *, load: Load) -> Sizes:
    """Sizes of a shape, without a weight in memory."""
    return Sizes.of(_without_memory(shape, load=load))


def write(directory: Path, shape: Mapping[str, Any], *, load: Load, file_bytes: int = 4 * 2**30) -> Path:
    """A Llama of this shape in files of about `file_bytes`, so that one of them at a time is in memory."""
    model = _without_memory(shape, load=load)
    return language_models.write_shards(directory, model, file_bytes=file_bytes)


def _without_memory(shape: Mapping[str, Any], *, load: Load) -> LlamaForCausalLM:
    config = language_models.describe({**shape, "max_position_embeddings": load.context, "dtype": DTYPE})
    with torch.device("meta"):
        return LlamaForCausalLM(config).to(DTYPE)


def _ours(directory: Path, *, load: Load, sizes: Sizes, vocab: int, device: str) -> dict[int, float]:
    """Tokens a second for every count."""
    facts = language_models.manifest(context=load.context, memory_bytes=sizes.needed(load))
    with alone.engine(directory, facts=facts, device=device, slots=max(load.counts)) as running:

        def burst(prompts: Prompts) -> float:
            return alone.burst_seconds(*running, prompts, answer=load.answer)

        return {count: _best(burst, count, load=load, vocab=vocab) for count in load.counts}


def _peer(directory: Path, *, load: Load, vocab: int, device: str) -> dict[int, float]:
    model = LlamaForCausalLM.from_pretrained(directory, dtype=DTYPE).eval().to(device)

    def burst(prompts: Prompts) -> float:
        return batched_seconds(model, prompts, answer=load.answer)

    return {count: _best(burst, count, load=load, vocab=vocab) for count in load.counts}


def _best(burst: Callable[[Prompts], float], count: int, *, load: Load, vocab: int) -> float:
    seconds = [
        burst(make_prompts(load.prompt, count, seed=number, vocab=vocab)) for number in range(load.rounds + 1)
    ]
    # The first is to warm up.
    return count * load.answer / min(seconds[1:])


def batched_seconds(model: LlamaForCausalLM, prompts: Prompts, *, answer: int) -> float:
    """How long transformers' continuous batching takes, from the first request to the last token: not what it
    needs to set itself up. On a GPU it sizes itself. Raises `RuntimeError` for an answer of another length.
    """
    wanted = GenerationConfig(max_new_tokens=answer, do_sample=False, eos_token_id=-1, pad_token_id=0)
    # Without a GPU it cannot see how much memory there is.
    fitting = len(prompts) * (len(prompts[0]) + answer) // 16 + 64
    sizes = (
        {}
        if model.device.type == "cuda"
        else {"page_size": 16, "num_blocks": fitting, "max_batch_tokens": 512}
    )
    outputs = model.generate_batch(
        [list(prompt) for prompt in prompts], generation_config=wanted, record_timestamps=True,
        continuous_batching_config=ContinuousBatchingConfig(**sizes),
    )  # fmt: skip
    made = [len(output.generated_tokens) for output in outputs.values()]
    if made != [answer] * len(prompts):
        raise RuntimeError(f"{PEER} made {made} tokens")
    stamps = itertools.chain.from_iterable(output.timestamps for output in outputs.values())
    return float(max(stamps) - min(output.created_time for output in outputs.values()))


def _hand_back(device: str) -> None:
    """What nobody holds any more is the device's again: the peer takes nine tenths of what is free, and the next
    shape is measured only where it fits.
    """
    gc.collect()
    hand_back_memory(device)


def _beyond_peer(count: int) -> Goal | None:
    return times(3) if count == 64 else None


if __name__ == "__main__":
    for line in run(quick=False):
        print(json.dumps(line), flush=True)
