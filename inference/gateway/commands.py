"""Redis commands of all calls over one connection: what is asked while an answer is awaited leaves together.

A pooled command costs redis-py three times as much in Python as the command itself (packing, pool, retry,
wrappers), and under load the hot path is made of such commands. Packing is hiredis', in C.
"""

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import hiredis
import redis

if TYPE_CHECKING:
    from redis.asyncio import Redis

Command = Sequence[Any]
BATCH_LIMIT = 512


class SharedCommands:
    """Owned by one event loop. Other commands than those of the hot path go to the client as ever."""

    def __init__(self, client: "Redis") -> None:
        self._client = client
        self._waiting: list[tuple[Sequence[Command], asyncio.Future[list[Any]]]] = []
        self._sender: asyncio.Task[None] | None = None

    async def run(self, *commands: Command) -> list[Any]:
        """Answers in order. Raises the first error among them, or `redis.ConnectionError`."""
        answers: asyncio.Future[list[Any]] = asyncio.get_running_loop().create_future()
        self._waiting.append((commands, answers))
        if self._sender is None:
            self._sender = asyncio.get_running_loop().create_task(self._send())
        return await answers

    async def evalsha(self, digest: str, number_of_keys: int, *keys_and_args: Any) -> Any:
        """As the client's own. Raises `redis.exceptions.NoScriptError`."""
        return (await self.run(("EVALSHA", digest, number_of_keys, *keys_and_args)))[0]

    async def script_load(self, text: str) -> Any:
        """As the client's own."""
        return (await self.run(("SCRIPT", "LOAD", text)))[0]

    def pipeline(self, transaction: bool = True) -> Any:
        """The client's own."""
        return self._client.pipeline(transaction=transaction)

    async def _send(self) -> None:
        try:
            while self._waiting:
                batch, self._waiting = self._waiting[:BATCH_LIMIT], self._waiting[BATCH_LIMIT:]
                try:
                    await self._exchange(batch)
                except OSError as error:
                    _fail(batch, redis.ConnectionError(str(error)))
                except Exception as error:
                    # Whatever it is, it is for those who asked.
                    _fail(batch, error)
        finally:
            self._sender = None

    async def _exchange(self, batch: list[tuple[Sequence[Command], "asyncio.Future[list[Any]]"]]) -> None:
        pool: Any = self._client.connection_pool
        connection = await pool.get_connection()
        try:
            packed = [hiredis.pack_command(tuple(command)) for commands, _ in batch for command in commands]
            await connection.send_packed_command(packed, check_health=False)
            for commands, answers in batch:
                _settle(answers, [await _read(connection) for _ in commands])
        except BaseException:
            # Answers may still be on the way: nobody else may read them as theirs.
            await connection.disconnect(nowait=True)
            raise
        finally:
            await pool.release(connection)


async def _read(connection: Any) -> Any:
    try:
        return await connection.read_response()
    except redis.ResponseError as error:
        return error


def _settle(answers: "asyncio.Future[list[Any]]", values: list[Any]) -> None:
    if answers.done():
        return
    error = next((value for value in values if isinstance(value, Exception)), None)
    if error is None:
        answers.set_result(values)
    else:
        answers.set_exception(error)


def _fail(batch: list[tuple[Sequence[Command], "asyncio.Future[list[Any]]"]], error: Exception) -> None:
    for _, answers in batch:
        if not answers.done():
            answers.set_exception(error)
