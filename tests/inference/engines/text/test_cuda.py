"""On a (simulated) CUDA device the text engine says what it says on the CPU, and hardly ever waits for it."""

import random
from pathlib import Path
from typing import Any

import pytest
import torch

from inference.engines.base import GenerateRequest
from inference.engines.text import attention
from inference.engines.text.engine import TextEngine
from tests.inference.engines.simulated_cuda import Waits
from tests.inference.engines.text.conftest import Start
from tests.inference.engines.text.models import CONFIGS, VOCAB, Collector, answer, ask, write_model

LENGTHS = [1, 2, 16, 17, 17, 40, 100]
SAMPLINGS: list[dict[str, Any]] = [
    {},
    {"logprobs": 3},
    {"logprobs": 0, "temperature": 1.0, "seed": 1},
    {"temperature": 0.8, "top_p": 0.9, "seed": 2},
    {"temperature": 1.2, "top_k": 5, "seed": 3, "logprobs": 1},
    {"frequency_penalty": 0.5, "presence_penalty": 0.5, "repetition_penalty": 1.3},
    {"logit_bias": {5: 3.0, 6: -100.0}, "temperature": 1.0, "seed": 4},
]


def requests(*samplings: dict[str, Any]) -> list[GenerateRequest]:
    draw = random.Random(1)
    prompts = [[draw.randrange(1, VOCAB) for _ in range(length)] for length in LENGTHS]
    prompts.append(prompts[-1][:80] + prompts[3])  # begins like another, which is then copied
    return [
        ask(f"{number}-{kind}", prompt, max_tokens=12, **sampling)
        for kind, sampling in enumerate(samplings)
        for number, prompt in enumerate(prompts)
    ]


def ask_twice(engine: TextEngine, sink: Collector, *samplings: dict[str, Any]) -> list[Any]:
    """All at once, and the last again, alone and with a prefix at hand. What was said of each."""
    asked = requests(*samplings)
    answer(engine, sink, asked)
    said = [(chunk.text, chunk.finish_reason, chunk.error) for r in asked for chunk in sink.chunks[r.id]]
    said += [tuple(entry.token for entry in chunk.logprobs) for r in asked for chunk in sink.chunks[r.id]]
    sink.chunks.clear()
    return [*said, answer(engine, sink, asked[-1:])]


@pytest.mark.parametrize("kind", CONFIGS)
def test_every_architecture_answers_as_on_the_cpu(
    kind: str, tmp_path: Path, start: Start, sink: Collector, cuda: Waits
) -> None:
    directory = write_model(tmp_path, kind)
    at_home = Collector()
    expected = ask_twice(start(directory, kind, sink=at_home, device="cpu", step_tokens=32), at_home, {})
    engine = start(directory, kind, device="cuda:0", step_tokens=32)
    assert ask_twice(engine, sink, {}) == expected


def test_every_way_to_sample_chooses_as_on_the_cpu(
    llama: Path, start: Start, sink: Collector, cuda: Waits
) -> None:
    at_home = Collector()
    expected = ask_twice(start(llama, sink=at_home, device="cpu"), at_home, *SAMPLINGS)
    assert ask_twice(start(llama, device="cuda:0"), sink, *SAMPLINGS) == expected


@pytest.mark.parametrize("kind", ["llama", "mistral", "gpt2"])
def test_a_step_reads_from_the_device_once_and_no_upload_waits(
    kind: str, tmp_path: Path, start: Start, sink: Collector, cuda: Waits
) -> None:
    engine = start(write_model(tmp_path, kind), kind, device="cuda:0", step_tokens=2000)
    together = [ask(str(n), [n + 1] * 9, max_tokens=12, **sampling) for n, sampling in enumerate(SAMPLINGS)]
    cuda.clear()
    answer(engine, sink, together)
    assert all(sink.last(request.id).finish_reason == "length" for request in together)
    assert cuda.pop("queued upload") > 0
    assert cuda == {"read": engine.stats().steps}


def test_the_time_of_a_step_that_chooses_nothing_is_its_own(
    llama: Path, start: Start, sink: Collector, cuda: Waits
) -> None:
    engine = start(llama, device="cuda:0", step_tokens=16)
    cuda.clear()
    answer(engine, sink, [ask("long", list(range(1, 100)), max_tokens=2)])
    assert (cuda["wait"], cuda["read"]) == (6, 2)  # six chunks of 16, then the last three tokens, then one


def test_a_nucleus_wider_than_the_candidates_costs_one_more_read(
    tmp_path: Path, start: Start, sink: Collector, cuda: Waits
) -> None:
    directory = write_model(tmp_path, vocab_size=600)
    engine = start(directory, device="cuda:0")
    cuda.clear()
    answer(engine, sink, [ask("wide", [1, 2], max_tokens=4, temperature=100.0, top_p=0.99, seed=1)])
    assert cuda["read"] == 8
    assert sink.last("wide").finish_reason == "length"


def test_memory_goes_back_to_the_device_after_loading_and_at_the_end(
    llama: Path, start: Start, cuda: Waits
) -> None:
    engine = start(llama, device="cuda:0")
    assert cuda["memory handed back"] == 1
    engine.close(drain=True, timeout=10)
    assert cuda["memory handed back"] == 2


@pytest.mark.parametrize(("dtype", "shares"), [(torch.float32, False), (torch.bfloat16, True)])
def test_key_heads_are_shared_only_where_a_fast_kernel_can(
    dtype: torch.dtype, shares: bool, cuda: Waits, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[int, bool]] = []
    attend = attention.attend

    def spy(rows: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, **options: Any) -> torch.Tensor:
        seen.append((keys.shape[1], options["enable_gqa"]))
        return attend(rows, keys, values, **options)

    monkeypatch.setattr(attention, "attend", spy)
    with torch.inference_mode():
        query = torch.zeros(1, 4, 6, 8, device="cuda:0", dtype=dtype)
        keys = torch.zeros(1, 2, 6, 8, device="cuda:0", dtype=dtype)
        mask = torch.zeros(6, 6, device="cuda:0", dtype=dtype)
        for each in (None, mask):
            attention._attend_grouped(query, keys, keys, mask=each, scale=1.0)
    assert seen == [(2, True) if shares else (4, False), (4, False)]
