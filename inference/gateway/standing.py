"""The right to a call while it runs: what is revoked stops what is in flight too.

Every look compares the epochs that a call was admitted with; only where one has moved is Postgres asked. Most
moves take nothing away, such as a new version or a raised cap, and a call on a plan that its organisation has
changed since goes on under the terms that it was admitted with.
"""

import logging
from collections.abc import Iterable
from functools import partial
from typing import TYPE_CHECKING, Any

from django.db import InterfaceError, OperationalError

from inference.gateway import ending, lookup
from inference.gateway.call import Call
from inference.gateway.errors import CallStopped

if TYPE_CHECKING:
    from inference.gateway.process import GatewayProcess

log = logging.getLogger(__name__)


async def stop_revoked(process: "GatewayProcess", calls: Iterable[Call]) -> None:
    """End the calls whose key, subscription, listing or organisation is good no more. What they had generated
    is charged. While Postgres is away they go on, and are looked at again.
    """
    for call in await _find_moved(process, calls):
        now = call.seen_epochs
        try:
            reason = await process.identifier.in_thread(partial(lookup.find_loss, call.caller, call.facts))
        except (OperationalError, InterfaceError) as error:
            log.warning("the right to a call could not be checked: %s", " ".join(str(error).split()))
            return
        call.epochs = now
        if reason is not None:
            await ending.revoke(process, call, CallStopped(reason=reason))


async def _find_moved(process: "GatewayProcess", calls: Iterable[Call]) -> list[Call]:
    running = [call for call in calls if not call.is_over and call.revocation is None]
    names = sorted({name for call in running for name, _ in call.epochs})
    if not names:
        return []
    values: list[Any] = await process.redis.mget(names)
    present = {name: int(value or 0) for name, value in zip(names, values, strict=True)}
    moved = []
    for call in running:
        call.seen_epochs = tuple((name, present[name]) for name, _ in call.epochs)
        if call.seen_epochs != call.epochs:
            moved.append(call)
    return moved
