"""A call of a provider's own server: answered as our own models answer, and billed as its server reports."""

import asyncio
import json
import socket
import threading
from collections.abc import Callable
from http.client import HTTPConnection
from typing import Any
from urllib.parse import urlsplit

import msgpack
import openai
import pytest

from billing.credit import keys
from portal.accounts import api_keys
from portal.kit import redis
from tests.inference.gateway.conftest import Offer, await_that
from tests.inference.gateway.test_calls import HELLO, usage_events
from tests.inference.remote.conftest import Remotes
from tests.inference.remote.speaker import KEY, REPORTED, Asked, Speaker, chunk, event, send_json

Clients = Callable[[Offer], openai.OpenAI]
# 7 tokens in at 1,000 micro-minor units, 3 out at 2,000.
CHARGE = 13_000


def ask(client: openai.OpenAI, offer: Offer, **more: Any) -> Any:
    given = {"messages": HELLO, "max_tokens": 8} | more
    return client.chat.completions.create(model=offer.name, **given)  # type: ignore[call-overload]


def read(stream: Any) -> tuple[str, Any]:
    """The text of a stream and its last chunk."""
    text, last = "", None
    for last in stream:
        for choice in last.choices:
            text += choice.delta.content or ""
    return text, last


def only_event() -> dict[bytes, bytes]:
    await_that(usage_events)
    (found,) = usage_events()
    assert redis.client().zcard(keys.HOLDS) == 0
    return found


def units(found: dict[bytes, bytes]) -> dict[str, int]:
    counted: dict[str, int] = msgpack.unpackb(found[b"q"])
    return counted


def is_estimated(found: dict[bytes, bytes]) -> bool:
    return bool(msgpack.unpackb(found[b"x"]).get("estimated"))


def test_a_whole_answer_is_ours_in_all_but_its_text(
    remote: Remotes, client: Clients, speaker: Speaker
) -> None:
    far = remote()
    answer = ask(client(far), far)
    assert answer.choices[0].message.content == "Hello, world"
    assert (answer.model, answer.id[:9]) == (far.name, "chatcmpl-")
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (7, 3)
    assert answer.usage.cost_micro == CHARGE
    found = only_event()
    assert (found[b"o"], int(found[b"c"]), is_estimated(found)) == (b"succeeded", CHARGE, False)
    (asked,) = speaker.asked
    assert asked.headers["authorization"] == f"Bearer {KEY}"
    assert (asked.body["model"], asked.body["max_tokens"]) == ("up", 8)


@pytest.mark.parametrize("wants_usage", [False, True])
def test_a_stream_costs_what_the_whole_answer_costs(
    remote: Remotes, client: Clients, speaker: Speaker, wants_usage: bool
) -> None:
    far = remote()
    more = {"stream_options": {"include_usage": True}} if wants_usage else {}
    text, last = read(ask(client(far), far, stream=True, **more))
    assert text == "Hello, world"
    assert bool(last.usage) == wants_usage
    assert int(only_event()[b"c"]) == CHARGE
    assert speaker.asked[0].body["stream_options"] == {"include_usage": True}


def test_a_text_is_continued(remote: Remotes, client: Clients, speaker: Speaker) -> None:
    far = remote()
    stock = client(far)
    answer = stock.completions.create(model=far.name, prompt="Say", max_tokens=8, echo=True)
    assert answer.choices[0].text == "SayHello, world"
    stream = stock.completions.create(model=far.name, prompt="Say", max_tokens=8, stream=True)
    assert "".join(each.choices[0].text for each in stream) == "Hello, world"
    assert {int(each[b"c"]) for each in usage_events()} == {CHARGE}


@pytest.mark.parametrize("encoding", ["float", "base64"])
def test_texts_are_embedded_in_their_order(
    remote: Remotes, client: Clients, speaker: Speaker, encoding: Any
) -> None:
    far = remote(task="feature-extraction")
    speaker.usage = {"prompt_tokens": 4, "total_tokens": 4}
    answer = client(far).embeddings.create(model=far.name, input=["a", "b"], encoding_format=encoding)
    assert answer.usage.prompt_tokens == 4
    if encoding == "float":
        assert [each.embedding for each in answer.data] == [[0.5, 0.0], [0.5, 1.0]]
    assert int(only_event()[b"c"]) == 4_000


