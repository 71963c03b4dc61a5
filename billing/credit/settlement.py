"""Settlement: one Redis script charges a call, releases its hold, records it and sends its final.

So the caller has the final if and only if the usage is recorded. What happens twice counts once: the second
time the hold is gone.
"""

from collections.abc import Mapping
from typing import Any, Literal, TypedDict
from uuid import UUID

import msgpack
import redis

from billing.credit import keys, scripting

FinishedAs = Literal["succeeded", "cancelled", "failed"]


class FinishFacts(TypedDict, total=False):
    """What only the end of a call tells. Times in milliseconds from admission. `estimated` quantities were counted by
    us, because a provider's server did not report them. `report` is what it did where that needs a look, as
    `UsageEvent` has it. `reason` is a `billing.reasons.Reason`.
    """

    ttft_ms: int | None
    latency_ms: int | None
    worker: str
    finish_reason: str
    estimated: bool
    reason: str
    report: Mapping[str, Any]


def finish(
    client: Any,
    *,
    request_id: UUID,
    outcome: FinishedAs,
    quantities: Mapping[str, int],
    reply: str | None,
    final: bytes,
    facts_extra: FinishFacts,
    reader: str | None = None,
) -> Any:
    """End a call. `quantities` are units per meter; one request is added. `final` goes to the stream `reply`, whose
    reader delivers it, or `reader` does (`billing.credit.delivery`).

    Answers `[charge in micro-minor units, outcome]`; the outcome is b"gone" if there was no hold left or its
    lease was lost, and then nothing is charged. A failed call, and one that put out no token although it
    could have, costs nothing. With an asyncio client the answer is awaitable. With a pipeline the command
    is queued: `scripting.load` once beforehand, and upon `NoScriptError` load and send it again.
    """
    arguments = _arguments(
        request_id, outcome, quantities, facts_extra, reply=reply, final=final, lapsed_by="", reader=reader
    )
    return scripting.send(client, "settlement", *arguments)


def lapse(client: "redis.Redis", request_id: UUID, *, by_ms: int) -> bool:
    """End a call as interrupted if nobody renewed its hold until `by_ms`. False if it lives."""
    extra = FinishFacts(finish_reason="interrupted")
    arguments = _arguments(request_id, "failed", {}, extra, reply=None, final=b"", lapsed_by=str(by_ms))
    return bool(scripting.run(client, "settlement", *arguments)[1] != b"live")


def attach_control(client: Any, *, request_id: UUID, stream: str) -> Any:
    """Note the control stream of the worker that runs a call: the reaper cancels there. Any client or pipeline."""
    return scripting.send(client, "attaching", [keys.hold(request_id)], [stream])


def _arguments(
    request_id: UUID,
    outcome: FinishedAs,
    quantities: Mapping[str, int],
    extra: FinishFacts,
    *,
    reply: str | None,
    final: bytes,
    lapsed_by: str,
    reader: str | None = None,
) -> tuple[list[str], list[Any]]:
    # Who left before anything was done has used nothing, not even a request.
    counted = {"requests": 1, **quantities} if quantities or outcome == "succeeded" else {}
    args: list[Any] = [
        request_id.hex,
        outcome,
        lapsed_by,
        reply or "",
        final,
        msgpack.packb(counted),
        msgpack.packb(dict(extra)),
        reader or reply or "",
    ]
    for meter, units in counted.items():
        args += [meter, units]
    script_keys = [
        keys.hold(request_id), keys.HOLDS, keys.USAGE_STREAM, keys.READERS,
        keys.undelivered(reader or reply or ""),
    ]  # fmt: skip
    return script_keys, args
