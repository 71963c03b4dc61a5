"""The text engine against plain transformers: tokens per second on one core, by prompt length and concurrency.

A random Llama of 5.4 million parameters (6 layers, 256 wide) answers every prompt with 64 tokens, greedily.
Like is measured against like, on the same core with one thread each:

- the engine itself, streaming every token to a sink, against one padded `generate()` batch, to which all prompts
  are known from the start;
- Mercato through `/v1/completions` (web process, worker, Redis and Postgres all on that core; keys, holds and
  metering on) against `transformers serve` through HTTP, with and without continuous batching.

Engine and `generate()` take turns over several rounds and the best round of each counts, so that a busy
neighbour on the machine favours none.
"""

import argparse
import json
import os
import random
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Event
from typing import Any

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM

from benchmarks import serve_peer, site
from inference.engines.base import Chunk, GenerateRequest, Manifest, Sampling
from inference.engines.text.engine import TextEngine

COMMAND = "python -m benchmarks.engine"
VOCAB, ANSWER, CONTEXT = 4096, 64, 2048
CONCURRENCY = (1, 4, 16, 64)
PADDED = "one padded generate() batch"
Prompts = Sequence[list[int]]


class Countdown:
    """A sink that says when the last of so many requests has ended."""

    def __init__(self) -> None:
        self.left = 0
        self.done = Event()

    def expect(self, count: int) -> None:
        self.left = count
        self.done.clear()

    def emit(self, request_id: str, chunk: Chunk) -> None:
        if chunk.finish_reason is None:
            return
        if chunk.finish_reason != "length":
            raise RuntimeError(f"{request_id}: {chunk.finish_reason} {chunk.error}")
        self.left -= 1
        if not self.left:
            self.done.set()

    def flush(self) -> None:
        pass


def run(quick: bool) -> list[dict[str, Any]]:
    """One row for each prompt length, concurrency and peer."""
    lengths = (48,) if quick else (48, 384)
    with tempfile.TemporaryDirectory() as folder, _one_core() as core:
        directory = write_model(Path(folder))
        alone = _measure_here(directory, lengths, rounds=2 if quick else 4)
        with site.shop(directory) as shop, site.worker(shop, core=core), site.web(shop, core=core) as target:
            mine = _measure_served(target.url, shop.model, lengths, headers=target.headers)
        served = {}
        for peer, options in serve_peer.VARIANTS.items():
            with serve_peer.serve(directory, core=core, options=options) as url:
                served[peer] = _measure_served(url, str(directory), lengths)
    rows = [
        row("engine", length, count, ours=each["ours"], peer=PADDED, theirs=each[PADDED])
        for (length, count), each in alone.items()
    ]
    return rows + [
        row("serve", length, count, ours=mine[length, count], peer=peer, theirs=rate)
        for peer, rates in served.items()
        for (length, count), rate in rates.items()
    ]


def row(what: str, length: int, count: int, *, ours: float, peer: str, theirs: float) -> dict[str, Any]:
    """A line of the results. `what` is "engine", or "serve" for the way through HTTP."""
    return {
        "name": f"{what}.tokens_per_s.p{length}.c{count}",
        "value": round(ours, 1),
        "unit": "tok/s",
        "peer": peer,
        "peer_value": round(theirs, 1),
        "ratio": round(ours / theirs, 3),
        "command": COMMAND,
    }


