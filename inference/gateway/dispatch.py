"""The way out: the payload under its key, and a Celery message in the version's queue.

Over a Redis broker the message is written by the event loop itself, in the same script as the payload:
it is Celery's protocol 2 as kombu's Redis transport stores it. Over another broker Celery publishes it,
in a thread.
"""

import asyncio
import base64
import uuid
from collections.abc import Sequence
from itertools import cycle, islice
from typing import TYPE_CHECKING, Any, Protocol

import orjson

from inference.gateway import lines, waiting
from inference.gateway.call import Call
from inference.gateway.commands import SharedCommands
from inference.protocol import (
    PAYLOAD_SECONDS,
    RUN_TASK,
    WANTED,
    WANTED_SECONDS,
    Payload,
    pack,
    payload_key,
    queue_name,
)
from portal.celery import app

if TYPE_CHECKING:
    from redis.asyncio import Redis


class Publisher(Protocol):
    """Puts calls on queues. `publish` returns how many messages wait there now, 0 where unknown, and raises
    as `waiting.enter`, having left nothing, if too much waits. Without `packed` the message alone is repeated.
    `is_redis` says whether the queues are lists of our Redis, whose messages can be counted.
    """

    limits: waiting.Limits
    is_redis: bool

    async def publish(self, call: Call, *, packed: bytes | None) -> int: ...


class Dispatcher:
    """Sends calls of one web process to workers."""

    def __init__(self, client: "Redis", *, publisher: Publisher, reply: str) -> None:
        self._client = client
        self._publisher = publisher
        self._reply = reply

    async def send(self, call: Call, *, kind: Any, body: dict[str, Any], whole: bool) -> None:
        """Dispatch a call once. Raises as `waiting.enter` if too much waits; then no worker will run it."""
        owner = call.facts.organisation_id.hex
        payload = Payload(
            version=call.version, kind=kind, reply=self._reply, body=body, whole=whole, owner=owner
        )
        await self._publisher.publish(call, packed=pack(payload))

    async def send_again(self, version: str, calls: Sequence[Call], *, is_idle: bool) -> None:
        """Put waiting calls of a version in line again and repeat the messages that were lost. Where messages
        cannot be counted, they are repeated if a replica is idle.
        """
        missing = await lines.restore(self._client, version, calls)
        if not self._publisher.is_redis:
            missing = len(calls) if is_idle else 0
        for call in islice(cycle(calls), missing):
            await self._publisher.publish(call, packed=None)

    async def withdraw(self, call: Call) -> bool:
        """Take a call back; False if a worker has begun it."""
        return bool(await self._client.delete(payload_key(call.hex)))

    async def want(self, versions: dict[str, int]) -> None:
        """Mark cold versions as waited for, with the unix ms of now."""
        pipeline = self._client.pipeline(transaction=False)
        pipeline.zadd(WANTED, versions)
        pipeline.expire(WANTED, WANTED_SECONDS)
        await pipeline.execute()


class RedisPublisher:
    """For a broker that is the Redis of everything else."""

    is_redis = True

    def __init__(self, commands: SharedCommands) -> None:
        self._commands = commands
        self._template = _MessageTemplate()
        self.limits = waiting.limits()

    async def publish(self, call: Call, *, packed: bytes | None) -> int:
        queue = queue_name(call.version)
        message = self._template.message(call.hex, queue)
        if packed is None:
            pushed = ("LPUSH", queue, message), ("EXPIRE", queue, PAYLOAD_SECONDS)
            return int((await self._commands.run(*pushed))[0])
        return await waiting.enter(self._run, call, packed=packed, most=self.limits, message=message)

    async def _run(self, *command: Any) -> Any:
        return (await self._commands.run(command))[0]


class CeleryPublisher:
    """For any broker that Celery speaks."""

    is_redis = False

    def __init__(self, client: "Redis") -> None:
        self._client = client
        self.limits = waiting.limits()

    async def publish(self, call: Call, *, packed: bytes | None) -> int:
        if packed is not None:
            await waiting.enter(self._client.execute_command, call, packed=packed, most=self.limits)
        queue = queue_name(call.version)
        await asyncio.to_thread(app.send_task, RUN_TASK, args=(call.hex,), queue=queue, ignore_result=True)
        return 0


def new_publisher(client: "Redis", *, commands: SharedCommands, broker_url: str, redis_url: str) -> Publisher:
    """The quick way where the broker is our Redis, Celery's own way for every other broker."""
    return RedisPublisher(commands) if broker_url == redis_url else CeleryPublisher(client)


class _MessageTemplate:
    """Celery's message with the parts that never change laid out once."""

    def __init__(self) -> None:
        self._headers: dict[str, Any] = {
            "lang": "py", "task": RUN_TASK, "shadow": None, "eta": None, "expires": None, "group": None,
            "group_index": None, "retries": 0, "timelimit": [None, None], "parent_id": None, "kwargsrepr": "{}",
            "origin": "gateway", "ignore_result": True, "replaced_task_nesting": 0, "stamped_headers": None,
            "stamps": {},
        }  # fmt: skip

    def message(self, request: str, queue: str) -> bytes:
        task = str(uuid.uuid4())
        body = base64.b64encode(
            orjson.dumps([[request], {}, {"callbacks": None, "errbacks": None, "chain": None, "chord": None}])
        ).decode()
        return orjson.dumps(
            {
                "body": body,
                "content-encoding": "utf-8",
                "content-type": "application/json",
                "headers": self._headers | {"id": task, "root_id": task, "argsrepr": f"('{request}',)"},
                "properties": {
                    "correlation_id": task, "reply_to": "", "delivery_mode": 2, "priority": 0,
                    "delivery_info": {"exchange": "", "routing_key": queue}, "body_encoding": "base64",
                    "delivery_tag": task,
                },
            }
        )  # fmt: skip
