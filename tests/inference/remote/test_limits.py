"""Whatever a server sends, for as long as it likes: memory and time stay bounded, and the caller gets an answer."""

import threading
import time
import zlib
from typing import Any

import openai
import pytest

from inference.gateway.remote import running
from inference.remote import dialling
from inference.remote.exchange import Exchange
from inference.remote.faults import UpstreamFault
from inference.remote.upstream import EndpointFacts, Upstream
from portal.kit import outbound
from tests.inference.remote.conftest import Remotes
from tests.inference.remote.speaker import Asked, Speaker, chunk, send_json
from tests.inference.remote.test_relayed_calls import Clients, ask, only_event, read


def facts_of(speaker: Speaker) -> EndpointFacts:
    return EndpointFacts(
        version="0" * 32, base_url=speaker.base_url, model="up", max_output_tokens=8, concurrency=4, key=""
    )


def upstream(speaker: Speaker) -> Upstream:
    return Upstream(facts_of(speaker), outbound.read({"REMOTE_ALLOW": "127.0.0.1"}))


def exchange(**limits: Any) -> Exchange:
    return Exchange(**({"whole": True, "first": 5, "between": 5, "in_all": 5, "most_bytes": 10_000} | limits))


async def drain(one: Exchange) -> None:
    while await one.read():
        pass


async def fault_of(speaker: Speaker, **limits: Any) -> UpstreamFault:
    far, one = upstream(speaker), exchange(**limits)
    try:
        await far.ask("chat/completions", b"{}", one)
        with pytest.raises(UpstreamFault) as failed:
            await drain(one)
        return failed.value
    finally:
        far.release(one)
        far.close()


async def test_an_answer_without_end_is_cut(speaker: Speaker) -> None:
    async def flood(server: Speaker, asked: Asked, writer: Any) -> None:
        await server.begin_stream(writer)
        while not asked.left.is_set():
            await chunk(writer, b"x" * 4096)

    speaker.behave = flood
    assert "longer than 10000 bytes" in (await fault_of(speaker)).detail


async def test_a_compressed_answer_is_never_unpacked(speaker: Speaker) -> None:
    async def bomb(server: Speaker, asked: Asked, writer: Any) -> None:
        assert asked.headers["accept-encoding"] == "identity"
        data = zlib.compress(b"0" * 2**20)
        head = f"HTTP/1.1 200 OK\r\nContent-Encoding: deflate\r\nContent-Length: {len(data)}\r\n\r\n"
        writer.write(head.encode() + data)
        await writer.drain()

    speaker.behave = bomb
    assert "compressed" in (await fault_of(speaker)).detail


@pytest.mark.parametrize(
    "headers",
    [[f"X-{number}: y" for number in range(200)], [f"X-Long: {'y' * 60_000}"]],
    ids=["many", "long"],
)
async def test_headers_are_bounded(speaker: Speaker, headers: list[str]) -> None:
    async def boast(server: Speaker, asked: Asked, writer: Any) -> None:
        await send_json(writer, {}, headers=headers)

    speaker.behave = boast
    assert (await fault_of(speaker)).kind == "broken"


async def test_what_is_no_http_is_no_answer(speaker: Speaker) -> None:
    async def babble(server: Speaker, asked: Asked, writer: Any) -> None:
        writer.write(b"SSH-2.0-OpenSSH_9.6\r\n")
        await writer.drain()

    speaker.behave = babble
    assert (await fault_of(speaker)).kind == "broken"


async def test_what_comes_unasked_spoils_its_connection(speaker: Speaker) -> None:
    async def say_more(server: Speaker, asked: Asked, writer: Any) -> None:
        await send_json(writer, {"n": 1})
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 13\r\n\r\n{'smuggled':1}")
        await writer.drain()

    speaker.behave = say_more
    far = upstream(speaker)
    for _ in range(2):
        one = exchange()
        await far.ask("chat/completions", b"{}", one)
        assert await one.read() == b'{"n": 1}'
        far.release(one)
        time.sleep(0.05)
    far.close()


async def test_an_answer_that_ends_with_its_connection_is_whole(speaker: Speaker) -> None:
    async def old_fashioned(server: Speaker, asked: Asked, writer: Any) -> str:
        writer.write(b"HTTP/1.0 200 OK\r\nContent-Type: application/json\r\n\r\n{}")
        await writer.drain()
        return "close"

    speaker.behave = old_fashioned
    far, one = upstream(speaker), exchange()
    await far.ask("chat/completions", b"{}", one)
    assert await one.read() == b"{}"
    far.release(one)
    far.close()


def test_a_server_that_trickles_is_ended_by_the_clock() -> None:
    one = exchange(whole=False, first=1, between=2, in_all=3)
    now = time.monotonic()
    one.end_if_late(now + 0.5)
    assert one.error is None
    one.add(b"x")
    one.end_if_late(now + 1.5)
    assert one.error is None, "the first byte has come"
    one.add(b"x")
    one.end_if_late(now + 3.5)
    assert one.error is not None
    assert one.error.kind == "timeout"


@pytest.mark.parametrize("stream", [False, True])
def test_a_server_that_keeps_silent_is_a_timeout_at_no_cost(
    remote: Remotes, client: Clients, speaker: Speaker, stream: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(running, "FIRST_BYTE_SECONDS", 0.2)
    monkeypatch.setattr(running, "WHOLE_SECONDS", 0.2)
    far = remote()

    async def keep_silent(server: Speaker, asked: Asked, writer: Any) -> None:
        await server.wait_at_gate(asked)

    speaker.gate, speaker.behave = threading.Event(), keep_silent
    with pytest.raises(openai.InternalServerError) as late:
        ask(client(far), far, stream=stream)
    assert (late.value.status_code, late.value.code) == (504, "upstream_timeout")
    assert speaker.asked[0].left.wait(5), "the server was hung up on"
    assert (only_event()[b"o"], int(only_event()[b"c"])) == (b"failed", 0)


def test_nobody_listens_there(remote: Remotes, client: Clients, speaker: Speaker) -> None:
    far = remote()
    speaker.stop()
    with pytest.raises(openai.InternalServerError) as unreachable:
        ask(client(far), far)
    assert unreachable.value.status_code == 502
    speaker.start()
    assert read(ask(client(far), far, stream=True))[0] == "Hello, world"


async def test_only_an_allowed_name_is_reached_by_plain_http() -> None:
    place = dialling.destination_of("http://models.example.com/v1")
    with pytest.raises(UpstreamFault) as refused:
        await dialling.dial(place, outbound.read({"REMOTE_PORTS": "80"}))
    assert refused.value.kind == "forbidden"
