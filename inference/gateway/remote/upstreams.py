"""The providers' servers that this web process relays to, and the calls under way to them."""

import asyncio
import logging
import time
import uuid
from typing import TYPE_CHECKING

import redis
from django.conf import settings

from inference.gateway.call import Call
from inference.gateway.deliveries import Deliveries
from inference.gateway.errors import CallError, RunFailed
from inference.gateway.lookup import Route
from inference.gateway.losses import Losses
from inference.gateway.remote.asking import RemoteWork
from inference.gateway.remote.refusing import explain
from inference.gateway.remote.running import Run
from inference.remote import health
from inference.remote.faults import UpstreamFault
from inference.remote.health import Health
from inference.remote.room import Room
from inference.remote.upstream import EndpointFacts, Upstream

if TYPE_CHECKING:
    from inference.gateway.commands import SharedCommands

log = logging.getLogger(__name__)

TICK_SECONDS = 0.25
# A server that nobody asked for so long is forgotten, its circuit too.
FORGET_SECONDS = 600.0


class Upstreams:
    """Owned by one event loop."""

    def __init__(self, commands: "SharedCommands", *, losses: Losses, deliveries: Deliveries) -> None:
        self.calls: dict[str, Call] = {}
        self._losses = losses
        self._deliveries = deliveries
        self._commands = commands
        self._upstreams: dict[str, Upstream] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._writing: set[asyncio.Task[None]] = set()
        self._told: dict[str, tuple[str, float]] = {}
        self._room = Room()
        self._web = uuid.uuid4().hex

    def enter(self, route: Route) -> Upstream:
        """A slot at the route's server. Raises `UpstreamBusy`. Whoever does not `start` a call with it leaves."""
        assert route.endpoint is not None
        upstream = self._find(route.endpoint)
        try:
            upstream.enter(route.facts.organisation_id.hex)
        except UpstreamFault as fault:
            raise explain(fault) from None
        return upstream

    def start(self, call: Call, work: RemoteWork, upstream: Upstream) -> None:
        """Relay an admitted call. The call ends by itself."""
        run = Run(
            call, work, upstream, commands=self._commands, reader=self._deliveries.reader, room=self._room
        )
        call.run = run
        self.calls[call.hex] = call
        task = asyncio.get_running_loop().create_task(run.go())
        self._tasks.add(task)
        task.add_done_callback(lambda done: self._end(call, done))

    def stop_lost(self) -> None:
        """Give up the calls whose holds are gone: whatever they use, nobody will pay for it."""
        for call in self.calls.values():
            if call.hold_lost and call.run is not None:
                call.run.stop(RunFailed(reason="The call was interrupted."))

    async def keep_time(self) -> None:
        """Until cancelled: end what takes too long, and forget what nobody uses."""
        while True:
            now = time.monotonic()
            for version, upstream in list(self._upstreams.items()):
                upstream.keep_time(now)
                self._tell(upstream, now)
                if not upstream.taken and now - upstream.used_at > FORGET_SECONDS:
                    self._upstreams.pop(version).close()
                    self._told.pop(version, None)
            await asyncio.sleep(TICK_SECONDS)

    def _tell(self, upstream: Upstream, now: float) -> None:
        """Say how a server does, when that has changed and every so often."""
        state = upstream.circuit.state
        told_state, told_at = self._told.get(upstream.facts.version, ("", 0.0))
        if state == told_state and now - told_at < health.WRITE_SECONDS:
            return
        self._told[upstream.facts.version] = (state, now)
        said = Health(
            state=state, failures=upstream.circuit.failures, fault=upstream.circuit.last_fault,
            in_flight=upstream.taken, concurrency=upstream.facts.concurrency,
        )  # fmt: skip
        task = asyncio.get_running_loop().create_task(self._write(upstream.facts.version, said))
        self._writing.add(task)
        task.add_done_callback(self._writing.discard)

    async def _write(self, version: str, said: Health) -> None:
        try:
            await self._commands.run(*health.commands(version, self._web, said))
        except redis.RedisError as error:
            log.warning("the health of a server could not be told: %s", error)

    async def close(self) -> None:
        """Hang up on all servers, as if every client had left, and let the calls record their ends."""
        for call in list(self.calls.values()):
            if call.run is not None:
                call.run.leave()
        if self._tasks:
            await asyncio.wait(set(self._tasks))
        for upstream in self._upstreams.values():
            upstream.close()

    def _find(self, facts: EndpointFacts) -> Upstream:
        known = self._upstreams.get(facts.version)
        if known is not None and known.facts == facts:
            return known
        # With another key the server may answer again, so the circuit starts anew too.
        upstream = self._upstreams[facts.version] = Upstream(facts, settings.OUTBOUND)
        return upstream

    def _end(self, call: Call, task: "asyncio.Task[None]") -> None:
        self._tasks.discard(task)
        self.calls.pop(call.hex, None)
        if call.unrecorded or not call.is_over:
            self._losses.note(call)
        if call.gone:
            self._deliveries.note(call)
        if not call.is_over:
            failure: CallError = RunFailed(reason="The call was interrupted.")
            call.fail(failure)
