"""Closed-loop HTTP load over kept connections, lean enough not to be what is measured."""

import asyncio
import time
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import uvloop


@dataclass(frozen=True)
class Load:
    """What a run came to. Latencies in milliseconds; `first_p50_ms` until the first event of a stream, or all else."""

    calls: int
    per_second: float
    p50_ms: float
    p99_ms: float
    failures: int
    failure: str = ""
    first_p50_ms: float = 0.0


class Connection(asyncio.Protocol):
    """One request at a time; an answer ends by its length or by its last chunk."""

    def __init__(self) -> None:
        self._received = bytearray()
        self._answer: asyncio.Future[bytes] | None = None
        self.first_at = 0.0

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._received += data
        if not self.first_at and (b"data:" in data or b'"content"' in data):
            self.first_at = time.perf_counter()
        if self._answer is not None and not self._answer.done() and _is_complete(self._received):
            self._answer.set_result(bytes(self._received))

    def connection_lost(self, error: Exception | None) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(ConnectionError("the server closed the connection"))

    @property
    def is_open(self) -> bool:
        return not self._transport.is_closing()

    def close(self) -> None:
        self._transport.close()

    async def ask(self, request: bytes) -> bytes:
        self._received.clear()
        self.first_at = 0.0
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        return await self._answer


def _is_complete(received: bytearray) -> bool:
    end = received.find(b"\r\n\r\n")
    if end < 0:
        return False
    head = bytes(received[:end]).lower()
    at = head.find(b"content-length:")
    if at >= 0:
        length = int(head[at + 15 :].split(b"\r\n", 1)[0])
        return len(received) >= end + 4 + length
    return received.endswith(b"0\r\n\r\n")


def run(url: str, body: bytes, *, headers: dict[str, str], concurrency: int, seconds: float) -> Load:
    """POST `body` again and again. Raises `RuntimeError` if the first answer is not 200."""
    return uvloop.run(_run(url, write_request(url, body, headers), concurrency=concurrency, seconds=seconds))


def write_request(url: str, body: bytes, headers: dict[str, str]) -> bytes:
    """An HTTP request as it goes over the wire."""
    parts = urlsplit(url)
    lines = [f"POST {parts.path} HTTP/1.1", f"Host: {parts.netloc}", "Content-Type: application/json"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, f"Content-Length: {len(body)}", "", ""]).encode() + body


async def _run(url: str, request: bytes, *, concurrency: int, seconds: float) -> Load:
    parts = urlsplit(url)
    loop = asyncio.get_running_loop()
    latencies: list[float] = []
    firsts: list[float] = []
    failures, failure = 0, ""

    async def connect() -> Connection:
        _, connection = await loop.create_connection(Connection, parts.hostname, parts.port)
        return connection

    first = await (await connect()).ask(request)
    if not first.startswith(b"HTTP/1.1 200"):
        raise RuntimeError(first[:600].decode(errors="replace"))

    async def client(until: float) -> None:
        nonlocal failures, failure
        connection = await connect()
        while (now := time.perf_counter()) < until:
            answer = await connection.ask(request)
            latencies.append(time.perf_counter() - now)
            firsts.append(connection.first_at - now)
            if not answer.startswith(b"HTTP/1.1 200"):
                failures += 1
                failure = answer[:600].decode(errors="replace")

    started = time.perf_counter()
    await asyncio.gather(*(client(started + seconds) for _ in range(concurrency)))
    elapsed = time.perf_counter() - started
    latencies.sort()
    firsts.sort()
    return Load(
        calls=len(latencies), per_second=len(latencies) / elapsed, p50_ms=latencies[len(latencies) // 2] * 1000,
        p99_ms=latencies[int(len(latencies) * 0.99)] * 1000, failures=failures, failure=failure,
        first_p50_ms=firsts[len(firsts) // 2] * 1000,
    )  # fmt: skip
