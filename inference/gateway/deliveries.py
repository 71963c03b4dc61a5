"""Which calls' ends this web process has handed on: told to Redis in passing, many at a time.

A call counts as delivered when its end has been written to the client's connection, lies where a retry or a later
question finds it, or when its client has left by itself. What is not confirmed when the process dies costs nothing.
"""

import asyncio
import logging
from typing import TYPE_CHECKING

import redis
from starlette.types import Scope

from billing.credit import delivery

if TYPE_CHECKING:
    from inference.gateway.call import Call
    from inference.gateway.commands import SharedCommands

log = logging.getLogger(__name__)

# Confirmations wait so long for others to go with; after a failure, for Redis to be back.
TOGETHER_SECONDS, AGAIN_SECONDS = 0.02, 1.0
# In the scope of a request whose answer is not delivered before it is kept: the calls that it came from.
KEPT_FIRST = "mercato.kept_first"


class Deliveries:
    """Owned by one event loop; `reader` is the stream of finals that the process reads."""

    def __init__(self, commands: "SharedCommands", *, reader: str) -> None:
        self.reader = reader
        self._commands = commands
        self._delivered: list[str] = []
        self._sending: asyncio.Task[None] | None = None

    def note(self, call: "Call") -> None:
        """The end of a call has reached whom it was for, or nobody wants it."""
        self._delivered.append(call.hex)
        if self._sending is None:
            self._sending = asyncio.get_running_loop().create_task(self._send_on())

    def note_answered(self, call: "Call", scope: Scope) -> None:
        """The same, of a request that was answered with it; the answer may have to be kept first."""
        waiting = scope.get(KEPT_FIRST)
        if waiting is None:
            self.note(call)
        else:
            waiting.append(call)

    async def close(self) -> None:
        """Confirm what is left."""
        if self._sending is not None:
            self._sending.cancel()
            await asyncio.gather(self._sending, return_exceptions=True)
        try:
            await self._send()
        except redis.RedisError as error:
            log.warning("%d delivered calls could not be confirmed: %s", len(self._delivered), error)

    async def _send_on(self) -> None:
        seconds = TOGETHER_SECONDS
        try:
            while self._delivered:
                await asyncio.sleep(seconds)
                try:
                    await self._send()
                    seconds = TOGETHER_SECONDS
                except redis.RedisError as error:
                    log.warning("delivered calls wait to be confirmed: %s", error)
                    seconds = AGAIN_SECONDS
        finally:
            self._sending = None

    async def _send(self) -> None:
        if self._delivered:
            confirmed = [*self._delivered]
            await self._commands.run(delivery.confirmation(self.reader, confirmed))
            del self._delivered[: len(confirmed)]
