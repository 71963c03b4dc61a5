"""Who computes what in a step: decoding is never held up, and no prompt starves."""

from collections import Counter
from dataclasses import replace

from inference.engines.text.scheduler import Scheduler
from inference.engines.text.sequence import Sequence, Work
from tests.inference.engines.text.models import ask


class Room:
    """Room for `places` sequences."""

    def __init__(self, places: int = 100) -> None:
        self.places = places

    def is_coming(self, sequence: Sequence) -> bool:
        return False

    def reserve(self, sequence: Sequence) -> bool:
        if self.places <= 0:
            return False
        self.places -= 1
        return True

    def fits_place_of(self, sequence: Sequence, other: Sequence) -> bool:
        return sequence.limit <= other.limit

    def release(self, sequence: Sequence, *, keep: bool) -> None:
        self.places += 1


def sequence(name: str, length: int, owner: str = "") -> Sequence:
    return Sequence(replace(ask(name, [1] * length), owner=owner), limit=length + 16)


def run(works: list[Work]) -> dict[str, int]:
    """Pretend to compute, sample where that completes, and say how much each got."""
    for work in works:
        work.sequence.computed += work.count
        if work.sequence.computed == len(work.sequence.tokens):
            work.sequence.tokens.append(1)
    return {work.sequence.request.id: work.count for work in works}


def test_a_long_prompt_never_holds_up_decoding() -> None:
    scheduler = Scheduler(Room(), slots=8, step_tokens=64)
    for name in "ab":
        scheduler.add(sequence(name, 10))
    run(scheduler.plan())
    scheduler.add(sequence("long", 1000))
    steps = 0
    while scheduler.running[-1].request.id != "long" or scheduler.running[-1].is_prefilling:
        granted = run(scheduler.plan())
        assert granted["a"] == granted["b"] == 1
        assert sum(granted.values()) <= 64
        steps += 1
    assert steps == 17  # 62 of its tokens a step


def test_short_prompts_overtake_a_long_one_that_still_moves_on() -> None:
    scheduler = Scheduler(Room(), slots=8, step_tokens=64)
    scheduler.add(sequence("long", 1000))
    assert run(scheduler.plan()) == {"long": 64}
    scheduler.add(sequence("short", 20))
    assert run(scheduler.plan()) == {"long": 44, "short": 20}


def test_requests_wait_in_order_for_a_slot() -> None:
    scheduler = Scheduler(Room(), slots=2, step_tokens=64)
    for name in "abc":
        scheduler.add(sequence(name, 4))
    assert set(run(scheduler.plan())) == {"a", "b"}
    assert set(run(scheduler.plan())) == {"a", "b"}
    scheduler.remove(scheduler.running[0], keep=True)
    assert set(run(scheduler.plan())) == {"b", "c"}


def test_requests_wait_when_there_is_no_room() -> None:
    scheduler = Scheduler(Room(0), slots=2, step_tokens=64)
    scheduler.add(sequence("a", 4))
    assert scheduler.plan() == []
    assert [s.request.id for s in scheduler.waiting] == ["a"]


def test_who_begins_like_one_being_computed_waits_and_others_go_ahead() -> None:
    room = Room()
    scheduler = Scheduler(room, slots=4, step_tokens=64)
    for name in ("twin", "other"):
        scheduler.add(sequence(name, 4))
    room.is_coming = lambda s: s.request.id == "twin"  # type: ignore[method-assign]
    assert run(scheduler.plan()) == {"other": 4}
    room.is_coming = lambda s: False  # type: ignore[method-assign]
    assert run(scheduler.plan()) == {"other": 1, "twin": 4}


def test_many_decoding_leave_a_quarter_of_the_step_to_prompts() -> None:
    scheduler = Scheduler(Room(), slots=100, step_tokens=64)
    for number in range(64):
        scheduler.add(sequence(str(number), 1))
    while len(scheduler.running) < 64 or any(s.is_prefilling for s in scheduler.running):
        run(scheduler.plan())
    scheduler.add(sequence("new", 100))
    assert run(scheduler.plan())["new"] == 16


