"""Ends of calls that no worker reports: a dead worker, a call that never began, a client that left."""

from typing import TYPE_CHECKING, Literal
from uuid import UUID

import redis

from billing.credit import settlement
from billing.reasons import Reason
from inference.gateway import control
from inference.gateway.call import Call
from inference.gateway.errors import CallError, ServiceUnavailable
from inference.protocol import Final, pack, payload_key

if TYPE_CHECKING:
    from inference.gateway.process import GatewayProcess

# How many looks a final that must be in the stream already may take to be read.
LOOKS_ALLOWED = 8


async def give_up(process: "GatewayProcess", call: Call, failure: CallError, *, why: Reason) -> None:
    """End a call that failed on our side: nothing is charged, its hold and slot are released.

    Whoever finishes first counts. If that was the worker, its final is in the reply stream already, and
    the call ends with that instead.
    """
    if await _finish(process, call, outcome="failed", why=why):
        process.relay.calls.pop(call.hex, None)
        call.fail(failure)
    elif not call.is_over:
        # The hold is gone and no final has come: the platform gave the call up, and that costs nothing.
        call.overdue += 1
        if call.overdue > LOOKS_ALLOWED:
            process.relay.calls.pop(call.hex, None)
            process.losses.note(call)
            call.fail(failure)


async def stop(process: "GatewayProcess", call: Call, failure: CallError, *, why: Reason) -> None:
    """Give up a call that runs, and its run too. In this order: a run stopped first would be charged."""
    await give_up(process, call, failure, why=why)
    if call.is_over and call.worker is not None:
        await control.ask_to_stop(process.redis, call.hex, worker=call.worker)


async def turn_away(process: "GatewayProcess", call: Call) -> None:
    """Give back what a call holds for which there was no place, and of which nobody has heard. Waited for: under
    a flood what is only begun piles up.
    """
    process.relay.calls.pop(call.hex, None)
    await _end(process, call, outcome="failed", reason="refused", why=Reason.QUEUE_FULL)


def refuse(process: "GatewayProcess", call: Call) -> None:
    """Give back what a call holds that was admitted and cannot be seen through, whatever has come of it."""
    process.relay.calls.pop(call.hex, None)
    process.spawn(_release(process, call))


async def _release(process: "GatewayProcess", call: Call) -> None:
    is_unbegun = await process.dispatcher.withdraw(call)
    # In the words of the record it says nothing of the version: that was never asked.
    await _end(process, call, outcome="failed", reason="refused", why=Reason.INTERRUPTED)
    if not is_unbegun:
        # Which worker has begun it is not known, and the others ignore this.
        for worker in process.roster.ids():
            await control.ask_to_stop(process.redis, call.hex, worker=worker)


async def abandon(process: "GatewayProcess", call: Call) -> None:
    """The client has gone: stop the run. What was generated until then is metered when the final comes."""
    if call.is_over:
        return
    if call.run is not None:
        call.run.leave()
        return
    if call.worker is None and await process.dispatcher.withdraw(call):
        await _end(process, call, outcome="cancelled")
        process.relay.calls.pop(call.hex, None)
        call.fail(ServiceUnavailable(reason="The call was cancelled before it began."))
        return
    await process.relay.cancel(call)


async def revoke(process: "GatewayProcess", call: Call, why: CallError) -> None:
    """The right to the call has ended: stop it, and tell its caller."""
    call.revocation = why
    if call.run is not None:
        call.run.leave()
        return
    if call.worker is None and await process.dispatcher.withdraw(call):
        await _end(process, call, outcome="cancelled", reason="revoked")
        process.relay.calls.pop(call.hex, None)
        call.fail(why)
        return
    await process.relay.cancel(call)


async def cancel_elsewhere(process: "GatewayProcess", request: str, *, reply: str) -> None:
    """Stop a call that another web process waits for: before it has begun by ending it, after that by asking
    every worker, of which all but one ignore it.
    """
    if await process.redis.delete(payload_key(request)):
        final = pack(Final(finish_reason="cancelled"))
        await settlement.finish(
            process.redis, request_id=UUID(hex=request), outcome="cancelled", quantities={}, reply=reply, final=final,
            facts_extra={"finish_reason": "cancelled"},
        )  # fmt: skip
        return
    for worker in process.roster.ids():
        await control.ask_to_stop(process.redis, request, worker=worker)


async def _end(
    process: "GatewayProcess", call: Call, *, outcome: Literal["failed", "cancelled"], reason: str = "", why: str = "",
) -> None:  # fmt: skip
    """End a call for good: of one that Redis has forgotten, the record is made from what we know."""
    try:
        is_recorded = await _finish(process, call, outcome=outcome, reason=reason, why=why)
    except redis.RedisError:
        process.losses.note(call)
        raise
    if not is_recorded:
        process.losses.note(call)


async def _finish(
    process: "GatewayProcess", call: Call, *, outcome: Literal["failed", "cancelled"], reason: str = "", why: str = "",
) -> bool:  # fmt: skip
    """Whether it was this that ended the call. The record's finish reason is `reason`, else the outcome."""
    answer = await settlement.finish(
        process.commands, request_id=call.id, outcome=outcome, quantities={}, reply=None, final=b"",
        facts_extra={
            "ttft_ms": None, "latency_ms": round(call.age * 1000), "worker": call.worker or "",
            "finish_reason": reason or outcome, "reason": why,
        },
    )  # fmt: skip
    return bytes(answer[1]) != b"gone"
