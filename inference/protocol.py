"""The messages between web and worker processes, and the Redis keys that carry them.

A call's way: the web process puts the payload under `payload_key` (it expires by itself) and sends the
Celery task `inference.run(request_hex)` to the version's queue. Such a message is a turn: the worker that gets
it runs the next call of the organisation whose turn it is. It takes the payload, and writes
to the reply stream of the web process that asked: one entry per engine step with everything that the
step produced for it, and one entry per request when it ends, written by the finish script of
`billing.credit` in the same Redis transaction as the usage event and the release of the hold.
Messages are msgpack. Nothing here imports Django or torch.

The worker removes the payload and writes STARTED in one Redis script. So while the payload is there, nobody
has begun the call, and a task that got lost on the way (a worker killed in the moment between) may be sent
again; once it is gone, STARTED names the worker whose lease vouches for the call. A worker that finds its
replica gone sends the task on to the queue once more and marks the version wanted. Whoever waits for a cold
version marks it wanted again every WANTED_RENEW_SECONDS. A batch of chunks that a lost connection left in
doubt is written again, so a reader skips a chunk whose "i" it has seen.
"""

from dataclasses import dataclass, fields
from typing import Any, Literal

import msgpack

RUN_TASK = "inference.run"
PAYLOAD_SECONDS = 600
# Longer than a worker's Redis client goes on repeating a command.
TAKER_SECONDS = 60
REPLY_STREAM_LENGTH = 50_000
# A worker renews its lease every BEAT seconds; a lease that lapsed means a dead worker.
BEAT_SECONDS = 0.5
WORKER_LEASE_SECONDS = 2.0
# The web process renews the holds of its calls; a hold that lapsed means a dead web process.
HOLD_RENEW_SECONDS = 3.0
HOLD_LEASE_SECONDS = 12.0
# A caller marks the cold version it waits for as wanted this often; older marks than the lease count no more.
WANTED_RENEW_SECONDS = 1.0
WANTED_LEASE_SECONDS = 5.0
WANTED_SECONDS = 60

WORKERS = "inference:workers"  # set of worker ids that may be alive
WANTED = "inference:wanted"  # sorted set: version hex -> unix ms when a caller last waited for it


def queue_name(version_hex: str) -> str:
    """The Celery queue of a version, consumed by every worker on which it is resident."""
    return f"version.{version_hex}"


def version_of(queue: str) -> str:
    """The version, in hex, of a queue's name."""
    return queue.removeprefix("version.")


def line_key(version_hex: str, organisation_hex: str) -> str:
    """List: the requests of an organisation that wait for a version, first come first."""
    return f"inference:line:{version_hex}:{organisation_hex}"


def turns_key(version_hex: str) -> str:
    """Sorted set: the organisations that wait for a version; whose turn it is has the lowest score."""
    return f"inference:turns:{version_hex}"


def turn_key(token: str) -> str:
    """Which call a message was good for, for a worker that lost the answer and asks again."""
    return f"inference:turn:{token}"


def payload_key(request_hex: str) -> str:
    return f"inference:payload:{request_hex}"


def taker_key(request_hex: str) -> str:
    """Which take of a call succeeded, for a worker that lost the answer to it and asks again."""
    return f"inference:taker:{request_hex}"


def reply_stream(web_id: str) -> str:
    return f"inference:reply:{web_id}"


def worker_key(worker_id: str) -> str:
    """The worker's lease: a packed `WorkerState`, expiring after `WORKER_LEASE_SECONDS`."""
    return f"inference:worker:{worker_id}"


def control_stream(worker_id: str) -> str:
    """Cancellations for a worker: entries {"cancel": request_hex}."""
    return f"inference:control:{worker_id}"


def load_error_key(version_hex: str) -> str:
    """Why the last load of a version failed (UTF-8), for callers that wait; while it is there nobody loads
    the version again, and calls in its queue are finished as failed with it. Expires within a minute.
    """
    return f"inference:load_error:{version_hex}"


def claim_key(version_hex: str) -> str:
    """Which worker is about to load a version: only one does at a time."""
    return f"inference:claim:{version_hex}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Payload:
    """What a worker needs to run a call. `whole` asks for the answer in one piece, with its end. `body` is the engine request's own fields as plain data, without
    its id: {"prompt_ids", "sampling": {...}} to generate, {"items", "parameters"} for a batch. `owner` is the organisation
    whose call it is, in hex: organisations share a full engine.
    """

    version: str
    kind: Literal["generate", "batch"]
    reply: str
    body: dict[str, Any]
    whole: bool = False
    owner: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplicaState:
    """One version on one worker."""

    version: str
    state: Literal["loading", "ready", "draining"]
    memory_bytes: int
    slots: int
    busy: int


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerState:
    """What a worker says with every beat. Bytes of device memory; `free_bytes` within its budget."""

    id: str
    host: str
    pid: int
    device: str
    memory_bytes: int
    free_bytes: int
    started_at: float
    stopping: bool
    replicas: tuple[ReplicaState, ...]


# Reply stream entries. Field b"b": a list of [request_hex, kind, data], kind one of:
STARTED = 0  # data: worker id; this worker has taken the payload and answers for the call
# data: {"i": number of the chunk within the request from 0, "text": str, "logprobs": [...]}; text and logprobs
# may be absent. A logprob is {"token", "bytes", "logprob", "top": [...]}, the fields of `TokenLogprob`.
CHUNK = 1
# or, written by the finish script: fields b"f": request_hex, b"p": packed final (see `Final`),
# b"o": outcome, b"c": charge in micro-minor units, b"q": packed {meter: units}.


@dataclass(frozen=True, slots=True, kw_only=True)
class Final:
    """How a request ended; `text` and `logprobs` complete what chunks have carried.

    `refused` goes with an error that is the request's own fault: it would fail again on any worker.
    """

    finish_reason: str
    text: str = ""
    logprobs: list[Any] | None = None
    output: Any = None
    error: str | None = None
    refused: bool = False
    worker: str = ""


def pack(message: Any) -> bytes:
    """msgpack of a message or of plain data."""
    packed: bytes = msgpack.packb(message, default=_fields)
    return packed


def _fields(message: Any) -> dict[str, Any]:
    # Not dataclasses.asdict: it copies every item of every list, such as a prompt's token ids.
    return {field.name: getattr(message, field.name) for field in fields(message)}


def unpack(data: bytes) -> Any:
    """What `pack` wrote, as plain data."""
    return msgpack.unpackb(data, strict_map_key=False)  # logit_bias is keyed by token id


def read_worker_state(data: bytes) -> WorkerState:
    """A worker's lease value as it was packed."""
    fields = unpack(data)
    replicas = tuple(ReplicaState(**replica) for replica in fields.pop("replicas"))
    return WorkerState(**fields, replicas=replicas)