@pytest.mark.parametrize("stream", [False, True])
def test_usage_that_is_not_reported_is_estimated_and_says_so(
    remote: Remotes, client: Clients, speaker: Speaker, stream: bool
) -> None:
    far = remote()
    speaker.usage = None
    answer = ask(client(far), far, stream=stream)
    if stream:
        read(answer)
    found = only_event()
    assert is_estimated(found)
    assert units(found)["output_tokens"] == 3
    assert units(found)["input_tokens"] > 0
    assert int(found[b"c"]) > 0


@pytest.mark.parametrize("stream", [False, True])
def test_a_reported_zero_is_no_report_of_an_answer_with_text(
    remote: Remotes, client: Clients, speaker: Speaker, stream: bool
) -> None:
    far = remote()
    speaker.usage = {"prompt_tokens": 0, "completion_tokens": 0}
    answer = ask(client(far), far, stream=stream)
    if stream:
        read(answer)
    found = only_event()
    assert (is_estimated(found), units(found)["output_tokens"]) == (True, 3)
    assert int(found[b"c"]) > 0


def test_usage_beyond_what_a_call_can_use_is_the_providers_loss(
    remote: Remotes, client: Clients, speaker: Speaker
) -> None:
    far = remote()
    speaker.usage = {"prompt_tokens": 10**9, "completion_tokens": 10**9}
    answer = ask(client(far), far)
    assert answer.usage.completion_tokens == 3
    assert answer.usage.prompt_tokens < 50
    assert int(only_event()[b"c"]) == answer.usage.cost_micro


def test_a_length_beyond_the_providers_limit_is_refused_before_anything_is_sent(
    remote: Remotes, client: Clients, speaker: Speaker
) -> None:
    far = remote()
    with pytest.raises(openai.BadRequestError, match="at most 100 tokens"):
        ask(client(far), far, max_tokens=101)
    huge = [{"role": "user", "content": "x" * 128 * 1001}]
    with pytest.raises(openai.BadRequestError) as refused:
        ask(client(far), far, messages=huge)
    assert refused.value.code == "context_length_exceeded"
    assert (speaker.asked, usage_events()) == ([], [])


def test_connections_are_kept_and_a_stale_one_is_replaced(
    remote: Remotes, client: Clients, speaker: Speaker
) -> None:
    far = remote()
    stock = client(far)
    before = speaker.connections
    for _ in range(3):
        ask(stock, far)
    assert speaker.connections == before + 1

    async def answer_and_close(server: Speaker, asked: Asked, writer: Any) -> str:
        await server.answer(asked, writer)
        return "close"

    speaker.behave = answer_and_close
    for _ in range(3):
        ask(stock, far)
    assert len(usage_events()) == 6


def test_logprobs_come_through_in_our_shape(remote: Remotes, client: Clients, speaker: Speaker) -> None:
    far = remote()

    async def with_logprobs(server: Speaker, asked: Asked, writer: Any) -> None:
        whole = server.whole(asked)
        entry = {"token": "Hello", "logprob": -0.5, "bytes": None}
        whole["choices"][0]["logprobs"] = {"content": [entry | {"top_logprobs": [entry]}]}
        await send_json(writer, whole)

    speaker.behave = with_logprobs
    answer = ask(client(far), far, logprobs=True, top_logprobs=1)
    (token,) = answer.choices[0].logprobs.content
    assert (token.token, token.logprob, token.top_logprobs[0].token) == ("Hello", -0.5, "Hello")


async def _error_in_mid_stream(server: Speaker, asked: Asked, writer: Any) -> None:
    await server.begin_stream(writer)
    await server.piece(asked, writer, "Hello")
    await chunk(writer, b'data: {"error": {"message": "zanzibar out of memory", "code": 500}}\n\n')
    await chunk(writer, b"")


async def _cut_in_mid_stream(server: Speaker, asked: Asked, writer: Any) -> str:
    await server.begin_stream(writer)
    await server.piece(asked, writer, "zanzibar")
    return "close"


