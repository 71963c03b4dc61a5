"""Slots, prefixes and the budget: what is in a slot is always what its holder computed."""

import math
import random
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from inference.engines.text.kv_cache import KVCache
from inference.engines.text.scheduler import Scheduler
from inference.engines.text.sequence import Sequence
from tests.inference.engines.text.models import ask

Make = Callable[..., KVCache]
BYTES_PER_TOKEN = 16  # two layers' key and value of one float32 each


@pytest.fixture
def make_cache(device: str) -> Make:
    return partial(make_cache_on, device)


def make_cache_on(device: str, *, budget: int = 2048, slots: int = 8, context: int = 512) -> KVCache:
    return KVCache(
        layers=2,
        kv_heads=1,
        head_dim=1,
        context_length=context,
        budget_tokens=budget,
        slots=slots,
        device=device,
        dtype=torch.float32,
    )


def sequence(tokens: list[int], *, limit: int = 0, scope: str = "") -> Sequence:
    return Sequence(ask("x", tokens, scope=scope), limit or len(tokens) + 8)


def compute(cache: KVCache, sequence: Sequence) -> None:
    """Write each token's own id where its keys and values belong."""
    pool = cache.pools[sequence.pool]
    start, stop = sequence.computed, len(sequence.tokens)
    for tensor in (*pool.keys, *pool.values):
        tensor[sequence.slot, 0, start:stop, 0] = torch.tensor(
            sequence.tokens[start:stop], dtype=torch.float32
        )
    sequence.computed = stop


def check(cache: KVCache, sequence: Sequence) -> None:
    pool = cache.pools[sequence.pool]
    assert pool.live[sequence.slot] is sequence
    for tensor in (*pool.keys, *pool.values):
        assert (
            tensor[sequence.slot, 0, : sequence.computed, 0].tolist() == sequence.tokens[: sequence.computed]
        )


def bytes_held(cache: KVCache) -> int:
    return sum(tensor.nbytes for pool in cache.pools for tensor in (*pool.keys, *pool.values))


def test_a_prefix_is_reused_in_whole_blocks_but_never_the_last_token(make_cache: Make) -> None:
    cache = make_cache()
    first = sequence(list(range(100, 148)))
    assert cache.reserve(first)
    compute(cache, first)
    for tokens, cached in [
        (list(range(100, 148)), 32),  # 48 are there, and the last must be computed
        (list(range(100, 149)), 48),
        (list(range(100, 120)) + [1] * 20, 16),
        ([1] * 40, 0),
    ]:
        other = sequence(tokens)
        assert cache.reserve(other)
        assert other.cached == other.computed == cached
        check(cache, other)


def test_what_a_finished_sequence_computed_is_reused_across_slot_lengths(make_cache: Make) -> None:
    cache = make_cache()
    first = sequence(list(range(64)))
    assert cache.reserve(first)
    compute(cache, first)
    cache.release(first, keep=True)
    longer = sequence(list(range(64)) + [7] * 200)
    assert cache.reserve(longer)
    assert longer.cached == 64
    check(cache, longer)


@pytest.mark.parametrize("is_running", [True, False])
def test_prefixes_are_shared_within_one_scope_only(make_cache: Make, is_running: bool) -> None:
    cache = make_cache()
    first = sequence(list(range(64)), scope="acme")
    assert cache.reserve(first)
    compute(cache, first)
    if not is_running:
        cache.release(first, keep=True)
    stranger, colleague = sequence(list(range(64)), scope="other"), sequence(list(range(64)), scope="acme")
    assert cache.reserve(stranger)
    assert cache.reserve(colleague)
    assert (stranger.cached, colleague.cached) == (0, 48)


def test_a_twin_of_a_prompt_being_computed_is_coming(make_cache: Make) -> None:
    cache = make_cache()
    first, twin = sequence(list(range(200))), sequence(list(range(100)))
    assert not cache.is_coming(twin)
    assert cache.reserve(first)
    assert cache.is_coming(twin)
    assert not cache.is_coming(sequence([5] * 100))
    assert not cache.is_coming(sequence(list(range(100)), scope="other"))
    compute(cache, first)
    assert not cache.is_coming(twin)
    assert cache.reserve(twin)
    assert twin.cached == 96


def test_what_failed_is_wiped_and_never_reused(make_cache: Make) -> None:
    cache = make_cache()
    first = sequence(list(range(64)))
    assert cache.reserve(first)
    cache.pools[first.pool].values[1][first.slot] = torch.nan
    first.computed = 64
    cache.release(first, keep=False)
    again = sequence(list(range(64)))
    assert cache.reserve(again)
    assert again.cached == 0
    assert not any(tensor.isnan().any() for pool in cache.pools for tensor in pool.values)


