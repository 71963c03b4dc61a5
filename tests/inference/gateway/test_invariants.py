"""Invariants of usage at the gateway's door, one test each; `tests/invariants.py` says what each answers."""

import json
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

import httpx
import msgpack
import openai
import pytest
from starlette.routing import Route

from billing import metering
from billing.credit import keys
from inference.gateway.app import create
from inference.protocol import TAKER_SECONDS
from portal.kit import redis
from tests.inference.gateway.conftest import Offer, await_that
from tests.inference.gateway.test_calls import HELLO, Clients, Offers, Workers, usage_events
from tests.inference.gateway.test_endings import holds
from tests.inference.gateway.test_predictions import image_input, labelled

PIECES = ["one ", "two ", "three ", "four"]
# A valid body for every route that reaches a worker.
BODIES: dict[str, dict[str, Any]] = {
    "/chat/completions": {"messages": HELLO, "max_tokens": 4},
    "/completions": {"prompt": "hello", "max_tokens": 4},
    "/embeddings": {"input": "hello"},
    "/predictions": {"input": image_input()},
}


@pytest.mark.parametrize(
    "cut_at", [b"HTTP/1.1 200", b'"one', b'"finish_reason":"length"', b'"usage":{'], ids=str
)
def test_exactly_one_terminal_event_for_every_dispatched_call(
    offer: Offers, gateway: str, worker: Workers, cut_at: bytes
) -> None:
    """Wherever the client cuts the connection: before the first token, in mid-stream, before the usage
    chunk, before [DONE]."""
    tiny = offer()
    hands = worker(tiny, pieces=None)
    with start_stream(gateway, tiny) as client:
        await_that(lambda: hands.open_calls)
        (request,) = hands.open_calls
        if cut_at != b"HTTP/1.1 200":
            hands.write(request, PIECES[0])
        if cut_at not in (b"HTTP/1.1 200", b'"one'):
            hands.finish(request, reason="length", pieces=PIECES[1:])
        read_until(client, cut_at)
    await_that(usage_events)
    await_that(lambda: holds() == 0)
    hands.open_calls.clear()
    assert [event[b"i"].decode() for event in usage_events()] == [request]
    assert output_tokens(usage_events()[0]) == made_by(hands, request, cut_at)


def made_by(hands: Any, request: str, cut_at: bytes) -> int:
    """The stand-in reports one token more for the empty piece with which it ends a cancelled call."""
    return {b"HTTP/1.1 200": 1, b'"one': 2}.get(cut_at, len(PIECES))


