"""What the Celery task of a call does: take the payload, hand the call to its engine, return.

The gate has made sure of a free slot, so nothing here waits for the model.
"""

import logging
import time
from collections.abc import Mapping
from typing import Any
from uuid import UUID, uuid4

import redis
from celery import Celery
from redis.exceptions import NoScriptError

from billing.credit import scripting, settlement
from billing.reasons import Reason
from inference import protocol
from inference.engines.base import (
    BatchRequest,
    EngineClosing,
    GenerateRequest,
    Request,
    RequestRefused,
    Sampling,
)
from inference.errors import ReplicaGone
from inference.worker import turns
from inference.worker.calls import Call, Calls
from inference.worker.handover import Handover
from inference.worker.host import WorkerHost
from inference.worker.replica import Replica
from inference.worker.replies import Replies
from portal.kit.redis import EVEN_IF_FULL

log = logging.getLogger(__name__)

# The payload goes and its worker is named in one step; false if somebody else was there first. The client
# repeats it when the answer is lost, so it knows its own doing again: by a token, as a worker may get the
# message of one call twice.
TAKE = f"""{EVEN_IF_FULL}
if redis.call('EXISTS', KEYS[1]) == 0 then return redis.call('GET', KEYS[3]) == ARGV[4] and 1 or 0 end
redis.call('SET', KEYS[3], ARGV[4], 'EX', ARGV[5])
redis.call('XADD', KEYS[2], 'MAXLEN', '~', ARGV[2], '*', 'b', ARGV[1])
redis.call('EXPIRE', KEYS[2], ARGV[3])
redis.call('DEL', KEYS[1])
return 1
"""


class Runner:
    """Runs the task `inference.run` on this worker."""

    def __init__(
        self, client: "redis.Redis", *, app: Celery, host: WorkerHost, calls: Calls, replies: Replies, worker_id: str
    ) -> None:  # fmt: skip
        self._client = client
        self._app = app
        self._host = host
        self._calls = calls
        self._replies = replies
        self._worker_id = worker_id

    def register(self) -> None:
        """Make `inference.run` a task of this process."""

        @self._app.task(
            name=protocol.RUN_TASK,
            Strategy=Handover(self.run, host=self._host),
            ignore_result=True,
            lazy=False,
        )
        def _run(request: str, attempt: int = 0) -> None:
            """Only for its name: the strategy carries messages out itself."""

    def run(self, version: str, request: str, *, attempt: int, token: str) -> None:
        """Give the version's next call to its engine, which reports to the reply stream. `request` is the call
        that the message was sent for. Quietly nothing if no call waits.
        """
        try:
            replica = self._host.find(version)
            if replica is None or replica.engine is None:
                self._send_on(version, request, attempt=attempt, token=token)
            elif turn := turns.take_next(self._client, version, request=request, token=token):
                self._start(*turn, replica)
        finally:
            self._host.release(version, token)
            self._replies.on_finished()

    def run_next_of(self, organisation: str, replica: Replica) -> bool:
        """Give an organisation's next call to the version's engine; whether there was one."""
        turn = turns.take_next_of(self._client, replica.version, organisation=organisation)
        if turn is not None:
            self._start(*turn, replica)
        return turn is not None

    def abandon(self, version: str, request: str, *, error: str, why: Reason, token: str) -> None:
        """Finish the version's next call as failed: no engine will run it."""
        turn = turns.take_next(self._client, version, request=request, token=token)
        if turn is None:
            return
        call = Call(id=turn[0], version=version, reply=turn[1].reply)
        if self._begin(call):
            self._replies.fail(call, error, why=why)

    def _send_on(self, version: str, request: str, *, attempt: int, token: str) -> None:
        if attempt:
            gone = str(ReplicaGone())
            self.abandon(version, request, error=gone, why=Reason.WORKER_STOPPING, token=token)
            return
        self._client.zadd(protocol.WANTED, {version: int(time.time() * 1000)})
        self._client.expire(protocol.WANTED, protocol.WANTED_SECONDS)
        self._app.send_task(protocol.RUN_TASK, args=(request, 1), queue=protocol.queue_name(version))

    def _start(self, request: str, payload: protocol.Payload, replica: Replica) -> None:
        call = Call(
            id=request, version=payload.version, reply=payload.reply, whole=payload.whole, owner=payload.owner
        )
        if not self._begin(call):
            return
        try:
            assert replica.engine is not None
            replica.engine.submit(build_request(request, payload))
        except RequestRefused as refusal:
            closing = isinstance(refusal, EngineClosing)
            why = Reason.WORKER_STOPPING if closing else Reason.REFUSED
            self._replies.fail(call, str(refusal), refused=not closing, why=why)
        except BaseException:  # decoding what a stranger sent may panic; nobody else would end the call
            log.exception("request %s could not be started", request)
            self._replies.fail(call, "The request could not be started.")
        else:
            if self._calls.was_cancelled(request):
                replica.engine.cancel(request)

    def _begin(self, call: Call) -> bool:
        """Whether the call is ours to run or to fail. If not, this worker knows nothing of it."""
        if not self._calls.begin(call):
            return False
        try:
            if self._take(call):
                return True
        except (redis.ConnectionError, redis.TimeoutError):
            # It may be taken all the same, and then its caller waits for this worker.
            log.warning("request %s fails, as Redis was lost when it began", call.id)
            self._replies.fail(
                call, "The worker lost its connections as the call began.", why=Reason.WORKER_LOST
            )
            return False
        except BaseException:
            self._calls.end(call.id)
            raise
        self._calls.end(call.id)
        return False

    def _take(self, call: Call) -> bool:
        entry = protocol.pack([[call.id, protocol.STARTED, self._worker_id]])
        pipeline = self._client.pipeline(transaction=False)
        # The whole text each time: it is shorter than the trouble of a Redis that has forgotten its scripts.
        pipeline.eval(
            TAKE, 3, protocol.payload_key(call.id), call.reply, protocol.taker_key(call.id),
            entry, protocol.REPLY_STREAM_LENGTH, protocol.PAYLOAD_SECONDS, uuid4().hex, protocol.TAKER_SECONDS,
        )  # fmt: skip
        self._attach(pipeline, call)
        taken, attached = pipeline.execute(raise_on_error=False)
        if isinstance(taken, Exception):
            raise taken
        if isinstance(attached, NoScriptError):
            scripting.load(self._client)
            self._attach(self._client, call)
        return bool(taken)

    def _attach(self, client: Any, call: Call) -> None:
        """Let the reaper cancel the call here, should its web process die."""
        control = protocol.control_stream(self._worker_id)
        settlement.attach_control(client, request_id=UUID(hex=call.id), stream=control)


def build_request(request: str, payload: protocol.Payload) -> Request:
    """The engine's request from the message. Raises `RequestRefused` if the fields do not fit."""
    fields: Mapping[str, Any] = payload.body
    try:
        if payload.kind == "batch":
            parameters = fields.get("parameters") or {}
            return BatchRequest(id=request, items=fields["items"], parameters=parameters, owner=payload.owner)
        sampling = dict(fields["sampling"])
        sampling["stop"] = tuple(sampling.get("stop") or ())
        sampling["end_ids"] = tuple(sampling.get("end_ids") or ())
        return GenerateRequest(
            id=request,
            prompt_ids=fields["prompt_ids"],
            sampling=Sampling(**sampling),
            cache_scope=fields["cache_scope"],
            owner=payload.owner,
        )
    except (KeyError, TypeError) as error:
        raise RequestRefused(f"The request does not fit this version: {error}.") from error
