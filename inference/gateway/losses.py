"""Calls of which this web process knows and Redis no more: their events are written as soon as Redis takes writes."""

import asyncio
import logging
import time
from typing import TYPE_CHECKING, Any
from uuid import UUID

import redis
from django.db import InterfaceError, OperationalError

from billing.credit import forgotten
from billing.credit.forgotten import Forgotten
from portal.kit.redis import is_passing

if TYPE_CHECKING:
    from inference.gateway.call import Call
    from inference.gateway.commands import SharedCommands

log = logging.getLogger(__name__)

# One whose hold is there after all is looked at again so much later: by then it has ended, or the reaper ends it.
AGAIN_SECONDS = 5.0
LOOK_SECONDS = 0.25
AT_ONCE = 500


class Losses:
    """Owned by one event loop."""

    def __init__(self, commands: "SharedCommands") -> None:
        self._commands: Any = commands
        self._due: dict[UUID, tuple[float, Forgotten]] = {}

    def note(self, call: "Call") -> None:
        """The call is over here, and Redis says that it never knew it."""
        lost = Forgotten(id=call.id, facts=call.facts, endpoint=call.endpoint, streamed=call.streamed)
        self._due.setdefault(call.id, (0.0, lost))

    async def keep_recording(self) -> None:
        """Until cancelled. Apart from what keeps calls alive: Postgres may take its time to answer."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            try:
                await self.record()
            except Exception as error:
                if is_passing(error):
                    log.warning("calls that Redis has lost wait for it: %s", error)
                else:
                    log.exception("calls that Redis has lost could not be recorded")

    async def record(self) -> None:
        """End those that have no event. Raises a passing `redis.RedisError`; they are tried again then."""
        now = time.monotonic()
        due = [lost for at, lost in self._due.values() if at <= now][:AT_ONCE]
        if not due:
            return
        try:
            alive = await forgotten.record(self._commands, self._commands.run, due)
        except (OperationalError, InterfaceError) as error:
            log.warning("calls that Redis has lost wait for Postgres: %s", " ".join(str(error).split()))
            return
        for lost in due:
            if lost.id in alive:
                self._due[lost.id] = (now + AGAIN_SECONDS, lost)
            else:
                self._due.pop(lost.id, None)

    async def close(self) -> None:
        """Try once more, whatever comes of it."""
        try:
            async with asyncio.timeout(AGAIN_SECONDS):
                await self.record()
        except (redis.RedisError, TimeoutError) as error:
            log.error("%d calls have ended without a record: %s", len(self._due), error)
