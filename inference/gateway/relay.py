"""The way back: one reader per web process over its own reply stream, fanned out to the calls."""

import asyncio
import logging
from typing import TYPE_CHECKING, Any

import redis

from billing.credit import delivery
from inference import protocol
from inference.gateway import control
from inference.gateway.call import BACKLOG_BYTES, Call, Ending
from inference.gateway.deliveries import Deliveries
from inference.gateway.errors import Interrupted, RunFailed, RunRefused
from inference.gateway.losses import Losses
from portal.kit import redis as redis_kit

if TYPE_CHECKING:
    from redis.asyncio import Redis

log = logging.getLogger(__name__)

READ_COUNT = 1_000
BLOCK_MS = 1_000
RETRY_SECONDS = 0.2
# The stream outlives its reader by little: a dead web process leaves nothing behind.
STREAM_SECONDS = 120


class Relay:
    """Calls in flight by request id. A call stays here until its end has come or is known never to come,
    whether or not its client still listens: accounting outlives the connection.
    """

    def __init__(self, client: "Redis", *, stream: str, losses: Losses, deliveries: Deliveries) -> None:
        self.stream = stream
        self.calls: dict[str, Call] = {}
        self._client = client
        # A blocking read holds its connection, so the reader has a client of its own.
        self._reading_client = redis_kit.new_async_client()
        self._position = "0-0"
        self._losses = losses
        self._deliveries = deliveries

    async def open(self) -> None:
        """Make the stream before anybody writes to it, so that it always carries an expiry."""
        await delivery.renew(self._client, self.stream)
        pipeline = self._client.pipeline(transaction=False)
        pipeline.xadd(self.stream, {"b": protocol.pack([])})
        pipeline.expire(self.stream, STREAM_SECONDS)
        await pipeline.execute()

    async def close(self) -> None:
        await self._reading_client.aclose()
        await self._client.delete(self.stream)

    async def read(self) -> None:
        """Read until cancelled; a lost connection is tried again, from where it was lost."""
        while True:
            try:
                await self._read_once()
            except (redis.ConnectionError, redis.TimeoutError) as error:
                log.warning("the reply stream cannot be read: %s", error)
                await asyncio.sleep(RETRY_SECONDS)
            except Exception:
                # The position has moved past the entry: one that cannot be read must not stop the others.
                log.exception("an entry of the reply stream was skipped")

    async def tidy(self) -> None:
        """Drop what has been read, and let the stream live on for a while. All of it: else the last answers would
        stay for as long as nobody calls.
        """
        await delivery.renew(self._client, self.stream)
        pipeline = self._client.pipeline(transaction=False)
        pipeline.xtrim(self.stream, minid=_after(self._position), approximate=False)
        pipeline.expire(self.stream, STREAM_SECONDS)
        await pipeline.execute()

    async def cancel(self, call: Call) -> None:
        """Ask the call's worker to stop; without a worker yet, it is asked as soon as there is one."""
        call.cancelled = True
        if call.worker is not None and not call.is_over:
            await control.ask_to_stop(self._client, call.hex, worker=call.worker)
            call.stop_asked = True

    async def _read_once(self) -> None:
        answer: Any = await self._reading_client.xread(
            {self.stream: self._position}, count=READ_COUNT, block=BLOCK_MS
        )
        if not answer:
            return
        # RESP3 answers with a dictionary of lists of lists, RESP2 with a list of pairs.
        batches = answer.values() if isinstance(answer, dict) else (entries for _, entries in answer)
        for batch in batches:
            entries = batch[0] if batch and isinstance(batch[0], list) else batch
            for position, fields in entries:
                self._position = position.decode()
                await self._deliver(fields)

    async def _deliver(self, fields: dict[bytes, bytes]) -> None:
        if b"b" in fields:
            for request, kind, data in protocol.unpack(fields[b"b"]):
                call = self.calls.get(request)
                if call is not None:
                    await self._note(call, kind, data)
        elif b"f" in fields:
            call = self.calls.pop(fields[b"f"].decode(), None)
            if call is not None:
                if fields[b"o"] == b"gone":
                    # Whoever ended it has recorded it, unless Redis has lost its memory.
                    self._losses.note(call)
                end(call, fields)
                if call.gone:
                    self._deliveries.note(call)

    async def _note(self, call: Call, kind: int, data: Any) -> None:
        if kind == protocol.STARTED:
            call.worker = data
            if call.cancelled:
                await self.cancel(call)
            return
        if data["i"] < call.chunks_seen:
            return
        call.chunks_seen = data["i"] + 1
        call.add(data.get("text", ""), data.get("logprobs"))
        if call.backlog > BACKLOG_BYTES and not call.cancelled:
            await self.cancel(call)


def _after(position: str) -> str:
    """The first id behind a stream's position."""
    milliseconds, _, number = position.partition("-")
    return f"{milliseconds}-{int(number) + 1}"


def end(call: Call, fields: dict[bytes, bytes]) -> None:
    """Complete a call with the final that the finish script wrote."""
    outcome = fields[b"o"].decode()
    if outcome == "gone":
        call.fail(Interrupted(reason="The call was given up before its answer came.", retry_after=1))
        return
    if outcome == "cancelled" and call.revocation is not None:
        call.fail(call.revocation)
        return
    final = protocol.unpack(fields[b"p"]) if fields.get(b"p") else {}
    if outcome == "failed":
        failure = RunRefused if final.get("refused") else RunFailed
        call.fail(failure(reason=_sentence(final.get("error") or "The run failed.")))
        return
    call.add(final.get("text") or "", final.get("logprobs"))
    call.end(
        Ending(
            outcome=outcome,
            finish_reason=final.get("finish_reason") or "stop",
            charge=int(fields.get(b"c", b"0")),
            quantities=protocol.unpack(fields[b"q"]) if fields.get(b"q") else {},
            output=final.get("output"),
        )
    )


def _sentence(text: str) -> str:
    return text if text.endswith((".", "!", "?")) else f"{text}."
