"""What a web process sees to several times a second, for the calls that it has in flight."""

import asyncio
import logging
import time
from typing import TYPE_CHECKING, Any

from billing.credit import settlement
from billing.reasons import Reason
from inference.gateway import ending, standing
from inference.gateway.call import Call
from inference.gateway.errors import Interrupted, RunFailed, ServiceUnavailable, WorkerLost
from inference.protocol import (
    HOLD_LEASE_SECONDS,
    HOLD_RENEW_SECONDS,
    WANTED_RENEW_SECONDS,
    control_stream,
    load_error_key,
)
from portal.kit.redis import is_passing

if TYPE_CHECKING:
    from inference.gateway.process import GatewayProcess

log = logging.getLogger(__name__)

LOOK_SECONDS = 0.25
TIDY_SECONDS = 1.0
# How long a message may be on its way to a worker that has nothing else to do.
RESEND_SECONDS = 3.0
# How long a call may wait to begin, and run, before it is given up.
BEGIN_SECONDS = 300.0
RUN_SECONDS = 1_800.0
# A queue without a single worker that could serve it is given up sooner: a restart takes a few seconds.
HOPELESS_SECONDS = 10.0


class Watch:
    """Looks after calls: worker leases, lost messages, cold versions, holds, deadlines."""

    def __init__(self, process: "GatewayProcess") -> None:
        self._process = process
        self._workers: frozenset[str] = frozenset()
        self._hopeless_since: float | None = None
        self._due = {"renew": 0.0, "want": 0.0, "tidy": 0.0, "resend": 0.0}

    async def run(self) -> None:
        """Until cancelled; a lost connection is tried again."""
        while True:
            try:
                await self.look()
            except Exception as error:
                if is_passing(error):
                    log.warning("calls cannot be looked after: %s", error)
                else:
                    log.exception("a look after the calls failed")
            await asyncio.sleep(LOOK_SECONDS)

    async def look(self) -> None:
        """One round over all calls."""
        process = self._process
        await process.roster.refresh()
        lost = self._workers - process.roster.ids()
        self._workers = process.roster.ids()
        calls = list(process.relay.calls.values())
        for call in calls:
            if call.worker is not None and not process.roster.is_alive(call.worker):
                await ending.give_up(process, call, WorkerLost(retry_after=1), why=Reason.WORKER_LOST)
            elif call.hold_lost:
                failure = Interrupted(reason="The call was interrupted.", retry_after=1)
                await ending.give_up(process, call, failure, why=Reason.INTERRUPTED)
            elif (call.gone or call.revocation) and not call.stop_asked:
                # Redis was away when it should have been stopped, or its worker has only just been named.
                await ending.abandon(process, call)
        # First what keeps calls alive: a Redis that is full refuses what comes after.
        await self._see_to_leases([*calls, *process.upstreams.calls.values()])
        process.upstreams.stop_lost()
        await self._end_overdue(calls)
        await standing.stop_revoked(process, [*calls, *process.upstreams.calls.values()])
        waiting = [call for call in calls if call.worker is None and not call.is_over]
        await self._see_to_cold(waiting)
        await self._send_again(waiting if lost else self._late(waiting))

    def _late(self, waiting: list[Call]) -> list[Call]:
        """Calls that wait so long that their messages may have died with the connection over which a worker
        fetched them. (With the worker itself, `look` notices.)
        """
        late = [call for call in waiting if call.age > RESEND_SECONDS]
        return late if late and self._is_due("resend", RESEND_SECONDS) else []

    async def _send_again(self, calls: list[Call]) -> None:
        process = self._process
        for version in {call.version for call in calls}:
            theirs = [call for call in calls if call.version == version]
            await process.dispatcher.send_again(version, theirs, is_idle=process.roster.has_room(version))

    async def _see_to_cold(self, waiting: list[Call]) -> None:
        cold = {call.version for call in waiting if not self._process.roster.serves(call.version)}
        if not cold:
            return
        if self._is_due("want", WANTED_RENEW_SECONDS):
            now = int(time.time() * 1000)
            await self._process.dispatcher.want(dict.fromkeys(cold, now))
        await self._report_load_errors(waiting, sorted(cold))

    async def _report_load_errors(self, waiting: list[Call], cold: list[str]) -> None:
        reasons: list[Any] = await self._process.redis.mget([load_error_key(version) for version in cold])
        failed = {version: reason for version, reason in zip(cold, reasons, strict=True) if reason}
        for call in waiting:
            if call.version in failed:
                reason = f"The model could not be loaded: {failed[call.version].decode(errors='replace')}"
                failure = ServiceUnavailable(reason=reason, retry_after=30)
                await self._give_up_unbegun(call, failure, why=Reason.LOAD_FAILED)

    async def _end_overdue(self, calls: list[Call]) -> None:
        hopeless = self._is_hopeless()
        for call in calls:
            if call.worker is not None:
                if call.age > RUN_SECONDS:
                    failure = RunFailed(reason=f"The run was stopped after {RUN_SECONDS:.0f} s.")
                    await ending.stop(self._process, call, failure, why=Reason.RUN_TOO_LONG)
            elif hopeless and call.age > HOPELESS_SECONDS:
                reason = "No worker is alive that could run this model. Please try again later."
                unavailable = ServiceUnavailable(reason=reason, retry_after=10)
                await self._give_up_unbegun(call, unavailable, why=Reason.NO_WORKER)
            elif call.age > BEGIN_SECONDS:
                reason = f"The model did not become free within {BEGIN_SECONDS:.0f} s."
                unavailable = ServiceUnavailable(reason=reason, retry_after=10)
                await self._give_up_unbegun(call, unavailable, why=Reason.NOT_BEGUN)

    async def _give_up_unbegun(self, call: Call, failure: ServiceUnavailable, *, why: Reason) -> None:
        # If a worker has begun it in this very moment, the call goes on.
        if await self._process.dispatcher.withdraw(call):
            await ending.give_up(self._process, call, failure, why=why)

    async def _see_to_leases(self, calls: list[Call]) -> None:
        if calls and self._is_due("renew", HOLD_RENEW_SECONDS):
            await self._renew(calls)
        if self._is_due("tidy", TIDY_SECONDS):
            await self._process.relay.tidy()

    async def _renew(self, calls: list[Call]) -> None:
        gone = set(await self._process.admission.renew([call.id for call in calls], HOLD_LEASE_SECONDS))
        for call in calls:
            call.hold_lost = call.id in gone
            if call.worker is not None and not call.attached:
                # From here on the reaper knows whom to cancel, should this process die.
                stream = control_stream(call.worker)
                await settlement.attach_control(self._process.redis, request_id=call.id, stream=stream)
                call.attached = True

    def _is_hopeless(self) -> bool:
        if self._process.roster.largest_bytes() is not None:
            self._hopeless_since = None
            return False
        self._hopeless_since = self._hopeless_since or time.monotonic()
        return time.monotonic() - self._hopeless_since > HOPELESS_SECONDS

    def _is_due(self, duty: str, seconds: float) -> bool:
        now = time.monotonic()
        if now - self._due[duty] < seconds:
            return False
        self._due[duty] = now
        return True