def write_model(directory: Path) -> Path:
    """The model, and a tokenizer of one word per token, so that every way gets prompts of one length."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=VOCAB,
        hidden_size=256,
        intermediate_size=688,
        num_hidden_layers=6,
        num_attention_heads=8,
        num_key_value_heads=4,
        max_position_embeddings=CONTEXT,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=None,
        pad_token_id=0,
    )
    model = LlamaForCausalLM(config).eval()
    model.generation_config.pad_token_id = 0
    model.save_pretrained(directory)
    words = models.WordLevel({f"w{number}": number for number in range(VOCAB)}, unk_token="w0")
    tokenizer = Tokenizer(words)
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.save(str(directory / "tokenizer.json"))
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "pad_token": "w0", "model_max_length": CONTEXT}
    (directory / "tokenizer_config.json").write_text(json.dumps(settings))
    card = "---\nlicense: apache-2.0\npipeline_tag: text-generation\n---\n# Random weights\n"
    (directory / "README.md").write_text(card)
    return directory


def make_prompts(length: int, count: int, *, seed: int) -> list[list[int]]:
    """Prompts that share no prefix, so that nothing is won by reuse."""
    draw = random.Random(seed)
    return [[draw.randrange(1, VOCAB) for _ in range(length)] for _ in range(count)]


def _spell(prompt: list[int]) -> str:
    return " ".join(f"w{number}" for number in prompt)


@contextmanager
def _one_core() -> Iterator[int]:
    """Run on one core with one thread; the number of the core."""
    cores, threads = os.sched_getaffinity(0), torch.get_num_threads()
    core = max(cores)
    os.sched_setaffinity(0, {core})
    torch.set_num_threads(1)
    try:
        yield core
    finally:
        os.sched_setaffinity(0, cores)
        torch.set_num_threads(threads)


def _measure_here(
    directory: Path, lengths: Sequence[int], *, rounds: int
) -> dict[tuple[int, int], dict[str, float]]:
    """The engine's and the padded batch's best rates for every length and concurrency."""
    sink = Countdown()
    manifest = Manifest(
        task="text-generation",
        architecture="LlamaForCausalLM",
        context_length=CONTEXT,
        weight_bytes=0,
        memory_bytes=2 * 2**30,
    )
    engine = TextEngine.load(directory, manifest=manifest, device="cpu", sink=sink)
    model = LlamaForCausalLM.from_pretrained(directory, dtype=torch.float32).eval()
    rates: dict[tuple[int, int], dict[str, float]] = {}
    try:
        for length in lengths:
            for count in CONCURRENCY:
                best = rates.setdefault((length, count), {"ours": 0.0, PADDED: 0.0})
                # The first is to warm up; short ones are soon disturbed and get more.
                for number in range(1 + (rounds if count > 4 else 3 * rounds)):
                    prompts = make_prompts(length, count, seed=number)
                    ours, padded = _time_engine(engine, sink, prompts), _time_padded(model, prompts)
                    if number:
                        best["ours"], best[PADDED] = max(best["ours"], ours), max(best[PADDED], padded)
    finally:
        engine.close(drain=False, timeout=10)
    return rates


def _measure_served(
    url: str, model: str, lengths: Sequence[int], *, headers: Mapping[str, str] | None = None
) -> dict[tuple[int, int], float]:
    """The better of two bursts for every length and concurrency."""
    rates = {}
    for length in lengths:
        for count in CONCURRENCY:
            bursts = [
                [_spell(prompt) for prompt in make_prompts(length, count, seed=seed)] for seed in (8, 9)
            ]
            rates[length, count] = max(
                serve_peer.measure(url, model, texts, answer=ANSWER, headers=headers) for texts in bursts
            )
    return rates


def _time_engine(engine: TextEngine, sink: Countdown, prompts: Prompts) -> float:
    sampling = Sampling(max_tokens=ANSWER, temperature=0.0)
    sink.expect(len(prompts))
    started = time.perf_counter()
    for number, prompt in enumerate(prompts):
        engine.submit(GenerateRequest(id=str(number), prompt_ids=prompt, sampling=sampling))
    if not sink.done.wait(600):
        raise TimeoutError("the engine did not finish")
    return len(prompts) * ANSWER / (time.perf_counter() - started)


def _time_padded(model: Any, prompts: Prompts) -> float:
    started = time.perf_counter()
    ids = torch.tensor(prompts)
    output = model.generate(
        ids, attention_mask=torch.ones_like(ids), max_new_tokens=ANSWER, do_sample=False, pad_token_id=0
    )
    assert output.shape == (len(prompts), len(prompts[0]) + ANSWER)
    return len(prompts) * ANSWER / (time.perf_counter() - started)


def main() -> None:
    parser = argparse.ArgumentParser(prog=COMMAND, description=__doc__)
    parser.add_argument("--quick", action="store_true", help="short prompts only, and fewer rounds")
    for line in run(parser.parse_args().quick):
        print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