def test_a_slow_model_gets_smaller_prompt_chunks_while_others_decode() -> None:
    scheduler = Scheduler(Room(), slots=8, step_tokens=256)
    scheduler.add(sequence("talker", 4))
    run(scheduler.plan())
    scheduler.add(sequence("long", 2000))
    assert run(scheduler.plan()) == {"talker": 1, "long": 255}
    scheduler.note_speed(100, seconds=0.2)  # 2 ms a token
    assert run(scheduler.plan()) == {"talker": 1, "long": 49}
    scheduler.note_speed(1, seconds=9.0)  # a step of one token says nothing of prompts
    scheduler.remove(scheduler.running[0], keep=True)
    assert run(scheduler.plan()) == {"long": 256}  # no one waits for a next token


def owners(scheduler: Scheduler) -> Counter[str]:
    return Counter(each.request.owner for each in scheduler.running)


def test_an_owner_that_comes_to_a_full_engine_gets_its_share_in_the_next_step() -> None:
    scheduler = Scheduler(Room(), slots=8, step_tokens=64)
    for number in range(12):
        scheduler.add(sequence(f"flood{number}", 4, "flood"))
    run(scheduler.plan())
    assert owners(scheduler) == {"flood": 8}, "alone it has all"
    for number in range(6):
        scheduler.add(sequence(f"modest{number}", 4, "modest"))
    planned = scheduler.plan()
    assert owners(scheduler) == {"flood": 4, "modest": 4}
    assert {work.sequence for work in planned} == set(scheduler.running), "who made way computes nothing"
    run(planned)
    scheduler.add(sequence("third", 4, "third"))
    run(scheduler.plan())
    assert owners(scheduler)["third"] == 1
    before = list(scheduler.running)
    for _ in range(5):
        run(scheduler.plan())
    assert scheduler.running == before, "nobody is moved to and fro"
    scheduler.remove(next(s for s in scheduler.running if s.request.id == "third"), keep=True)
    for each in [s for s in (*scheduler.running, *scheduler.waiting) if s.request.owner == "modest"]:
        scheduler.remove(each, keep=True)
    run(scheduler.plan())
    assert owners(scheduler) == {"flood": 8}
    assert {s.request.id for s in scheduler.running} == {f"flood{n}" for n in range(8)}, (
        "who made way goes on before who has not begun"
    )


def test_with_as_many_owners_as_places_each_has_one() -> None:
    scheduler = Scheduler(Room(), slots=4, step_tokens=64)
    for number in range(4):
        scheduler.add(sequence(f"flood{number}", 4, "flood"))
    run(scheduler.plan())
    for number in range(5):
        scheduler.add(sequence(f"one{number}", 4, f"owner{number}"))
    run(scheduler.plan())
    assert owners(scheduler) == {"flood": 1, "owner0": 1, "owner1": 1, "owner2": 1}


def test_where_memory_is_what_lacks_those_make_way_whose_place_is_large_enough() -> None:
    room = Room(3)
    scheduler = Scheduler(room, slots=8, step_tokens=64)
    for name, length in (("small", 4), ("large", 40), ("small too", 4), ("waits", 4)):
        scheduler.add(sequence(name, length, "flood"))
    run(scheduler.plan())
    room.places = 0
    scheduler.add(sequence("modest", 30, "modest"))
    run(scheduler.plan())
    assert {s.request.id for s in scheduler.running} == {"small", "small too", "modest"}


def test_who_has_less_comes_before_a_flood_that_waits_in_the_engine() -> None:
    room = Room(2)
    scheduler = Scheduler(room, slots=8, step_tokens=64)
    for number in range(6):
        scheduler.add(sequence(f"flood{number}", 4, "flood"))
    run(scheduler.plan())
    scheduler.add(sequence("modest", 100, "modest"))
    room.places = 1
    run(scheduler.plan())
    assert "modest" in {s.request.id for s in scheduler.running}
