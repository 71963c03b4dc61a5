"""Open-loop HTTP load: calls arrive at a rate, whatever becomes of those before them."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import uvloop

from benchmarks.load import Connection, write_request

# More connections than that one process does not open; arrivals beyond it are counted and dropped.
MOST_OPEN = 6_000


@dataclass
class Stream:
    """Arrivals with one key at so many a second, evenly spaced, and what became of them."""

    key: str
    per_second: float
    latencies: list[float] = field(default_factory=list)
    statuses: dict[int, int] = field(default_factory=dict)
    # Refusals that do not say when to come back.
    silent: int = 0
    dropped: int = 0
    # What went wrong with connections (status 0), and how often.
    failures: dict[str, int] = field(default_factory=dict)

    @property
    def answered(self) -> int:
        return self.statuses.get(200, 0)

    @property
    def arrived(self) -> int:
        return sum(self.statuses.values()) + self.dropped

    def latency_ms(self, quantile: float) -> float:
        """Of answered calls; infinite if there was none."""
        ordered = sorted(self.latencies)
        return (
            ordered[min(len(ordered) - 1, int(len(ordered) * quantile))] * 1000 if ordered else float("inf")
        )


@dataclass(frozen=True)
class Storm:
    """Where to, what, and how long; `patience` is how long after the last arrival answers are waited for."""

    host: str
    port: int
    path: str
    body: bytes
    seconds: float
    patience: float


def run(storm: Storm, streams: Sequence[Stream]) -> float:
    """Let all arrive at once. Answers the seconds until the last answer."""
    return uvloop.run(_run(storm, streams))


async def _run(storm: Storm, streams: Sequence[Stream]) -> float:
    started = time.perf_counter()
    calls: set[asyncio.Task[None]] = set()
    kept: list[Connection] = []
    await asyncio.gather(*(_arrive(storm, stream, calls, kept) for stream in streams))
    if calls:
        await asyncio.wait(calls, timeout=storm.patience)
    for call in calls:
        call.cancel()
    await asyncio.gather(*calls, return_exceptions=True)
    for connection in kept:
        connection.close()
    return time.perf_counter() - started


async def _arrive(
    storm: Storm, stream: Stream, calls: "set[asyncio.Task[None]]", kept: list[Connection]
) -> None:
    started = time.perf_counter()
    number = 0
    while (due := started + number / stream.per_second) < started + storm.seconds:
        await asyncio.sleep(max(0.0, due - time.perf_counter()))
        number += 1
        if len(calls) >= MOST_OPEN:
            stream.dropped += 1
            continue
        call = asyncio.ensure_future(_call(storm, stream, kept))
        calls.add(call)
        call.add_done_callback(calls.discard)


async def _call(storm: Storm, stream: Stream, kept: list[Connection]) -> None:
    began = time.perf_counter()
    status, head = 0, b""
    try:
        answer = await _ask(storm, _request(storm, stream.key), kept)
        head = answer.partition(b"\r\n\r\n")[0].lower()
        status = int(head.split(b" ", 2)[1])
    except OSError as error:
        status = 0
        stream.failures[repr(error)] = stream.failures.get(repr(error), 0) + 1
    except asyncio.CancelledError:
        status = -1
    stream.statuses[status] = stream.statuses.get(status, 0) + 1
    if status == 200:
        stream.latencies.append(time.perf_counter() - began)
    elif b"\r\nretry-after:" not in head:
        stream.silent += 1


async def _ask(storm: Storm, request: bytes, kept: list[Connection]) -> bytes:
    """Over a kept connection where there is one: a machine has fewer ports than a storm has calls."""
    while kept:
        connection = kept.pop()
        if not connection.is_open:
            continue
        try:
            answer = await connection.ask(request)
        except OSError:
            # The server had closed it; nothing was asked.
            continue
        kept.append(connection)
        return answer
    loop = asyncio.get_running_loop()
    _, connection = await loop.create_connection(Connection, storm.host, storm.port)
    answer = await connection.ask(request)
    kept.append(connection)
    return answer


def _request(storm: Storm, key: str) -> bytes:
    url = f"http://{storm.host}:{storm.port}{storm.path}"
    return write_request(url, storm.body, {"Authorization": f"Bearer {key}"})