def start_stream(gateway: str, offer: Offer) -> socket.socket:
    """A streamed chat on a bare socket, so that a test decides to the byte when to hang up."""
    address = urlsplit(gateway)
    body = json.dumps(
        {
            "model": offer.name,
            "stream": True,
            "stream_options": {"include_usage": True},
            **BODIES["/chat/completions"],
        }
    ).encode()
    head = (
        f"POST /v1/chat/completions HTTP/1.1\r\nHost: {address.netloc}\r\nAuthorization: Bearer {offer.key_text}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    client = socket.create_connection((address.hostname or "", address.port or 0), timeout=15)
    client.sendall(head.encode() + body)
    return client


def read_until(client: socket.socket, wanted: bytes) -> None:
    read = b""
    while wanted not in read:
        more = client.recv(65_536)
        assert more, read
        read += more


def output_tokens(event: dict[bytes, bytes]) -> int:
    counted: dict[str, int] = msgpack.unpackb(event[b"q"])
    return counted["output_tokens"]


@pytest.mark.parametrize("made", [0, 1, 3])
def test_billed_output_is_what_was_made_and_an_error_is_never_billed(
    offer: Offers, client: Clients, worker: Workers, made: int
) -> None:
    """An error after so many tokens costs nothing, and its words are no output."""
    tiny = offer()
    hands = worker(tiny, pieces=None)
    said, failure = "", None
    with ThreadPoolExecutor(1) as threads:
        stream = client(tiny).chat.completions.create(
            model=tiny.name, messages=HELLO, max_tokens=8, stream=True
        )
        await_that(lambda: hands.open_calls)
        (request,) = hands.open_calls
        hands.write(request, *PIECES[:made])
        threads.submit(hands.finish, request, reason="error", error="It broke").result()
        try:
            for chunk in stream:
                said += chunk.choices[0].delta.content or ""
        except openai.APIError as error:
            failure = error
    assert failure is not None
    assert said == "".join(PIECES[:made])
    (event,) = usage_events()
    assert (event[b"o"], int(event[b"c"]), event[b"r"]) == (b"failed", 0, b"")


def test_accounting_outlives_the_clients_patience(offer: Offers, client: Clients, worker: Workers) -> None:
    """A caller that waits for the whole answer gives up; what ran until then is on record and priced."""
    tiny = offer()
    hands = worker(tiny, pieces=None)
    with pytest.raises(openai.APITimeoutError):
        client(tiny).chat.completions.create(model=tiny.name, messages=HELLO, max_tokens=8, timeout=0.5)
    await_that(usage_events)
    (event,) = usage_events()
    assert event[b"o"] == b"cancelled"
    assert int(event[b"c"]) > 0
    assert hands.cancelled == [event[b"i"].decode()]


def test_every_route_to_a_worker_shares_one_admission(offer: Offers, gateway: str, worker: Workers) -> None:
    """With nothing left to spend, no door lets a call through."""
    offers = {
        "/chat/completions": offer("chat", spend_cap=0), "/completions": offer("text", spend_cap=0),
        "/embeddings": offer("vectors", task="feature-extraction", spend_cap=0),
        "/predictions": offer("digits", task="image-classification", spend_cap=0),
    }  # fmt: skip
    hands = worker(*offers.values(), pieces=["x"])
    reaching = [route.path for route in routes() if "POST" in (route.methods or ()) and "{" not in route.path]
    assert sorted(reaching) == sorted(BODIES)
    for path in reaching:
        tiny = offers[path]
        answer = httpx.post(
            f"{gateway}{path}", json={"model": tiny.name, **BODIES[path]},
            headers={"Authorization": f"Bearer {tiny.key_text}"}, timeout=15,
        )  # fmt: skip
        assert answer.status_code == 429, (path, answer.text)
        assert answer.json()["error"]["code"] == "insufficient_quota", path
    assert hands.payloads == []
    assert usage_events() == []


def routes() -> Iterator[Route]:
    for route in create().routes:
        assert isinstance(route, Route)
        yield route


def test_reading_is_free_however_often(offer: Offers, gateway: str, worker: Workers) -> None:
    tiny = offer("digits", task="image-classification")
    worker(tiny, pieces=["x"], output=labelled)
    headers = {"Authorization": f"Bearer {tiny.key_text}", "Prefer": "wait"}
    made = httpx.post(
        f"{gateway}/predictions", json={"model": tiny.name, **BODIES["/predictions"]}, headers=headers
    )
    assert made.status_code in (200, 201), made.text
    await_that(usage_events)
    for _ in range(3):
        for path in (f"/predictions/{made.json()['id']}", "/models", f"/models/{tiny.name}"):
            assert httpx.get(f"{gateway}{path}", headers=headers).status_code == 200, path
    assert len(usage_events()) == 1


def test_calls_in_flight_are_live_leases_and_a_thousand_aborts_leave_none(
    offer: Offers, gateway: str, worker: Workers, client: Clients
) -> None:
    tiny = offer(concurrent_requests=50)
    hands = worker(tiny, pieces=None)

    def abort(_: int) -> None:
        with start_stream(gateway, tiny) as stream:
            read_until(stream, b"HTTP/1.1 200")

    for _ in range(20):
        with ThreadPoolExecutor(50) as threads:
            list(threads.map(abort, range(50)))
        await_that(lambda: holds() == 0)
    assert redis.client().scard(keys.live(UUID(str(tiny.subscription.pk)))) == 0
    assert len({event[b"i"] for event in usage_events()}) == len(usage_events()) == 1000
    hands.pieces = lambda _: ["free again"]
    answer = client(tiny).chat.completions.create(model=tiny.name, messages=HELLO, max_tokens=8)
    assert answer.choices[0].message.content == "free again"


def test_refusals_consume_nothing(offer: Offers, client: Clients, worker: Workers) -> None:
    """Calls beyond the concurrency limit take no request out of the minute's bucket."""
    tiny = offer(concurrent_requests=1, requests_per_minute=3)
    hands = worker(tiny, pieces=None)
    ask = client(tiny).chat.completions.create
    first = ask(model=tiny.name, messages=HELLO, max_tokens=8, stream=True)
    for _ in range(5):
        with pytest.raises(openai.RateLimitError, match="concurrent"):
            ask(model=tiny.name, messages=HELLO, max_tokens=8)
    first.close()
    await_that(lambda: holds() == 0)
    hands.pieces = lambda _: ["x"]
    for _ in range(2):
        ask(model=tiny.name, messages=HELLO, max_tokens=8)


@pytest.mark.parametrize("usage_asked", [None, False, True])
@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("path", ["/chat/completions", "/completions"])
def test_the_worker_counts_whatever_the_client_asks_for(
    offer: Offers, gateway: str, worker: Workers, path: str, streamed: bool, usage_asked: bool | None
) -> None:
    tiny = offer()
    worker(tiny, pieces=PIECES)
    body = {"model": tiny.name, "stream": streamed, **BODIES[path]}
    if streamed and usage_asked is not None:
        body["stream_options"] = {"include_usage": usage_asked}
    headers = {"Authorization": f"Bearer {tiny.key_text}"}
    answer = httpx.post(f"{gateway}{path}", json=body, headers=headers, timeout=15)
    assert answer.status_code == 200, answer.text
    await_that(usage_events)
    (event,) = usage_events()
    assert output_tokens(event) == len(PIECES)
    assert int(event[b"c"]) > 0


def test_a_stream_costs_what_the_same_call_costs_whole(offer: Offers, gateway: str, worker: Workers) -> None:
    """For answers of every length; prices are linear here, so the place in the period changes nothing."""
    tiny = offer()
    hands = worker(tiny, pieces=PIECES)
    headers = {"Authorization": f"Bearer {tiny.key_text}"}
    for length in range(1, 17):
        hands.pieces = lambda _, length=length: ["x "] * length  # type: ignore[misc]
        for streamed in (False, True):
            body = {"model": tiny.name, "messages": HELLO, "max_tokens": 16, "stream": streamed}
            httpx.post(f"{gateway}/chat/completions", json=body, headers=headers).raise_for_status()
        await_that(lambda length=length: len(usage_events()) == 2 * length)  # type: ignore[misc]
        whole, stream = usage_events()[-2:]
        assert (whole[b"c"], whole[b"q"]) == (stream[b"c"], stream[b"q"])
        assert output_tokens(whole) == length


def test_a_database_without_room_is_never_an_auth_error(
    offer: Offers, client: Clients, worker: Workers, closed_database: Any
) -> None:
    tiny = offer()
    worker(tiny, pieces=["x"])
    closed_database(True)
    with pytest.raises(openai.InternalServerError) as refused:
        client(tiny).chat.completions.create(model=tiny.name, messages=HELLO, max_tokens=4)
    assert refused.value.status_code == 503
    assert int(refused.value.response.headers["retry-after"]) >= 1
    closed_database(False)
    client(tiny).chat.completions.create(model=tiny.name, messages=HELLO, max_tokens=4)
    # And what is known already goes on without the database.
    closed_database(True)
    client(tiny).chat.completions.create(model=tiny.name, messages=HELLO, max_tokens=4)


@pytest.fixture
def closed_database() -> Iterator[Any]:
    """Make the test's database refuse new connections, as one does whose places are all taken."""
    import psycopg
    from django.db import connection

    name = connection.settings_dict["NAME"]
    parameters = connection.get_connection_params()
    wanted = {key: parameters[key] for key in ("host", "port", "user", "password") if parameters.get(key)}

    def close(is_closed: bool) -> None:
        with psycopg.connect(**wanted, dbname="postgres", autocommit=True) as admin:
            admin.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS {str(not is_closed).lower()}')
        time.sleep(0.1)

    yield close
    close(False)


def test_what_calls_leave_behind_does_not_grow(offer: Offers, gateway: str, worker: Workers) -> None:
    """Once usage is recorded, three hundred calls have left no more keys and entries than a hundred,
    but for those that go by themselves within a minute."""
    tiny = offer(requests_per_minute=100_000)
    worker(tiny, pieces=["x"])
    body = {"model": tiny.name, **BODIES["/chat/completions"]}
    headers = {"Authorization": f"Bearer {tiny.key_text}"}

    def make(calls: int) -> set[str]:
        def call(_: int) -> int:
            return httpx.post(
                f"{gateway}/chat/completions", json=body, headers=headers, timeout=15
            ).status_code

        with ThreadPoolExecutor(8) as threads:
            assert set(threads.map(call, range(calls))) == {200}
        metering.join()
        assert metering.drain(through=b"+") == calls
        await_that(lambda: holds() == 0)
        assert redis.client().xlen(keys.USAGE_STREAM) == 0
        lasting = (
            key for key in redis.client().scan_iter() if not 0 < redis.client().ttl(key) <= TAKER_SECONDS
        )
        return {key.decode() for key in lasting}

    assert make(100) >= make(200)