async def _end_without_a_reason(server: Speaker, asked: Asked, writer: Any) -> None:
    await server.begin_stream(writer)
    await server.piece(asked, writer, "zanzibar")
    await chunk(writer, b"data: [DONE]\n\n")
    await chunk(writer, b"")


async def _speak_nonsense(server: Speaker, asked: Asked, writer: Any) -> None:
    await server.begin_stream(writer)
    await chunk(writer, b"data: zanzibar\n\n")
    await chunk(writer, b"")


@pytest.mark.parametrize(
    "behave", [_error_in_mid_stream, _cut_in_mid_stream, _end_without_a_reason, _speak_nonsense]
)
def test_an_error_in_mid_stream_is_worded_by_us_and_costs_nothing(
    remote: Remotes, client: Clients, speaker: Speaker, behave: Any
) -> None:
    far = remote()
    speaker.behave = behave
    with pytest.raises(openai.APIError) as failed:
        read(ask(client(far), far, stream=True))
    assert "You were not charged" in str(failed.value)
    assert "memory" not in str(failed.value)
    found = only_event()
    assert (found[b"o"], int(found[b"c"])) == (b"failed", 0)
    assert b"memory" not in found[b"x"]


@pytest.mark.parametrize(
    ("status", "told", "code"),
    [
        ("400 Bad Request", 400, "upstream_refused"), ("401 Unauthorized", 502, "upstream_failed"),
        ("302 Found", 502, "upstream_failed"), ("429 Too Many Requests", 503, "upstream_unavailable"),
        ("500 Internal Server Error", 502, "upstream_failed"), ("503 Unavailable", 503, "upstream_unavailable"),
        ("504 Gateway Timeout", 504, "upstream_timeout"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("stream", [False, True])
def test_a_refusal_of_the_server_is_told_in_our_words(
    remote: Remotes, client: Clients, speaker: Speaker, status: str, told: int, code: str, stream: bool
) -> None:
    far = remote()

    async def refuse(server: Speaker, asked: Asked, writer: Any) -> None:
        body = {"error": {"message": f"zanzibar {asked.headers['authorization']}"}}
        await send_json(
            writer, body, status=status, headers=["Location: http://127.0.0.1/x", "Retry-After: 7"]
        )

    speaker.behave = refuse
    with pytest.raises(openai.APIStatusError) as refused:
        ask(client(far), far, stream=stream)
    assert (refused.value.status_code, refused.value.code) == (told, code)
    assert "zanzibar" not in str(refused.value)
    if told != 400:
        assert int(refused.value.response.headers["retry-after"]) in (5, 7)
    assert len(speaker.asked) == 1
    found = only_event()
    assert (found[b"o"], int(found[b"c"])) == (b"failed", 0)


def test_a_client_that_leaves_a_stream_hangs_up_on_the_server_and_pays_what_was_made(
    remote: Remotes, client: Clients, speaker: Speaker
) -> None:
    far = remote()
    speaker.gate, speaker.free_pieces = threading.Event(), 2
    stream = ask(client(far), far, stream=True)
    seen = iter(stream)
    text = ""
    while text != "Hello, ":
        text += next(seen).choices[0].delta.content or ""
    stream.close()
    assert speaker.asked[0].left.wait(5)
    found = only_event()
    assert (found[b"o"], units(found)["output_tokens"], is_estimated(found)) == (b"cancelled", 2, True)
    assert int(found[b"c"]) > 0


def test_a_call_that_redis_has_forgotten_ends_as_failed(
    remote: Remotes, client: Clients, speaker: Speaker
) -> None:
    far = remote()
    speaker.gate, speaker.free_pieces = threading.Event(), 2
    stream = ask(client(far), far, stream=True)
    assert next(iter(stream))
    redis.client().flushall()
    with pytest.raises(openai.APIError):
        list(stream)
    found = only_event()
    assert (found[b"o"], int(found[b"c"])) == (b"failed", 0)


def test_a_revoked_key_stops_a_stream_and_hangs_up_on_the_server(
    remote: Remotes, client: Clients, speaker: Speaker
) -> None:
    far = remote()
    speaker.gate, speaker.free_pieces = threading.Event(), 2
    stream = ask(client(far), far, stream=True)
    text = ""
    while text != "Hello, ":
        text += next(iter(stream)).choices[0].delta.content or ""
    api_keys.revoke(far.buyer.personal_organisation, by=far.buyer, key_id=far.key.pk)
    with pytest.raises(openai.APIError, match="was stopped") as stopped:
        list(stream)
    assert stopped.value.code == "access_revoked"
    assert speaker.asked[0].left.wait(5)
    found = only_event()
    assert (found[b"o"], units(found)["output_tokens"]) == (b"cancelled", 2)
    assert int(found[b"c"]) > 0


def test_a_client_that_leaves_before_the_first_piece_pays_nothing(
    remote: Remotes, gateway: str, speaker: Speaker
) -> None:
    far = remote()
    for streamed in (False, True):

        async def dally(server: Speaker, asked: Asked, writer: Any) -> None:
            await server.wait_at_gate(asked)

        speaker.behave, speaker.gate = dally, threading.Event()
        connection = HTTPConnection(urlsplit(gateway).netloc)
        body = json.dumps({"model": far.name, "messages": HELLO, "max_tokens": 8, "stream": streamed})
        headers = {"Authorization": f"Bearer {far.key_text}", "Content-Type": "application/json"}
        speaker.asked.clear()
        connection.request("POST", "/v1/chat/completions", body, headers)
        await_that(lambda: speaker.asked)
        connection.close()
        assert speaker.asked[0].left.wait(5)
        found = only_event()
        assert (found[b"o"], int(found[b"c"])) == (b"cancelled", 0)
        redis.client().delete(keys.USAGE_STREAM)


def test_a_slow_client_holds_the_server_back(remote: Remotes, gateway: str, speaker: Speaker) -> None:
    far = remote(endpoint={"context_length": 400_000, "max_output_tokens": 300_000})
    sent = threading.Event()
    written = 0

    async def flood(server: Speaker, asked: Asked, writer: Any) -> None:
        nonlocal written
        await server.begin_stream(writer)
        for _ in range(4_000):
            await server.piece(asked, writer, "x" * 9_000)
            written += 1
        sent.set()
        await server.end_stream(asked, writer)

    speaker.behave = flood
    host = urlsplit(gateway)
    body = json.dumps({"model": far.name, "messages": HELLO, "stream": True}).encode()
    head = (
        f"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {far.key_text}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    with socket.create_connection((host.hostname, host.port)) as plug:
        plug.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        plug.sendall(head.encode() + body)
        assert not sent.wait(2), "nothing held the server back"
        seen = written
        assert not sent.wait(1)
        assert written == seen, "the server goes on although nobody reads"
        received = 0
        plug.settimeout(20)
        while data := plug.recv(2**20):
            received += len(data)
            if data.endswith(b"0\r\n\r\n"):
                break
    assert received > 4_000 * 9_000
    assert only_event()[b"o"] == b"succeeded"


def test_what_the_server_reports_in_each_piece_is_billed_when_the_client_leaves(
    remote: Remotes, client: Clients, speaker: Speaker
) -> None:
    far = remote()

    async def continuous(server: Speaker, asked: Asked, writer: Any) -> None:
        await server.begin_stream(writer)
        choice = {"index": 0, "delta": {"content": "Hello"}, "finish_reason": None}
        await event(writer, {"choices": [choice], "usage": {"prompt_tokens": 5, "completion_tokens": 2}})
        while not asked.left.is_set():
            await asyncio.sleep(0.01)

    speaker.behave = continuous
    stream = ask(client(far), far, stream=True)
    seen = iter(stream)
    while next(seen).choices[0].delta.content != "Hello":
        pass
    stream.close()
    found = only_event()
    assert (units(found)["input_tokens"], units(found)["output_tokens"]) == (5, 2)
    assert not is_estimated(found)


def test_reported_usage_reaches_the_caller_of_every_shape(
    remote: Remotes, client: Clients, speaker: Speaker
) -> None:
    far = remote()
    raw = client(far).chat.completions.with_raw_response.create(model=far.name, messages=HELLO)  # type: ignore[arg-type]
    assert raw.headers["x-mercato-cost"] == "0.00013"
    assert raw.headers["x-request-id"].startswith("req_")
    assert REPORTED["completion_tokens"] == raw.parse().usage.completion_tokens  # type: ignore[union-attr]
