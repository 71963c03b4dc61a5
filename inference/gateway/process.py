"""What one web process holds for the data plane, put together and taken apart in one place."""

import asyncio
import contextlib
import logging
from collections.abc import Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast
from uuid import UUID, uuid4

from django.conf import settings

from billing.credit.admission import Admission
from inference import protocol, quarantine
from inference.gateway import kept, waiting
from inference.gateway.commands import SharedCommands
from inference.gateway.deliveries import Deliveries
from inference.gateway.dispatch import Dispatcher, new_publisher
from inference.gateway.identify import Identifier
from inference.gateway.losses import Losses
from inference.gateway.prompting import Prompter
from inference.gateway.relay import Relay
from inference.gateway.remote.upstreams import Upstreams
from inference.gateway.retrying import attempts
from inference.gateway.roster import Roster
from inference.gateway.watch import Watch
from marketplace import weights
from portal.kit import ids, supervision
from portal.kit import redis as redis_kit
from portal.kit.redis import is_passing

if TYPE_CHECKING:
    from redis.asyncio import Redis

    from billing.credit.facts import CallFacts

log = logging.getLogger(__name__)

# How long a stopping process waits for the ends of calls whose clients have gone.
LINGER_SECONDS = 10.0
CANCEL_AGAIN_SECONDS, CANCEL_TIMES = 0.5, 4


class GatewayProcess:
    """Made in the event loop that it serves; `open` before the first call, `close` after the last."""

    def __init__(self) -> None:
        self.redis: Redis = redis_kit.new_async_client()
        self.prompter = Prompter(on_fault=self._quarantine)
        self.identifier = Identifier(self.prompter)
        self.commands = commands = SharedCommands(self.redis)
        # Admission asks no more of its client than scripts and pipelines.
        self.admission = Admission(cast("Redis", commands))
        self.roster = Roster(self.redis)
        self.losses = Losses(commands)
        stream = protocol.reply_stream(uuid4().hex)
        self.deliveries = Deliveries(commands, reader=stream)
        self.relay = Relay(self.redis, stream=stream, losses=self.losses, deliveries=self.deliveries)
        self.upstreams = Upstreams(commands, losses=self.losses, deliveries=self.deliveries)
        publisher = new_publisher(
            self.redis, commands=commands, broker_url=settings.CELERY_BROKER_URL, redis_url=settings.REDIS_URL
        )
        self.dispatcher = Dispatcher(self.redis, publisher=publisher, reply=self.relay.stream)
        self._publisher = publisher
        self.kept = kept.Kept(self.redis)
        self.attempt_limits = attempts.limits()
        self.watch = Watch(self)
        self._tasks: set[asyncio.Task[Any]] = set()

    async def open(self) -> None:
        await self.relay.open()
        memory_bytes = int((await self.redis.info("memory")).get("maxmemory", 0))
        self._publisher.limits = waiting.limits(memory_bytes)
        self.kept.limits = kept.limits(memory_bytes)
        self.attempt_limits = attempts.limits(memory_bytes)
        services = (self.relay.read, self.watch.run, self.upstreams.keep_time, self.losses.keep_recording)
        for service in services:
            self.spawn(supervision.keep(service, name=service.__qualname__))

    async def close(self) -> None:
        """Cancel what still runs for clients that have gone, record how it ended, and let go of everything."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LINGER_SECONDS):
                await self.upstreams.close()
                await self._end_calls()
        await self._end_tasks()
        for call in self.relay.calls.values():
            self.losses.note(call)
        await self.losses.close()
        await self.deliveries.close()
        await self.prompter.close()
        await asyncio.to_thread(self.identifier.close)
        self.admission.close()
        await self.relay.close()
        await self.redis.aclose()

    def begin_call(self, facts: "CallFacts") -> "tuple[UUID, CallFacts]":
        """A new call's id and the facts to admit it with. The demo world marks its calls here."""
        return ids.uuid7(), facts

    def spawn(self, work: Coroutine[Any, Any, Any]) -> None:
        """Run something that no request waits for; it is held here until it is done."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._let_go)

    def _quarantine(self, directory: Path, times: int) -> None:
        version = weights.version_of(directory)
        detail = f"{times} short prompts within ten minutes took far longer to prepare than they may."
        log.warning("version %s is taken out of service: %s", version, detail)
        self.spawn(self._begin_quarantine(version, detail))

    async def _begin_quarantine(self, version: str, detail: str) -> None:
        await self.redis.eval(*quarantine.beginning(version, kind="template_slow", detail=detail))

    def _let_go(self, task: "asyncio.Task[Any]") -> None:
        self._tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None and is_passing(error):
            # Holds that it would have given back lapse, and the watch stops runs that nobody waits for.
            log.warning("the end of a call waits for Redis: %s", error)
        elif error is not None:
            log.error("work that no request waits for failed", exc_info=error)

    async def _end_tasks(self) -> None:
        # Before Python 3.12 `asyncio.wait_for`, in which the Redis client writes, loses a cancellation that
        # meets its end; so it is said again. What takes longer is winding up, and gets the time.
        tasks = set(self._tasks)
        for _ in range(CANCEL_TIMES):
            for task in tasks:
                task.cancel()
            if not tasks or not (await asyncio.wait(tasks, timeout=CANCEL_AGAIN_SECONDS))[1]:
                break
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _end_calls(self) -> None:
        for call in list(self.relay.calls.values()):
            await self.relay.cancel(call)
        while self.relay.calls:
            await asyncio.sleep(0.05)
