"""A worker without a model: it speaks the whole protocol, and answers every call with the same tokens.

For measuring and testing what lies between a client and an engine. Takes messages from the queues of its
versions as Celery's Redis transport leaves them there.
"""

import argparse
import base64
import json
import os
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID, uuid4

import redis

TAKE_AT_ONCE = 64


@dataclass
class StandIn:
    """`pieces` gives those of text of a call; the last one comes with the final, for `reason`. None leaves it open."""

    client: "redis.Redis"
    versions: Sequence[str]
    pieces: Callable[[dict[str, Any]], Sequence[str] | None]
    output: Callable[[dict[str, Any]], Any] = lambda payload: None
    loading: bool = False
    memory_bytes: int = 2**40
    reason: str = "length"
    id: str = field(default_factory=lambda: f"stand-in-{os.getpid()}-{time.monotonic_ns()}")
    open_calls: dict[str, dict[str, Any]] = field(default_factory=dict)
    cancelled: list[str] = field(default_factory=list)
    payloads: list[dict[str, Any]] = field(default_factory=list)
    _stop: threading.Event = field(default_factory=threading.Event)
    _threads: list[threading.Thread] = field(default_factory=list)

    def start(self) -> "StandIn":
        from billing.credit import scripting

        scripting.load(self.client)
        self._take = self.client.register_script(
            "if redis.call('DEL', KEYS[1]) == 0 then return 0 end "
            "redis.call('XADD', KEYS[2], '*', 'b', ARGV[1]) return 1"
        )
        self.beat()
        for work in (self._keep_beating, self._serve, self._listen):
            self._threads.append(threading.Thread(target=work, daemon=True))
            self._threads[-1].start()
        return self

    def stop(self) -> None:
        """Go away like a killed worker: the lease lapses by itself."""
        self._stop.set()
        for thread in self._threads:
            thread.join(5)

    def beat(self) -> None:
        """Renew the lease."""
        from inference import protocol

        state = "loading" if self.loading else "ready"
        replicas = tuple(
            protocol.ReplicaState(version=version, state=state, memory_bytes=1, slots=64, busy=0)
            for version in self.versions
        )
        said = protocol.WorkerState(
            id=self.id, host="here", pid=os.getpid(), device="none", memory_bytes=self.memory_bytes,
            free_bytes=self.memory_bytes, started_at=time.time(), stopping=False, replicas=replicas,
        )  # fmt: skip
        self.client.sadd(protocol.WORKERS, self.id)
        lease_ms = int(protocol.WORKER_LEASE_SECONDS * 1000)
        self.client.set(protocol.worker_key(self.id), protocol.pack(said), px=lease_ms)

    def finish(
        self, request: str, *, reason: str = "stop", pieces: Sequence[str] = ("",), error: str | None = None,
        refused: bool = False,
    ) -> None:  # fmt: skip
        """End an open call, with the pieces that are still to come."""
        pipeline = self.client.pipeline(transaction=False)
        payload = self.open_calls.pop(request)
        self._answer(pipeline, request, payload, pieces, reason=reason, error=error, refused=refused)
        pipeline.execute()

    def write(self, request: str, *pieces: str) -> None:
        """Send pieces of an open call."""
        from inference import protocol

        payload = self.open_calls[request]
        at = payload.setdefault("sent", 0)
        chunks = [[request, protocol.CHUNK, {"i": at + i, "text": piece}] for i, piece in enumerate(pieces)]
        payload["sent"] = at + len(pieces)
        self.client.xadd(payload["reply"], {"b": protocol.pack(chunks)})

    def _keep_beating(self) -> None:
        while not self._stop.wait(0.4):
            self.beat()

    def _listen(self) -> None:
        from inference import protocol

        stream, last = protocol.control_stream(self.id), "0-0"
        while not self._stop.is_set():
            answer: Any = self.client.xread({stream: last}, block=100)
            for _, entries in answer.items() if isinstance(answer, dict) else answer or []:
                for position, fields in entries[0] if entries and isinstance(entries[0], list) else entries:
                    last = position
                    request = fields[b"cancel"].decode()
                    self.cancelled.append(request)
                    if request in self.open_calls:
                        self.finish(request, reason="cancelled")

    def _serve(self) -> None:
        from inference import protocol

        queues = [protocol.queue_name(version) for version in self.versions]
        while not self._stop.is_set():
            if self.loading or not queues:
                time.sleep(0.02)
                continue
            found: Any = self.client.brpop(queues, timeout=0.1)
            if found is None:
                continue
            queue = found[0].decode()
            more: Any = self.client.rpop(queue, TAKE_AT_ONCE) or []
            self.run(queue.removeprefix("version."), [_request_in(message) for message in [found[1], *more]])

    def run(self, version: str, requests: list[str]) -> None:
        """Run as many calls of a version as there are messages, which were sent for these requests."""
        from inference import protocol
        from inference.worker import turns

        asking = self.client.pipeline(transaction=False)
        for request in requests:
            turns.ask(asking, version, request=request, token=uuid4().hex)
        answers = filter(turns.is_turn, asking.execute())
        calls = [(answer[0].decode(), protocol.unpack(answer[1])) for answer in answers]
        taking = self.client.pipeline(transaction=False)
        for request, payload in calls:
            entry = protocol.pack([[request, protocol.STARTED, self.id]])
            self._take(keys=[protocol.payload_key(request), payload["reply"]], args=[entry], client=taking)
        taken = taking.execute()
        answering = self.client.pipeline(transaction=False)
        for (request, payload), mine in zip(calls, taken, strict=True):
            if not mine:
                continue
            self.payloads.append(payload)
            pieces = self.pieces(payload)
            if pieces is None:
                self.open_calls[request] = payload
            else:
                self._answer(answering, request, payload, pieces, reason=self.reason)
        answering.execute()

    def _answer(
        self, pipeline: Any, request: str, payload: dict[str, Any], pieces: Sequence[str], *, reason: str,
        error: str | None = None, refused: bool = False,
    ) -> None:  # fmt: skip
        from billing.credit import settlement
        from inference import protocol

        sent = payload.get("sent", 0)
        chunks = [
            [request, protocol.CHUNK, {"i": sent + i, "text": text}] for i, text in enumerate(pieces[:-1])
        ]
        if chunks:
            pipeline.xadd(payload["reply"], {"b": protocol.pack(chunks)})
        final = protocol.Final(
            finish_reason=reason, text=pieces[-1], worker=self.id, output=self.output(payload), error=error,
            refused=refused,
        )  # fmt: skip
        outcome: Any = {"cancelled": "cancelled", "error": "failed"}.get(reason, "succeeded")
        settlement.finish(
            pipeline, request_id=UUID(hex=request), outcome=outcome, reply=payload["reply"],
            quantities=_quantities(payload, sent + len(pieces)) if outcome != "failed" else {},
            final=protocol.pack(final),
            facts_extra={"ttft_ms": 1, "latency_ms": 1, "worker": self.id, "finish_reason": reason},
        )  # fmt: skip


def _request_in(message: bytes) -> str:
    """The argument of a Celery message of protocol 2."""
    body = base64.b64decode(json.loads(message)["body"])
    request: str = json.loads(body)[0][0]
    return request


def _quantities(payload: dict[str, Any], pieces: int) -> dict[str, int]:
    body = payload["body"]
    if payload["kind"] == "generate":
        return {"input_tokens": len(body["prompt_ids"]), "output_tokens": pieces, "cached_tokens": 0}
    if isinstance(body["items"][0], bytes):
        return {"images": len(body["items"])}
    return {"input_tokens": sum(map(len, body["items"]))}


def main() -> None:
    """Answer 16 tokens at once for the versions named, until killed."""
    parser = argparse.ArgumentParser()
    parser.add_argument("versions", nargs="+")
    chosen = parser.parse_args()

    import django

    django.setup()
    from portal.kit import redis as redis_kit

    tokens = ["tok "] * 16
    StandIn(redis_kit.client(), chosen.versions, lambda payload: tokens).start()
    print("ready", flush=True)
    threading.Event().wait()


if __name__ == "__main__":
    main()
