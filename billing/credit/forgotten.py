"""Calls that were admitted and that Redis has forgotten: emptied, restarted without its file, or set back.

Nothing in Redis can end them, for their holds are gone; who waits for them knows what their events must say. Whether
one has ended after all is looked up first, and should that be wrong, their ids keep them from being recorded twice.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import msgpack

from billing.credit import admission, keys, scripting, settled
from billing.credit.facts import CallFacts
from billing.credit.settlement import FinishFacts
from billing.reasons import Reason

_EXTRA = FinishFacts(finish_reason="interrupted", reason=Reason.INTERRUPTED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Forgotten:
    """An admitted call, as far as its event tells of it."""

    id: UUID
    facts: CallFacts
    endpoint: str
    streamed: bool


async def record(client: Any, run: settled.Run, calls: Sequence[Forgotten]) -> Collection[UUID]:
    """End those that have not ended. Answers those that live after all, to be looked at again.

    `run` executes one Redis command, `client` the scripts. Raises `redis.RedisError` and Django's database errors.
    """
    ended = await settled.find_all(run, [call.id for call in calls])
    missing = [call for call in calls if call.id not in ended]
    if not missing:
        return ()
    script_keys = [keys.USAGE_STREAM, *(keys.hold(call.id) for call in missing)]
    args: list[Any] = [msgpack.packb(_EXTRA), msgpack.packb({})]
    for call in missing:
        args += [call.id.hex, admission.pack(call.facts, call.endpoint, call.streamed)]
    alive = await scripting.run_async(client, "forgetting", script_keys, args)
    return {UUID(hex=request.decode()) for request in alive}
