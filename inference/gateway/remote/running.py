"""A relayed call from its dispatch to its end: one task, which alone decides how the call is recorded.

So there is exactly one terminal event: whatever happens meanwhile (the client leaves, the hold is lost, the
process stops) only makes this task come to its end sooner.
"""

import asyncio
import logging
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import redis
from django.db import InterfaceError, OperationalError

from billing.credit import settled, settlement
from inference.gateway.call import Call, Ending
from inference.gateway.errors import CallError, RunFailed, ServiceUnavailable
from inference.gateway.remote import answers
from inference.gateway.remote.asking import RemoteWork
from inference.gateway.remote.counting import Count, Counted
from inference.gateway.remote.refusing import explain
from inference.remote.exchange import Exchange
from inference.remote.faults import UpstreamFault, of_status
from inference.remote.room import Room
from inference.remote.upstream import Upstream
from portal.kit.redis import is_passing

if TYPE_CHECKING:
    from inference.gateway.commands import SharedCommands

log = logging.getLogger(__name__)

FIRST_BYTE_SECONDS, BETWEEN_SECONDS, WHOLE_SECONDS = 120.0, 60.0, 900.0
# Unread answer at which the server has to wait for the client.
BACKLOG_BYTES = 256 * 1024
# An answer has ended, and what it used is still to come.
USAGE_SECONDS = 5.0
WORKER = "remote"
# How long a settlement is tried again where Redis is away: as long as the hold lives.
SETTLE_SECONDS, RETRY_SECONDS = 10.0, 0.2


