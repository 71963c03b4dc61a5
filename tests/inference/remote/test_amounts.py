"""However much a server sends, no more reaches the caller than its tokens can be, and the call ends once."""

import json
import time
import tracemalloc
from collections.abc import Callable
from typing import Any

import msgpack
import openai
import pytest

from billing import invariants, metering
from billing.models import HeldEarning
from inference.gateway.remote import limits, running
from inference.gateway.remote.answers import Stream
from inference.remote.room import Room
from tests.inference.remote.conftest import Remotes
from tests.inference.remote.speaker import Asked, Speaker, chunk, event, send_json
from tests.inference.remote.test_counting import usage
from tests.inference.remote.test_limits import exchange, fault_of
from tests.inference.remote.test_relayed_calls import Clients, ask, is_estimated, only_event, read, units

TOKENS = 50
MOST_TEXT = limits.text_bytes(TOKENS)


def facts(found: dict[bytes, bytes]) -> dict[str, Any]:
    read_facts: dict[str, Any] = msgpack.unpackb(found[b"x"])
    return read_facts


async def _flood_with_text(server: Speaker, asked: Asked, writer: Any) -> None:
    await server.begin_stream(writer)
    while not asked.left.is_set():
        await server.piece(asked, writer, "é" * 500)


async def _one_long_text(server: Speaker, asked: Asked, writer: Any) -> None:
    server.pieces = ["é" * 100_000]
    await server.answer(asked, writer)


