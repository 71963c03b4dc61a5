"""A steady, mixed load, by a client that writes down exactly what each call received."""

import asyncio
import json
import random
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import httpx

from benchmarks.chaos.market import Consumer

How = Literal["answered", "opened", "refused", "broken", "left"]
PROMPTS = ("the quick brown fox", "a list of strings", "jumps over the lazy dog and returns", "dog")
PATIENCE_SECONDS = 60.0
PAUSE_SECONDS = 0.15


@dataclass(slots=True)
class Received:
    """What one call came to. `answered`: its final is here, with the quantities and the charge that it tells.
    `opened`: it was admitted, and its answer ended in an error. `broken`: the connection ended. `left`: we did.
    `request` is the public id, and only of calls that were certainly admitted.
    """

    kind: str
    consumer: str
    how: How = "broken"
    status: int = 0
    code: str = ""
    told: str = ""
    request: str = ""
    quantities: dict[str, int] = field(default_factory=dict)
    charge: int = -1
    retry_after: bool = False


@dataclass
class Load:
    """`callers` tasks call until `stop` is set. `received` grows as calls end."""

    url: str
    consumers: Sequence[Consumer]
    seed: int
    callers: int = 12
    received: list[Received] = field(default_factory=list)
    stop: threading.Event = field(default_factory=threading.Event)
    is_ended: bool = False

    def run(self) -> None:
        """Blocks until every caller has ended its last call."""
        asyncio.run(self._run())
        self.is_ended = True

    async def _run(self) -> None:
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=self.callers)
        async with httpx.AsyncClient(base_url=self.url, timeout=PATIENCE_SECONDS, limits=limits) as client:
            await asyncio.gather(*(self._call_on(client, index) for index in range(self.callers)))

    async def _call_on(self, client: httpx.AsyncClient, index: int) -> None:
        chance = random.Random(f"{self.seed} {index}")
        consumer = self.consumers[index % len(self.consumers)]
        while not self.stop.is_set():
            received = await call(client, consumer, chance)
            self.received.append(received)
            await asyncio.sleep(PAUSE_SECONDS * (1 if received.how == "answered" else 2) * chance.random())


async def call(client: httpx.AsyncClient, consumer: Consumer, chance: random.Random) -> Received:
    """One call of a random kind."""
    kind = chance.choices(["stream", "whole", "embed", "wrong", "leave"], [35, 20, 15, 8, 22])[0]
    received = Received(kind, consumer.name)
    try:
        if kind == "leave":
            await _leave(client, consumer, chance, received)
        elif kind == "stream":
            await _stream(client, consumer, chance, received)
        else:
            await _whole(client, consumer, chance, received)
    except (httpx.TransportError, httpx.StreamError, json.JSONDecodeError) as error:
        # A killed server leaves half an event.
        received.how = "answered" if received.how == "answered" else "broken"
        received.code = type(error).__name__
    return received


async def _leave(
    client: httpx.AsyncClient, consumer: Consumer, chance: random.Random, received: Received
) -> None:
    """Be gone after some events of a stream, or after some moments of a whole answer."""
    if chance.random() < 0.7:
        await _stream(client, consumer, chance, received, most_events=chance.choice([0, 1, 3, 10, 40]))
        return
    asked = _chat(consumer, chance)
    task = asyncio.ensure_future(client.post("/v1/chat/completions", json=asked, headers=_headers(consumer)))
    await asyncio.wait([task], timeout=chance.choice([0.0, 0.01, 0.05, 0.2]))
    if task.done():
        _read_whole(task.result(), received)
    else:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        received.how = "left"


async def _stream(
    client: httpx.AsyncClient, consumer: Consumer, chance: random.Random, received: Received, *,
    most_events: int | None = None,
) -> None:  # fmt: skip
    asked = _chat(consumer, chance) | {"stream": True, "stream_options": {"include_usage": True}}
    opened = client.stream("POST", "/v1/chat/completions", json=asked, headers=_headers(consumer))
    async with opened as response:
        if response.status_code != 200:
            await response.aread()
            _read_refusal(response, received)
            return
        received.status, received.request = 200, response.headers["x-request-id"]
        events = 0
        async for line in response.aiter_lines():
            if events == most_events:
                received.how = received.how if received.how == "answered" else "left"
                return
            if line.startswith("data: {"):
                events += 1
                _read_event(json.loads(line[6:]), received)


def _read_event(event: dict[str, Any], received: Received) -> None:
    if "error" in event:
        received.how, received.code = "opened", event["error"]["code"]
    elif event.get("usage"):
        _read_usage(event["usage"], received)
    elif any(choice.get("finish_reason") for choice in event["choices"]):
        received.how = "answered"


async def _whole(
    client: httpx.AsyncClient, consumer: Consumer, chance: random.Random, received: Received
) -> None:
    if received.kind == "embed":
        asked: Any = {"model": consumer.embedding, "input": chance.choices(PROMPTS, k=chance.randint(1, 4))}
        response = await client.post("/v1/embeddings", json=asked, headers=_headers(consumer))
    elif received.kind == "wrong":
        response = await _err(client, consumer, chance)
    else:
        asked = _chat(consumer, chance)
        response = await client.post("/v1/chat/completions", json=asked, headers=_headers(consumer))
    _read_whole(response, received)


async def _err(client: httpx.AsyncClient, consumer: Consumer, chance: random.Random) -> httpx.Response:
    good = _chat(consumer, chance)
    headers = _headers(consumer)
    body, headers = chance.choice(
        [
            (b"{", headers), (json.dumps(good | {"model": "nobody/nothing"}).encode(), headers),
            (json.dumps(good | {"max_tokens": 10**6}).encode(), headers),
            (json.dumps(good | {"temperature": "hot"}).encode(), headers),
            (json.dumps(good).encode(), {"Authorization": "Bearer mk_wrong_key"}),
        ]
    )  # fmt: skip
    headers = headers | {"Content-Type": "application/json"}
    return await client.post("/v1/chat/completions", content=body, headers=headers)


def _read_whole(response: httpx.Response, received: Received) -> None:
    if response.status_code == 200:
        received.status, received.request = 200, response.headers["x-request-id"]
        _read_usage(response.json()["usage"], received)
    else:
        _read_refusal(response, received)


def _read_refusal(response: httpx.Response, received: Received) -> None:
    received.how, received.status = "refused", response.status_code
    received.retry_after = "retry-after" in response.headers
    try:
        told = response.json()["error"]
        received.code, received.request = told["code"] or "", told.get("request_id", "")
        received.told = told["message"]
    except (ValueError, KeyError, TypeError):
        received.code = response.text[:80]


def _read_usage(usage: dict[str, Any], received: Received) -> None:
    received.how, received.charge = "answered", usage["cost_micro"]
    received.quantities = {"input_tokens": usage["prompt_tokens"]}
    if "completion_tokens" in usage:
        received.quantities["output_tokens"] = usage["completion_tokens"]


def _chat(consumer: Consumer, chance: random.Random) -> dict[str, Any]:
    return {
        "model": consumer.text, "messages": [{"role": "user", "content": chance.choice(PROMPTS)}],
        "max_tokens": chance.choice([1, 8, 32, 120]),
    }  # fmt: skip


def _headers(consumer: Consumer) -> dict[str, str]:
    return {"Authorization": f"Bearer {consumer.key}"}