class Run:
    """The call's own task. `stop` may be called by anyone at any time."""

    def __init__(
        self,
        call: Call,
        work: RemoteWork,
        upstream: Upstream,
        *,
        commands: "SharedCommands",
        reader: str,
        room: Room,
    ) -> None:
        self._call = call
        self._work = work
        self._upstream = upstream
        self._commands = commands
        self._reader = reader
        self._count = Count()
        self._first_ms: int | None = None
        self._stopped: CallError | None = None
        self._left = False
        self._exchange = _new_exchange(work, room)

    def leave(self) -> None:
        """The client has gone: hang up on the server at once. What was generated is charged."""
        self._left = True
        self._hang_up()

    def stop(self, failure: CallError) -> None:
        """Give the call up, free of charge."""
        self._stopped = self._stopped or failure
        self._hang_up()

    async def go(self) -> None:
        """Carry the call to its end. Raises nothing."""
        fault: UpstreamFault | None = None
        finish_reason, output = "", None
        try:
            finish_reason, output = await self._relay()
        except UpstreamFault as caught:
            fault = caught
        except Exception:
            log.exception("a relayed call broke")
            fault = UpstreamFault("broken", "The answer could not be read.")
        finally:
            self._upstream.release(self._exchange)
            self._upstream.leave(self._call.facts.organisation_id.hex)
        await self._end(fault, finish_reason=finish_reason, output=output)

    async def _relay(self) -> tuple[str, Any]:
        work, exchange = self._work, self._exchange
        await self._upstream.ask(work.path, work.body, exchange)
        first = await exchange.read()
        if exchange.status != 200:
            raise of_status(exchange.status, retry_after=exchange.retry_after)
        self._first_ms = round(self._call.age * 1000)
        if work.streamed:
            return await self._relay_stream(first), None
        if work.kind == "embeddings":
            vectors = answers.read_embeddings(first, self._count, work)
            return "stop", {"embeddings": vectors}
        return answers.read_whole(first, self._call, self._count, work), None

    async def _relay_stream(self, data: bytes) -> str:
        call, exchange = self._call, self._exchange
        stream = answers.Stream(call, self._count, self._work)
        while data:
            stream.feed(data)
            if stream.is_done and not exchange.is_over:
                # Some servers keep the answer open behind its last event, and some never end it.
                break
            if stream.is_whole:
                exchange.end_within(USAGE_SECONDS)
            while call.backlog > BACKLOG_BYTES and not exchange.is_over:
                await call.wait_fetched()
                exchange.wait_on()
            try:
                data = await exchange.read()
            except UpstreamFault:
                if stream.is_whole and not (self._left or self._stopped):
                    break
                raise
        if not stream.is_whole:
            raise UpstreamFault("broken", "The server ended its answer without a finish reason.")
        return stream.finish_reason

    def _hang_up(self) -> None:
        self._exchange.fail(UpstreamFault("broken", "We hung up."))
        self._exchange.let_go()
        self._call.note_fetched()

    async def _end(self, fault: UpstreamFault | None, *, finish_reason: str, output: Any) -> None:
        if self._stopped is not None:
            await self._fail(self._stopped, "interrupted")
        elif fault is None:
            self._upstream.note(None)
            await self._succeed(finish_reason, output)
        elif self._left:
            await self._cancel()
        else:
            self._upstream.note(fault)
            await self._fail(explain(fault), f"upstream {fault.kind}")

    async def _succeed(self, finish_reason: str, output: Any) -> None:
        counted = self._count.settle(self._work.bounds)
        settled = await self._settle("succeeded", counted.quantities, finish_reason, counted=counted)
        if settled is None:
            return
        charge, outcome = settled
        if outcome == b"gone":
            self._call.fail(RunFailed(reason="The call was given up before its answer came."))
            return
        self._call.end(
            Ending(
                outcome="succeeded", finish_reason=finish_reason, charge=charge, output=output,
                quantities={"requests": 1, **counted.quantities}, reasoning_tokens=counted.reasoning,
            )
        )  # fmt: skip

    async def _cancel(self) -> None:
        has_begun = self._count.pieces or self._count.reported
        counted = self._count.settle(self._work.bounds) if has_begun else None
        quantities = counted.quantities if counted else {}
        await self._settle("cancelled", quantities, "cancelled", counted=counted)
        self._call.fail(self._call.revocation or ServiceUnavailable(reason="The call was cancelled."))

    async def _fail(self, failure: CallError, reason: str) -> None:
        if await self._settle("failed", {}, reason) is not None:
            self._call.fail(failure)

    async def _settle(
        self,
        outcome: settlement.FinishedAs,
        quantities: Mapping[str, int],
        reason: str,
        *,
        counted: Counted | None = None,
    ) -> tuple[int, bytes] | None:
        """Charge and outcome as recorded; None if Redis stayed away, and the call has failed for that."""
        facts = settlement.FinishFacts(
            ttft_ms=self._first_ms, latency_ms=round(self._call.age * 1000), worker=WORKER, finish_reason=reason,
        )  # fmt: skip
        if counted is not None:
            _note_report(facts, counted)
        until, is_sure = time.monotonic() + SETTLE_SECONDS, True
        while True:
            try:
                charge, recorded = await settlement.finish(
                    self._commands, request_id=self._call.id, outcome=outcome, quantities=quantities, reply=None,
                    final=b"", facts_extra=facts, reader=self._reader,
                )  # fmt: skip
                if recorded == b"gone" and not is_sure:
                    charge, recorded = await self._look_up()
            except (redis.RedisError, InterfaceError, OperationalError) as error:
                if (
                    isinstance(error, redis.RedisError) and not is_passing(error)
                ) or time.monotonic() > until:
                    log.warning("a relayed call could not be recorded: %s", error)
                    self._call.unrecorded = True
                    self._call.fail(RunFailed(reason="The end of the call could not be recorded."))
                    return None
                # It may have been carried out all the same, and its answer lost.
                is_sure = False
                await asyncio.sleep(RETRY_SECONDS)
            else:
                self._call.unrecorded = recorded == b"gone"
                return int(charge), bytes(recorded)

    async def _look_up(self) -> tuple[int, bytes]:
        found = await settled.find(self._commands.run, self._call.id)
        return (0, b"gone") if found is None or found[1] == b"failed" else found


def _note_report(facts: settlement.FinishFacts, counted: Counted) -> None:
    if counted.is_estimated:
        facts["estimated"] = True
    if counted.report is not None:
        facts["report"] = counted.report


def _new_exchange(work: RemoteWork, room: Room) -> Exchange:
    # A whole answer's first byte may take as long as all of it.
    first = FIRST_BYTE_SECONDS if work.streamed else WHOLE_SECONDS
    return Exchange(
        whole=not work.streamed, first=first, between=BETWEEN_SECONDS, in_all=WHOLE_SECONDS,
        most_bytes=work.most_bytes, room=room,
    )  # fmt: skip
