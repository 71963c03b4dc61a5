"""Redis commands of all calls over one connection, each sent at once and answered in order.

redis-py opens the connection (address, TLS, password, database) and opens it anew; then its transport is ours. A
command through its own reader takes three times the processor time and twice as long for a lone caller (locks, tasks,
timers, the stream's buffers), and the hot path is made of such commands. Packing and parsing are hiredis', in C.
"""

import asyncio
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import hiredis
import redis

if TYPE_CHECKING:
    from redis.asyncio import Redis

Command = Sequence[Any]
GRACE_SECONDS = 0.1
_PARTIAL = object()


class SharedCommands:
    """Owned by one event loop. Other commands than those of the hot path go to the client as ever."""

    def __init__(self, client: "Redis") -> None:
        self._client = client
        self._line: _Line | None = None
        self._opening: asyncio.Task[_Line] | None = None

    async def run(self, *commands: Command) -> list[Any]:
        """Answers in order. Raises the first error among them, `redis.ConnectionError` or `redis.TimeoutError`."""
        line = self._line
        if line is None or line.lost is not None:
            if self._opening is None:
                self._opening = asyncio.get_running_loop().create_task(self._open())
                self._opening.add_done_callback(self._note_opened)
            # All who wait share one attempt and its failure: one after the other, each would make its own.
            line = await asyncio.shield(self._opening)
        return await line.ask(commands)

    async def evalsha(self, digest: str, number_of_keys: int, *keys_and_args: Any) -> Any:
        """As the client's own. Raises `redis.exceptions.NoScriptError`."""
        return (await self.run(("EVALSHA", digest, number_of_keys, *keys_and_args)))[0]

    async def script_load(self, text: str) -> Any:
        """As the client's own."""
        return (await self.run(("SCRIPT", "LOAD", text)))[0]

    def pipeline(self, transaction: bool = True) -> Any:
        """The client's own."""
        return self._client.pipeline(transaction=transaction)

    async def _open(self) -> "_Line":
        pool: Any = self._client.connection_pool
        lost, self._line = self._line, None
        if lost is not None:
            await lost.connection.disconnect(nowait=True)
            await pool.release(lost.connection)
        # In use for as long as it lives, so that closing the client closes it.
        return _Line(await pool.get_connection())

    def _note_opened(self, opening: "asyncio.Task[_Line]") -> None:
        self._opening = None
        if not opening.cancelled() and opening.exception() is None:
            self._line = opening.result()


@dataclass(slots=True)
class _Asked:
    """Commands that were sent together, and what has come back."""

    count: int
    answers: "asyncio.Future[list[Any]]"
    values: list[Any] = field(default_factory=list)


class _Line(asyncio.Protocol):
    """An open connection of redis-py whose transport it took over. `lost` says why nothing more comes from it."""

    def __init__(self, connection: Any) -> None:
        self.connection = connection
        self.lost: redis.RedisError | None = None
        self._loop = asyncio.get_running_loop()
        self._patience: float = connection.socket_timeout or 5.0
        self._asked: deque[_Asked] = deque()
        self._heard = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._reader = hiredis.Reader(
            protocolError=redis.InvalidResponse,
            replyError=connection._parser.parse_error,
            notEnoughData=_PARTIAL,
        )
        self._transport: Any = connection._writer.transport
        self._before: asyncio.BaseProtocol = self._transport.get_protocol()
        self._transport.set_protocol(self)

    def ask(self, commands: Sequence[Command]) -> "asyncio.Future[list[Any]]":
        """Send them; their answers in order."""
        packed = b"".join([hiredis.pack_command(tuple(command)) for command in commands])
        asked = _Asked(len(commands), self._loop.create_future())
        if not self._asked:
            self._heard = self._loop.time()
        self._asked.append(asked)
        self._transport.write(packed)
        if self._timer is None:
            self._timer = self._loop.call_at(self._heard + self._patience, self._look)
        return asked.answers

    def data_received(self, data: bytes) -> None:
        self._heard = self._loop.time()
        self._reader.feed(data)
        try:
            while (value := self._reader.gets()) is not _PARTIAL:
                if not isinstance(value, hiredis.PushNotification):
                    self._take(value)
        except redis.InvalidResponse as error:
            self._give_up(error)

    def connection_lost(self, error: Exception | None) -> None:
        self._give_up(redis.ConnectionError(str(error or "Redis closed the connection.")))
        if self._timer is not None:
            self._timer.cancel()
        # redis-py waits for this where it closes the connection.
        self._before.connection_lost(error)

    def _take(self, value: Any) -> None:
        asked = self._asked[0]
        asked.values.append(value)
        if len(asked.values) < asked.count:
            return
        self._asked.popleft()
        if asked.answers.done():
            return
        failure = next((each for each in asked.values if isinstance(each, Exception)), None)
        if failure is None:
            asked.answers.set_result(asked.values)
        else:
            asked.answers.set_exception(failure)

    def _look(self, *, again: bool = False) -> None:
        """Whether Redis has said nothing for too long, however long the line of what it is asked may be."""
        self._timer = None
        if not self._asked:
            return
        due = self._heard + self._patience
        if self._loop.time() < due:
            self._timer = self._loop.call_at(due, self._look)
        elif again:
            self._give_up(redis.TimeoutError("Redis did not answer in time."))
        else:
            # It may be we who did not listen: what has arrived is read before this is asked again.
            self._timer = self._loop.call_later(GRACE_SECONDS, partial(self._look, again=True))

    def _give_up(self, error: redis.RedisError) -> None:
        if self.lost is not None:
            return
        self.lost = error
        # Answers may still be on the way: nobody else may read them as theirs.
        self._transport.abort()
        while self._asked:
            answers = self._asked.popleft().answers
            if not answers.done():
                # Each has one of its own: raising adds to an error's traceback.
                answers.set_exception(type(error)(*error.args))
