"""The policy that picks a batch, without tensors or clocks."""

import random

from inference.engines.batch.batching import Limits, Waiting, choose

LIMITS = Limits(padded=2048, items=64, pass_cost=16, max_age=0.5)


def queue(*lengths: int, group: str = "text", since: float = 0.0) -> list[Waiting[int]]:
    return [Waiting(item=i, group=group, length=length, since=since) for i, length in enumerate(lengths)]


def lengths(batch: list[Waiting[int]]) -> list[int]:
    return sorted(entry.length for entry in batch)


def count_batches(drawn: list[int], *, age: float) -> int:
    waiting, batches = queue(*drawn), 0
    while waiting:
        chosen = set(map(id, choose(waiting, now=age, limits=LIMITS)))
        waiting = [entry for entry in waiting if id(entry) not in chosen]
        batches += 1
    return batches


def test_an_empty_queue_gives_no_batch():
    assert choose([], now=0, limits=LIMITS) == []


def test_a_single_item_runs_at_once_even_when_longer_than_a_batch():
    assert lengths(choose(queue(5000), now=0, limits=LIMITS)) == [5000]


def test_items_of_one_length_fill_a_batch_to_the_padded_cap():
    assert len(choose(queue(*[100] * 50), now=0, limits=LIMITS)) == 20


def test_a_batch_never_exceeds_the_item_cap():
    assert len(choose(queue(*[1] * 500), now=0, limits=LIMITS)) == 64


def test_short_items_go_first_and_a_long_one_is_not_padded_for():
    assert lengths(choose(queue(300, 5, 6, 5), now=0, limits=LIMITS)) == [5, 5, 6]


def test_an_aged_item_runs_next_however_long():
    waiting = [*queue(5, 5, since=9.9), *queue(300, since=9.0)]
    assert lengths(choose(waiting, now=9.4, limits=LIMITS)) == [5, 5]
    assert 300 in lengths(choose(waiting, now=9.5, limits=LIMITS))


def test_an_aged_item_takes_along_only_what_pads_cheaply():
    waiting = [*queue(5, 295, since=1.0), *queue(300, since=0.0)]
    assert lengths(choose(waiting, now=1.0, limits=LIMITS)) == [295, 300]


def test_a_queue_that_has_aged_runs_in_as_few_batches_as_a_fresh_one():
    randomness = random.Random(3)
    drawn = [randomness.randint(1, 300) for _ in range(200)]
    assert count_batches(drawn, age=LIMITS.max_age) == count_batches(drawn, age=0.0)


def test_shapes_never_mix_and_the_oldest_shape_goes_first():
    waiting = [*queue(1, 1, group="small", since=2), *queue(1, group="large", since=1)]
    assert {entry.group for entry in choose(waiting, now=2, limits=LIMITS)} == {"large"}


def test_every_item_runs_exactly_once_within_the_bounds():
    randomness = random.Random(3)
    waiting = queue(*[randomness.randint(1, 600) for _ in range(400)])
    ran: list[int] = []
    while waiting:
        batch = choose(waiting, now=randomness.random(), limits=LIMITS)
        assert len(batch) == 1 or max(lengths(batch)) * len(batch) <= LIMITS.padded
        ran += [entry.item for entry in batch]
        waiting = [entry for entry in waiting if entry not in batch]
    assert sorted(ran) == list(range(400))


def test_nothing_starves_under_a_flood_of_short_items():
    waiting = queue(500, since=0.0)
    for step in range(1, 20):
        now = step * 0.1
        waiting += queue(*[3] * 64, since=now)
        batch = choose(waiting, now=now, limits=LIMITS)
        if 500 in lengths(batch):
            assert now <= LIMITS.max_age + 0.1
            return
        chosen = set(map(id, batch))
        waiting = [entry for entry in waiting if id(entry) not in chosen]
    raise AssertionError("the long item starved")


def test_whose_turn_it_is_goes_into_the_next_batch_with_its_like():
    waiting = queue(*[4] * 500, 900, 4)
    turn = waiting[-2]
    assert any(entry is turn for entry in choose(waiting, now=0, limits=LIMITS, turn=turn))
    turn = waiting[-1]
    batch = choose(waiting, now=0, limits=LIMITS, turn=turn)
    assert any(entry is turn for entry in batch)
    assert len(batch) > 10, "the rest of the batch is filled as ever"