def test_the_least_recently_used_prefix_makes_room(make_cache: Make) -> None:
    cache = make_cache(budget=4 * 128, context=128)
    for start in (0, 100, 200, 300):
        kept = sequence(list(range(start, start + 40)))
        assert cache.reserve(kept)
        compute(cache, kept)
        cache.release(kept, keep=True)
    user = sequence([*range(40), 1])  # uses the oldest, so the second becomes the least recent
    assert cache.reserve(user)
    assert user.cached == 32
    cache.release(user, keep=True)
    assert cache.reserve(sequence([9] * 40))
    assert cache.reserve(sequence([8] * 40))
    late = sequence([*range(300, 340), 1])
    assert cache.reserve(late)
    assert late.cached == 32


@pytest.mark.parametrize("seed", range(20))
def test_nothing_is_mixed_up_however_sequences_come_and_go(make_cache: Make, seed: int) -> None:
    draw = random.Random(seed)
    cache = make_cache(budget=3000, slots=6)
    live: list[Sequence] = []
    for _ in range(200):
        if live and (len(live) >= 12 or draw.random() < 0.45):
            cache.release(live.pop(draw.randrange(len(live))), keep=draw.random() < 0.8)
        else:
            length = draw.choice([5, 20, 40, 100, 200, 400])
            tokens = [n % 3 for n in range(draw.choice([0, 16, 48, 160]))]
            new = sequence((tokens + [draw.randrange(99) for _ in range(length)])[:500])
            if cache.reserve(new):
                check(cache, new)
                compute(cache, new)
                live.append(new)
        for one in live:
            check(cache, one)
        assert cache.allocated_tokens <= 3000
    assert live


def test_a_long_sequence_takes_the_memory_that_idle_short_ones_held(make_cache: Make) -> None:
    cache = make_cache(budget=1024, slots=8)
    short = [sequence([n] * 20) for n in range(8)]
    for one in short:
        assert cache.reserve(one)
    long = sequence([1] * 400)
    assert not cache.reserve(long)  # eight times 128 tokens are all there is
    for one in short[:4]:
        cache.release(one, keep=True)
    assert cache.reserve(long)
    for one in short[4:]:
        assert cache.pools[one.pool].live[one.slot] is one


@pytest.mark.parametrize("layers_that_fit", [0, 1, 3])
@pytest.mark.parametrize("grows", [True, False])
def test_memory_that_runs_out_half_way_loses_nothing(
    grows: bool, layers_that_fit: int, make_cache: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = make_cache()
    live = [sequence([n] * 20) for n in range(3)]
    for one in live:
        assert cache.reserve(one)
        compute(cache, one)
    pool, left = cache.pools[live[0].pool], iter([True] * layers_that_fit)
    zeros, device_bytes, tried = torch.zeros, 0, list[tuple[int, ...]]()

    def allocate(*shape: int, **options: Any) -> torch.Tensor:
        tried.append(shape)
        if not next(left, False) and bytes_held(cache) + 4 * math.prod(shape) > device_bytes:
            raise torch.OutOfMemoryError
        return zeros(*shape, **options)

    with monkeypatch.context() as patch:
        patch.setattr(torch, "zeros", allocate)
        assert not cache._resize(pool, pool.slots * 2 if grows else len(live))
        assert bytes_held(cache) == cache.allocated_tokens * BYTES_PER_TOKEN
    for one in live:
        check(cache, one)
    assert all(len(tensor) >= pool.slots for tensor in (*pool.keys, *pool.values))
    late = sequence([9] * 20)
    assert cache.reserve(late)
    compute(cache, late)
    for one in [*live, late]:
        check(cache, one)
    while pool.idle:
        live.append(sequence([8] * 20))
        assert cache.reserve(live[-1])
    device_bytes = bytes_held(cache)
    with monkeypatch.context() as patch:
        patch.setattr(torch, "zeros", allocate)
        scheduler = Scheduler(cache, slots=8, step_tokens=64)
        scheduler.add(sequence([7] * 20))
        scheduler.plan()
        assert tried
        tried.clear()
        scheduler.plan()
        assert not tried, "each step tries in vain what the last one did"
        for one in [*live, late, *scheduler.running]:
            cache.release(one, keep=True)
        assert cache.reserve(sequence([6] * 500))
        assert bytes_held(cache) == cache.allocated_tokens * BYTES_PER_TOKEN


def test_slots_change_places_without_new_memory(make_cache: Make) -> None:
    class Ban(TorchDispatchMode):
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            assert "clone" not in str(func), "what fails half-way leaves two answers mixed"
            assert "empty" not in str(func)
            return func(*args, **(kwargs or {}))

    cache = make_cache()
    first, second = sequence([1] * 20), sequence([2] * 20)
    for one in (first, second):
        assert cache.reserve(one)
        compute(cache, one)
    with Ban():
        cache.release(first, keep=True)
    check(cache, second)
    assert second.slot == 0
