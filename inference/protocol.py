"""The messages between web and worker processes, and the Redis keys that carry them.

A call's way: the web process puts the payload under `payload_key` (it expires by itself) and sends the
Celery task `inference.run(request_hex)` to the version's queue. The worker takes the payload, and writes
to the reply stream of the web process that asked: one entry per engine step with everything that the
step produced for it, and one entry per request when it ends, written by the finish script of
`billing.credit` in the same Redis transaction as the usage event and the release of the hold.
Messages are msgpack. Nothing here imports Django or torch.
"""

from dataclasses import asdict, dataclass
from typing import Any, Literal

import msgpack

RUN_TASK = "inference.run"
PAYLOAD_SECONDS = 600
REPLY_STREAM_LENGTH = 50_000
# A worker renews its lease every BEAT seconds; a lease that lapsed means a dead worker.
BEAT_SECONDS = 0.5
WORKER_LEASE_SECONDS = 2.0
# The web process renews the holds of its calls; a hold that lapsed means a dead web process.
HOLD_RENEW_SECONDS = 3.0
HOLD_LEASE_SECONDS = 12.0

WORKERS = "inference:workers"  # set of worker ids that may be alive
WANTED = "inference:wanted"  # sorted set: version hex -> unix ms when a caller last waited for it


def queue_name(version_hex: str) -> str:
    """The Celery queue of a version, consumed by every worker on which it is resident."""
    return f"version.{version_hex}"


def payload_key(request_hex: str) -> str:
    return f"inference:payload:{request_hex}"


def reply_stream(web_id: str) -> str:
    return f"inference:reply:{web_id}"


def worker_key(worker_id: str) -> str:
    """The worker's lease: a packed `WorkerState`, expiring after `WORKER_LEASE_SECONDS`."""
    return f"inference:worker:{worker_id}"


def control_stream(worker_id: str) -> str:
    """Cancellations for a worker: entries {"cancel": request_hex}."""
    return f"inference:control:{worker_id}"


def load_error_key(version_hex: str) -> str:
    """Why the last load of a version failed, for callers that wait; expires within a minute."""
    return f"inference:load_error:{version_hex}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Payload:
    """What a worker needs to run a call. `body` is the engine request's own fields."""

    version: str
    kind: Literal["generate", "batch"]
    reply: str
    body: dict[str, Any]


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
    """What a worker says of itself with every beat. Bytes of device memory; `free_bytes` within its budget."""

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
STARTED = 0  # data: worker id; the engine has the request
CHUNK = 1  # data: {"text": str, "logprobs": [...]} (either may be absent)
# or, written by the finish script: fields b"f": request_hex, b"p": packed final (see `Final`),
# b"o": outcome, b"c": charge in micro-minor units, b"q": packed {meter: units}.


@dataclass(frozen=True, slots=True, kw_only=True)
class Final:
    """How a request ended; `text` and `logprobs` complete what chunks have carried."""

    finish_reason: str
    text: str = ""
    logprobs: list[Any] | None = None
    output: Any = None
    error: str | None = None
    worker: str = ""


def pack(message: Any) -> bytes:
    """msgpack of a message or of plain data."""
    data = asdict(message) if hasattr(message, "__dataclass_fields__") else message
    packed: bytes = msgpack.packb(data)
    return packed


def unpack(data: bytes) -> Any:
    """What `pack` wrote, as plain data."""
    return msgpack.unpackb(data)


def read_worker_state(data: bytes) -> WorkerState:
    """A worker's lease value as it was packed."""
    fields = unpack(data)
    replicas = tuple(ReplicaState(**replica) for replica in fields.pop("replicas"))
    return WorkerState(**fields, replicas=replicas)
