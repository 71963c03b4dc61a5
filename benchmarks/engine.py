"""The text engine against plain transformers: tokens a second on one core, prefix reuse, and even streams.

Two models answer every prompt with 64 tokens, greedily: a random Llama of 5.4 million parameters (6 layers,
256 wide), and under `demo` the demo's language model (its exact shape and its tokenizer, random weights).
`p48` and `p384` are prompts of so many tokens, `c64` is 64 requests at once. Like is measured against like,
on the same core with one thread each:

- `engine.tokens_per_s` is the engine itself, streaming every token to a sink, against one padded `generate()`
  batch, to which all prompts are known from the start. They take turns over several rounds and the best round
  of each counts, so that a busy neighbour on the machine favours none.
- `engine.http_tokens_per_s` is Mercato through `/v1/completions` (web process, worker, Redis and Postgres all
  on that core; keys, holds and metering on) against `transformers serve` through HTTP, with and without its
  continuous batching; the better of two bursts counts.
- `engine.prefix_speedup` and `engine.inter_token_ms` are explained in `benchmarks/streams.py`.
"""

import argparse
import json
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from transformers import LlamaForCausalLM

from benchmarks import alone, language_models, serve_peer, site, streams
from benchmarks.language_models import Prompts, make_prompts
from benchmarks.results import Goal, row, times

COMMAND = "make bench ONLY=engine"
ANSWER = 64
CONCURRENCY = (1, 4, 16, 64)
PADDED = "one padded generate()"
Rates = dict[tuple[int, int], float]


def run(quick: bool) -> list[dict[str, Any]]:
    """One row for each model, prompt length, concurrency and peer, and those of `streams`."""
    with tempfile.TemporaryDirectory() as folder, alone.one_core() as core:
        small = language_models.write_llama(Path(folder) / "small", **language_models.SMALL)
        demo = language_models.write_demo(Path(folder) / "demo")
        rows = measure_model(small, "", lengths=(48,) if quick else (48, 384), core=core, quick=quick)
        rows += measure_model(demo, "demo.", lengths=(48,), core=core, quick=quick)
        return rows + streams.run(small, command=COMMAND, quick=quick)


def measure_model(
    directory: Path, kind: str, *, lengths: Sequence[int], core: int, quick: bool
) -> list[dict[str, Any]]:
    """Rows of one model; `kind` is its part of their names."""
    context = json.loads((directory / "config.json").read_text())["max_position_embeddings"]
    ours, padded = _measure_alone(directory, lengths, context=context, rounds=2 if quick else 4)
    rows = compare(f"engine.tokens_per_s.{kind}", ours, PADDED, padded, goal=_near_padded)
    spell = _speller(directory)
    with site.shop(directory) as shop, site.worker(shop, core=core), site.web(shop, core=core) as target:
        mine = _measure_served(target.url, shop.model, lengths, spell, headers=target.headers)
    for peer, options in serve_peer.VARIANTS.items():
        with serve_peer.serve(directory, core=core, options=options) as url:
            theirs = _measure_served(url, str(directory), lengths, spell)
        rows += compare(f"engine.http_tokens_per_s.{kind}", mine, peer, theirs, goal=_beyond_serve)
    return rows


def compare(
    name: str, ours: Rates, peer: str, theirs: Rates, *, goal: Callable[[int], Goal | None]
) -> list[dict[str, Any]]:
    """A row for each length and concurrency; `goal` answers what the concurrency must reach."""
    return [
        row(f"{name}p{length}.c{count}", ours[length, count], "tok/s", command=COMMAND, peer=peer,
            peer_value=rate, goal=goal(count))
        for (length, count), rate in theirs.items()
    ]  # fmt: skip


def _near_padded(count: int) -> Goal | None:
    return times(0.9) if count in (16, 64) else None


def _beyond_serve(count: int) -> Goal | None:
    return times(2) if count == 64 else None


def _measure_alone(
    directory: Path, lengths: Sequence[int], *, context: int, rounds: int
) -> tuple[Rates, Rates]:
    """The engine's and the padded batch's best rates for every length and concurrency."""
    model = LlamaForCausalLM.from_pretrained(directory, dtype=torch.float32).eval()
    ours: Rates = {}
    theirs: Rates = {}
    with alone.engine(directory, facts=language_models.manifest(context=context)) as (engine, listener):
        for length in lengths:
            for count in CONCURRENCY:
                case = length, count
                ours[case] = theirs[case] = 0.0
                # The first is to warm up; short ones are soon disturbed and get more.
                for number in range(1 + (rounds if count > 4 else 3 * rounds)):
                    prompts = make_prompts(length, count, seed=number)
                    mine = alone.burst_seconds(engine, listener, prompts, answer=ANSWER)
                    padded = alone.padded_seconds(model, prompts, answer=ANSWER)
                    if number:
                        ours[case] = max(ours[case], count * ANSWER / mine)
                        theirs[case] = max(theirs[case], count * ANSWER / padded)
    return ours, theirs


def _measure_served(
    url: str,
    model: str,
    lengths: Sequence[int],
    spell: Callable[[Prompts], list[str]],
    *,
    headers: Mapping[str, str] | None = None,
) -> Rates:
    return {
        (length, count): max(
            serve_peer.measure(
                url, model, spell(make_prompts(length, count, seed=seed)), answer=ANSWER, headers=headers
            )
            for seed in (8, 9)
        )
        for length in lengths
        for count in CONCURRENCY
    }


def _speller(directory: Path) -> Callable[[Prompts], list[str]]:
    """Prompts as text. The demo's tokenizer may cut it a little differently, for ours and peers alike."""
    tokenizer = Tokenizer.from_file(str(directory / "tokenizer.json"))
    return lambda prompts: [tokenizer.decode(prompt) for prompt in prompts]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="short prompts only, and fewer rounds")
    for line in run(parser.parse_args().quick):
        print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
