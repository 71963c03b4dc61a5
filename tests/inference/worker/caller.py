"""Calls as the gateway makes them: admitted through credit, dispatched through Celery, read from a stream."""

import asyncio
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from billing.credit import admission, facts
from inference import protocol
from marketplace.models import Subscription, Version
from portal.celery import app
from portal.kit import ids, redis


@dataclass
class Outcome:
    """A call as its caller saw it."""

    worker: str = ""
    text: str = field(default="", repr=False)
    indices: list[int] = field(default_factory=list, repr=False)
    outcome: str = ""
    finish_reason: str = ""
    error: str | None = None
    output: Any = None
    quantities: dict[str, int] = field(default_factory=dict)

    @property
    def chunks(self) -> int:
        return len(self.indices)


@dataclass
class Caller:
    """One web process's end of the protocol."""

    subscription: Subscription
    # As the gateway does; else the message alone says which call is meant.
    in_line: bool = False
    web_id: str = field(default_factory=lambda: ids.uuid7().hex)
    last: bytes = b"0-0"
    outcomes: dict[str, Outcome] = field(default_factory=dict)

    def generate(self, version: Version, *, max_tokens: int = 16, whole: bool = False) -> str:
        """Admit and send one greedy generation; answers its request id in hex."""
        return self.generate_many(version, 1, max_tokens=max_tokens, whole=whole)[0]

    def generate_many(
        self, version: Version, count: int, *, max_tokens: int = 16, whole: bool = False
    ) -> list[str]:
        """The same `count` times: all are admitted before the first is sent."""
        prompt = [10, 11, 12]
        body = {
            "prompt_ids": prompt,
            "cache_scope": "caller",
            "sampling": {"max_tokens": max_tokens, "temperature": 0.0},
        }
        worst = {"input_tokens": len(prompt), "output_tokens": max_tokens}
        requests = [ids.uuid7() for _ in range(count)]
        self.admit(version, requests, worst=worst)
        for request in requests:
            self.send(request, version, kind="generate", body=body, whole=whole)
        return [request.hex for request in requests]

    def admit(self, version: Version, requests: list[UUID], *, worst: dict[str, int]) -> None:
        known = facts.load(self.subscription, version, key_id=None, epochs=())

        async def admit_all() -> None:
            client = redis.new_async_client()
            door = admission.Admission(client)
            for request in requests:
                await door.admit(
                    known, request_id=request, worst=worst, endpoint="test", streamed=True, hold_seconds=300
                )
            door.close()
            await client.aclose()

        asyncio.run(admit_all())

    def send(
        self, request_id: UUID, version: Version, *, kind: Any, body: dict[str, Any], whole: bool = False
    ) -> None:
        reply, owner = protocol.reply_stream(self.web_id), self.subscription.organisation_id.hex
        payload = protocol.Payload(
            version=version.pk.hex, kind=kind, reply=reply, body=body, whole=whole, owner=owner
        )
        client = redis.client()
        if self.in_line:
            client.rpush(protocol.line_key(version.pk.hex, owner), request_id.hex)
            client.zadd(protocol.turns_key(version.pk.hex), {owner: 0}, nx=True)
        client.set(protocol.payload_key(request_id.hex), protocol.pack(payload), ex=protocol.PAYLOAD_SECONDS)
        self.outcomes[request_id.hex] = Outcome()
        app.send_task(
            protocol.RUN_TASK, args=(request_id.hex,), queue=protocol.queue_name(version.pk.hex), task_id=request_id.hex
        )  # fmt: skip
        self.want(version)

    def want(self, version: Version) -> None:
        """Mark a version as waited for."""
        redis.client().zadd(protocol.WANTED, {version.pk.hex: int(time.time() * 1000)})

    def read(self, *, seconds: float = 60, until: Any = None) -> None:
        """Follow the stream until every call has ended, or `until()` holds."""
        deadline = time.monotonic() + seconds
        done = until or (lambda: all(outcome.outcome for outcome in self.outcomes.values()))
        while not done():
            assert time.monotonic() < deadline, f"calls are still open: {self.outcomes}"
            for fields in self._entries():
                self._take(fields)

    def catch_up(self) -> None:
        """Take in what has been written until now."""
        for fields in self._entries():
            self._take(fields)

    def cancel(self, request: str) -> None:
        worker = self.outcomes[request].worker
        redis.client().xadd(protocol.control_stream(worker), {"cancel": request})

    def _entries(self) -> Iterator[dict[bytes, bytes]]:
        stream = protocol.reply_stream(self.web_id)
        for _, entries in redis.client().xread({stream: self.last}, block=200) or []:  # type: ignore[union-attr]
            for self.last, fields in entries:
                yield fields

    def _take(self, fields: dict[bytes, bytes]) -> None:
        if b"f" in fields:
            self._end(fields)
            return
        for request, kind, data in protocol.unpack(fields[b"b"]):
            outcome = self.outcomes[request]
            if kind == protocol.STARTED:
                outcome.worker = data
            elif data["i"] not in outcome.indices:
                outcome.indices.append(data["i"])
                outcome.text += data.get("text", "")

    def _end(self, fields: dict[bytes, bytes]) -> None:
        final = protocol.Final(**protocol.unpack(fields[b"p"]))
        outcome = self.outcomes[fields[b"f"].decode()]
        outcome.text += final.text
        outcome.outcome = fields[b"o"].decode()
        outcome.finish_reason, outcome.error, outcome.output = final.finish_reason, final.error, final.output
        outcome.quantities = protocol.unpack(fields[b"q"])