@pytest.mark.parametrize(("stream", "behave"), [(True, _flood_with_text), (False, _one_long_text)])
def test_an_answer_longer_than_its_tokens_is_cut_and_says_so(
    remote: Remotes, client: Clients, speaker: Speaker, stream: bool, behave: Any
) -> None:
    far = remote()
    speaker.behave = behave
    answer = ask(client(far), far, stream=stream, max_tokens=TOKENS)
    if stream:
        text, last = read(answer)
        reason = last.choices[0].finish_reason
    else:
        text, reason = answer.choices[0].message.content, answer.choices[0].finish_reason
    assert (text, reason) == ("é" * (MOST_TEXT // 2), "length")
    found = only_event()
    assert (found[b"o"], units(found)["output_tokens"], is_estimated(found)) == (b"succeeded", TOKENS, True)
    assert facts(found)["report"]["held"]
    assert facts(found)["report"]["cut"]


async def _comment(writer: Any) -> None:
    await chunk(writer, b": still here\n\n" * 4096)


async def _empty_piece(writer: Any) -> None:
    await event(writer, {"choices": [{"index": 0, "delta": {"content": ""}}]})


async def _tool_calls(writer: Any) -> None:
    calls = [{"index": n, "id": "x", "function": {"name": "f", "arguments": "{}"}} for n in range(500)]
    await event(writer, {"choices": [{"index": 0, "delta": {"tool_calls": calls}}]})


async def _endless_line(writer: Any) -> None:
    await chunk(writer, b"data: " + b"x" * 65536)


async def _other_choices(writer: Any) -> None:
    await event(writer, {"choices": [{"index": n, "delta": {"content": "x" * 50}} for n in range(1, 500)]})


async def _framing(writer: Any) -> None:
    writer.write(b"1;" + b"x" * 65536 + b"\r\n\n\r\n")
    await writer.drain()


async def _trailing_headers(writer: Any) -> None:
    writer.write(b"0\r\nX: " + b"y" * 2**20)
    await writer.drain()


@pytest.mark.parametrize(
    "send", [_comment, _empty_piece, _tool_calls, _endless_line, _other_choices, _framing, _trailing_headers]
)
def test_an_endless_answer_of_nothing_is_broken_off_at_no_cost(
    remote: Remotes, client: Clients, speaker: Speaker, send: Callable[[Any], Any]
) -> None:
    far = remote()
    sent = 0

    async def flood(server: Speaker, asked: Asked, writer: Any) -> None:
        nonlocal sent
        await server.begin_stream(writer)
        await server.piece(asked, writer, "Hello")
        while not asked.left.is_set():
            await send(writer)
            sent += 1
            assert sent < 20_000, "nothing broke it off"

    speaker.behave = flood
    with pytest.raises(openai.APIError, match="not charged"):
        read(ask(client(far), far, stream=True, max_tokens=TOKENS))
    found = only_event()
    assert (found[b"o"], int(found[b"c"])) == (b"failed", 0)


@pytest.mark.parametrize(
    "head",
    [
        b"HTTP/1.1 200 OK\r\nX: ",
        b"HTTP/1.1 100 Continue\r\n\r\n",
        b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n",
    ],
    ids=["a header without end", "interim answers", "early hints"],
)
async def test_heads_without_end_are_broken_off(speaker: Speaker, head: bytes) -> None:
    async def boast(server: Speaker, asked: Asked, writer: Any) -> None:
        writer.write(head)
        while not asked.left.is_set():
            writer.write(b"y" * 4096 if head.endswith(b"X: ") else head * 64)
            await writer.drain()

    speaker.behave = boast
    fault = await fault_of(speaker)
    assert (fault.kind, "too much" in fault.detail) == ("broken", True)


def test_many_small_pieces_of_a_line_are_joined_once() -> None:
    """Joined one by one they would be copied as often as there are of them: 100 GB here."""
    stream = Stream.__new__(Stream)
    stream._rest = bytearray()
    began = time.thread_time()
    for _ in range(450_000):
        stream.feed(b"x")
    assert len(stream._rest) == 450_000
    assert time.thread_time() - began < 5


async def test_small_pieces_take_no_more_memory_than_they_have_bytes() -> None:
    one = exchange(most_bytes=2**24)
    tracemalloc.start()
    for _ in range(500_000):
        one.add(b"".join((b"x", b"yz")))
    one.complete()
    data = await one.read()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(data) == 1_500_000
    assert peak < 4 * len(data)


def test_long_answers_share_a_bounded_memory_and_short_ones_are_always_read() -> None:
    room = Room(2 * 2**20)
    long = [exchange(most_bytes=2**24, room=room) for _ in range(3)]
    for one in long:
        for _ in range(2):
            one.add(b"x" * 2**20)
    assert [one.error.kind if one.error else None for one in long] == [None, None, "overloaded"]
    short = exchange(most_bytes=2**24, room=room)
    short.add(b"x" * 2**20)
    assert short.error is None
    for one in (*long, short):
        one.give_back()
        one.give_back()
    assert room.taken == 0


def test_an_ended_answer_is_not_waited_for(
    remote: Remotes, client: Clients, speaker: Speaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(running, "USAGE_SECONDS", 0.1)
    far = remote()

    async def linger(server: Speaker, asked: Asked, writer: Any) -> None:
        await server.begin_stream(writer)
        await server.piece(asked, writer, "Hello")
        for reason in ("stop", "length", "stop"):
            choice = {"index": 0, "delta": {"content": "!"}, "finish_reason": reason}
            await event(writer, {"choices": [choice]})
        while not asked.left.is_set():
            await chunk(writer, b": still here\n\n")
            await server.wait_a_moment()

    speaker.behave = linger
    text, last = read(ask(client(far), far, stream=True))
    assert (text, last.choices[0].finish_reason) == ("Hello!", "stop")
    found = only_event()
    assert (found[b"o"], is_estimated(found)) == (b"succeeded", True)


def test_time_to_say_what_was_used_is_not_prolonged_by_keeping_alive() -> None:
    one = exchange(whole=False)
    one.end_within(1)
    due = one.due
    for _ in range(3):
        one.add(b": still here\n\n")
    one.wait_on()
    assert one.due == due == one.ends_by


def test_an_early_zero_is_no_final_report(remote: Remotes, client: Clients, speaker: Speaker) -> None:
    far = remote()

    async def report_first(server: Speaker, asked: Asked, writer: Any) -> None:
        await server.begin_stream(writer)
        await event(writer, {"choices": [], "usage": usage(7, 0)})
        for piece in server.pieces:
            await server.piece(asked, writer, piece)
        server.usage = None
        await server.end_stream(asked, writer)

    speaker.behave = report_first
    assert read(ask(client(far), far, stream=True))[0] == "Hello, world"
    found = only_event()
    assert (units(found)["output_tokens"], is_estimated(found)) == (3, True)
    assert int(found[b"c"]) > 0


@pytest.mark.parametrize("stream", [False, True])
def test_a_greeting_is_not_billed_as_a_book(
    remote: Remotes, client: Clients, speaker: Speaker, stream: bool
) -> None:
    far = remote(endpoint={"context_length": 100_000, "max_output_tokens": 90_000})
    speaker.pieces, speaker.usage = ["hi ", "there"], usage(12, 90_000)
    answer = ask(client(far), far, stream=stream, max_tokens=90_000, **_with_usage(stream))
    counted = read(answer)[1].usage if stream else answer.usage
    assert counted.completion_tokens == 2
    found = only_event()
    assert (int(found[b"c"]), facts(found)["report"]["held"]) == (counted.cost_micro, True)
    assert facts(found)["report"]["output"] == 90_000
    metering.join()
    assert metering.drain(through=b"+") == 1
    held = HeldEarning.objects.get()
    assert (held.charge, held.report["output"], held.output_tokens) == (counted.cost_micro, 90_000, 2)
    assert invariants.check((invariants.HeldIsOwed(), invariants.GrossIsSplit())) == []


def _with_usage(stream: bool) -> dict[str, Any]:
    return {"stream_options": {"include_usage": True}} if stream else {}


@pytest.mark.parametrize(
    "vectors",
    [
        [{"index": 0, "embedding": [0.5]}, {"index": 0, "embedding": [0.5]}],
        [{"index": 0, "embedding": [0.5]}, {"index": 2, "embedding": [0.5]}],
        [{"index": 0, "embedding": [0.5]}, {"index": "1", "embedding": [0.5]}],
        [{"index": 0, "embedding": [0.5]}, {"index": 1, "embedding": [0.5, 1]}],
        [{"index": 0, "embedding": [0.5]}, {"index": 1, "embedding": []}],
        [{"index": 0, "embedding": [0.5]}, {"index": 1, "embedding": [1e300]}],
        [{"index": 0, "embedding": "AACAfw=="}, {"index": 1, "embedding": "AACAfw=="}],
        [{"index": 0, "embedding": [0.5]}, {"index": [], "embedding": [0.5]}],
        [{"index": 0, "embedding": [0.5]}] * 3, {}, None, [1, 2],
    ],
)  # fmt: skip
def test_vectors_that_are_none_are_not_passed_on(
    remote: Remotes, client: Clients, speaker: Speaker, vectors: Any
) -> None:
    far = remote(task="feature-extraction")

    async def answer(server: Speaker, asked: Asked, writer: Any) -> None:
        await send_json(writer, {"data": vectors, "usage": {"prompt_tokens": 2}})

    speaker.behave = answer
    with pytest.raises(openai.InternalServerError) as failed:
        client(far).embeddings.create(model=far.name, input=["a", "b"])
    assert failed.value.status_code == 502
    assert int(only_event()[b"c"]) == 0


def test_vectors_beyond_any_size_are_not_read(remote: Remotes, client: Clients, speaker: Speaker) -> None:
    far = remote(task="feature-extraction")

    async def answer(server: Speaker, asked: Asked, writer: Any) -> None:
        data = json.dumps({"data": [{"index": 0, "embedding": [0.5] * 10**6}]}).encode()
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(data), data))
        await writer.drain()

    speaker.behave = answer
    with pytest.raises(openai.InternalServerError):
        client(far).embeddings.create(model=far.name, input="a")
    assert only_event()[b"o"] == b"failed"


def test_a_prompt_of_embeddings_is_bounded_by_its_texts(
    remote: Remotes, client: Clients, speaker: Speaker
) -> None:
    far = remote(task="feature-extraction")
    speaker.usage = {"prompt_tokens": 900, "total_tokens": 900}
    answer = client(far).embeddings.create(model=far.name, input=["hello", "world"])
    assert answer.usage.prompt_tokens == 4
    assert facts(only_event())["report"]["input"] == 900
