"""A client that is slow, greedy or many loses its own connections, and takes nobody else's."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from typing import Any

import pytest
import uvicorn

from portal.server import limits, protocol
from portal.server.protocol import BoundedProtocol

QUICK = replace(limits.CALM, head=0.3, body=0.3, write=0.5, idle=0.4)
HEAD = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n"
LONG = b"x" * 2**16


async def application(scope: Any, receive: Any, send: Any) -> None:
    """Reads the body, then answers with its length; /flood never stops answering."""
    length, more = 0, True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        length += len(message.get("body", b""))
        more = message.get("more_body", False)
    await send({"type": "http.response.start", "status": 200, "headers": []})
    for _ in range(4000 if scope["path"] == "/flood" else 0):
        await asyncio.sleep(0)
        await send({"type": "http.response.body", "body": LONG, "more_body": True})
    await send({"type": "http.response.body", "body": str(length).encode()})


@dataclass
class Served:
    port: int
    server: uvicorn.Server

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection("127.0.0.1", self.port)

    @property
    def open_connections(self) -> int:
        return len(self.server.server_state.connections)


@pytest.fixture
async def served(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Served]:
    monkeypatch.setattr(limits, "CALM", QUICK)
    monkeypatch.setattr(protocol, "SWEEP_SECONDS", 0.05)
    monkeypatch.setenv("CONNECTIONS_PER_ADDRESS", "8")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = uvicorn.Server(
            uvicorn.Config(
                application,
                http=BoundedProtocol,
                lifespan="off",
                log_level="critical",
                timeout_graceful_shutdown=1,
            )
        )
        running = asyncio.create_task(server._serve([listener]))
        while not server.started:
            await asyncio.sleep(0.01)
        yield Served(listener.getsockname()[1], server)
        server.should_exit = True
        with contextlib.suppress(asyncio.CancelledError):
            await running


async def answer(reader: asyncio.StreamReader) -> bytes:
    """All that the server says until it closes, which it must."""
    async with asyncio.timeout(10):
        try:
            return await reader.read()
        except ConnectionResetError:
            return b"reset"


@pytest.mark.parametrize("sent", [b"", b"G", b"GET / HTTP/1.1\r\nhost: x\r\n"])
async def test_a_head_that_does_not_end_is_not_waited_for(served: Served, sent: bytes) -> None:
    reader, writer = await served.connect()
    writer.write(sent)
    assert (await answer(reader)).startswith(b"HTTP/1.1 408" if sent else b"")
    assert served.open_connections == 0


async def test_a_head_that_drips_is_not_waited_for_longer(served: Served) -> None:
    reader, writer = await served.connect()
    writer.write(b"GET / HTTP/1.1\r\n")

    async def drip() -> None:
        with contextlib.suppress(ConnectionError):
            while True:
                writer.write(b"a: b\r\n")
                await asyncio.sleep(0.05)

    dripping = asyncio.create_task(drip())
    assert (await answer(reader)).startswith((b"HTTP/1.1 408", b"reset"))
    dripping.cancel()


async def test_a_body_that_drips_is_not_waited_for(served: Served) -> None:
    reader, writer = await served.connect()
    writer.write(b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\nabc")
    assert (await answer(reader)).startswith(b"HTTP/1.1 408")


async def test_a_body_that_keeps_its_pace_may_take_its_time(served: Served) -> None:
    reader, writer = await served.connect()
    piece, pieces = b"x" * QUICK.body_rate, 12
    writer.write(
        b"POST / HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: %d\r\n\r\n"
        % (pieces * len(piece))
    )
    for _ in range(pieces):
        writer.write(piece)
        await asyncio.sleep(QUICK.body / 4)
    assert (await answer(reader)).endswith(b"%d\r\n0\r\n\r\n" % (pieces * len(piece)))


async def test_a_head_without_end_is_refused_by_its_size(served: Served) -> None:
    reader, writer = await served.connect()
    writer.write(b"GET / HTTP/1.1\r\nhost: x\r\na: ")
    with contextlib.suppress(ConnectionError):
        for _ in range(8):
            writer.write(b"y" * 2**14)
            await writer.drain()
    assert (await answer(reader)).startswith((b"HTTP/1.1 431", b"reset"))


async def test_who_does_not_read_is_not_written_to_for_ever(served: Served) -> None:
    _, writer = await served.connect()
    writer.write(HEAD.replace(b"/ ", b"/flood "))
    async with asyncio.timeout(10):
        while served.open_connections == 0:
            await asyncio.sleep(0.01)
        while served.open_connections:
            await asyncio.sleep(0.05)
    writer.close()


async def test_an_address_has_only_so_many_connections(served: Served) -> None:
    held = [await served.connect() for _ in range(8)]
    for _, writer in held:
        writer.write(b"GET /")
    reader, _ = await served.connect()
    assert (await answer(reader)).startswith(b"HTTP/1.1 503")
    for _, writer in held:
        writer.close()
    async with asyncio.timeout(10):
        while served.open_connections:
            await asyncio.sleep(0.01)
    reader, writer = await served.connect()
    writer.write(HEAD.replace(b"\r\n\r\n", b"\r\nconnection: close\r\n\r\n"))
    assert (await answer(reader)).startswith(b"HTTP/1.1 200")


async def test_requests_piled_on_one_connection_are_bounded(served: Served) -> None:
    reader, writer = await served.connect()
    writer.write(HEAD * 1000)
    assert (await answer(reader)).count(b"HTTP/1.1 200") <= limits.MOST_PIPELINED + 1


async def test_a_connection_serves_many_requests_and_then_goes(served: Served) -> None:
    reader, writer = await served.connect()
    for _ in range(3):
        writer.write(HEAD)
        assert (await reader.readuntil(b"\r\n0\r\n\r\n")).startswith(b"HTTP/1.1 200")
        await asyncio.sleep(QUICK.idle / 3)
    assert await answer(reader) == b""


def test_a_crowd_is_waited_for_less_long() -> None:
    counted = limits.Connections(most=8, per_address=None)
    assert counted.patience is limits.CALM
    assert all(counted.admit(str(number)) for number in range(8))
    assert counted.patience is limits.CROWDED
    assert not counted.admit("one more")
    counted.leave("0")
    assert counted.admit("one more")


def test_an_ipv6_host_is_its_network() -> None:
    assert limits.name_neighbourhood("2001:db8::1") == limits.name_neighbourhood("2001:db8::2:3")
    assert limits.name_neighbourhood("2001:db8:0:1::1") != limits.name_neighbourhood("2001:db8::1")
    assert (
        limits.name_neighbourhood("::ffff:192.0.2.7") == limits.name_neighbourhood("192.0.2.7") == "192.0.2.7"
    )


@pytest.mark.parametrize(
    "head", [b"GET / HTTP/1.0\r\n\r\n", b"GET / HTTP/1.0\r\nconnection: keep-alive\r\n\r\n"]
)
async def test_an_answer_over_http_1_0_has_no_chunks_and_ends_with_its_connection(
    served: Served, head: bytes
) -> None:
    reader, writer = await served.connect()
    writer.write(head)
    said, _, body = (await answer(reader)).partition(b"\r\n\r\n")
    assert body == b"0"
    assert b"chunked" not in said
    assert b"connection: close" in said
