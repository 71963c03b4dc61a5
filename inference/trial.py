"""Try a new version for real: load it as a worker would, and run one tiny request."""

import io
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass, field

import psutil
from django.conf import settings

from inference import tokenizer_agreement
from inference.engines.base import (
    BatchRequest,
    Chunk,
    GenerateRequest,
    Note,
    Request,
    RequestRefused,
    Sampling,
    UnloadableVersion,
)  # fmt: skip
from inference.engines.pulse import is_panic
from inference.remote.trial import Seen
from inference.worker.loading import manifest_of, warm_up
from marketplace import endpoints, weights
from marketplace.models import EndpointTrial, Task, Version
from marketplace.validation import Finding
from portal.kit.errors import PortalError
from portal.kit.secrets import Unreadable

ANSWER_SECONDS = 120.0
REQUEST_ID = "trial"
# Present in every vocabulary that is worth the name.
TOKENS = (0, 1, 2)
REMOTE_REMEDY = "Check the base URL, the model's name and the key with a call of your own, then add it again."
REMEDY = "Check that these weights belong to this config, and try them with transformers."


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """Whether the version runs, and what there is to tell its provider."""

    ok: bool
    findings: list[Finding]


@dataclass(slots=True)
class _Answer:
    """The `Sink` of one request."""

    last: Chunk | None = None
    ended: threading.Event = field(default_factory=threading.Event)

    def emit(self, request_id: str, chunk: Chunk) -> None:
        if chunk.finish_reason:
            self.last = chunk
            self.ended.set()

    def flush(self) -> None:
        pass  # nothing is collected


def run(version: Version, *, device: str = "cpu") -> Trial:
    """Load and call the version in this process. What goes wrong is a finding, not an error."""
    try:
        directory = weights.directory(version)
    except PortalError as error:
        return _failed("weights", str(error))
    from inference.engines import registry

    manifest, answer = manifest_of(version), _Answer()
    if settings.WORKER_MEMORY_BYTES and manifest.memory_bytes > settings.WORKER_MEMORY_BYTES:
        return _failed("memory", f"It needs {manifest.memory_bytes} bytes, more than a worker here has.")
    warm_up()
    before, started = _resident_bytes(), time.monotonic()
    try:
        engine = registry.load(directory, manifest=manifest, device=device, sink=answer)
    except UnloadableVersion as error:
        return _failed("load", str(error))
    except BaseException as error:
        if not isinstance(error, (RuntimeError, OSError, MemoryError, ValueError)) and not is_panic(error):
            raise
        return _failed("load", f"{type(error).__name__}: {error}")
    load_seconds, used = time.monotonic() - started, _resident_bytes() - before
    try:
        engine.submit(make_request(version))
        answered = answer.ended.wait(ANSWER_SECONDS)
    except RequestRefused as refusal:
        return _failed("run", str(refusal))
    finally:
        engine.close(drain=False, timeout=5.0)
    if not answered or answer.last is None:
        return _failed("run", f"One tiny request had no answer after {ANSWER_SECONDS:.0f} s.")
    if answer.last.finish_reason == "error":
        return _failed("run", answer.last.error or "One tiny request failed.")
    told = _retell(engine.notes)
    if version.task != Task.IMAGE_CLASSIFICATION and (differs := tokenizer_agreement.compare(directory)):
        told.append(differs)
    measured = _measured(load_seconds=load_seconds, used_bytes=used)
    return Trial(ok=all(finding.severity != "error" for finding in told), findings=[*told, measured])


def ask(version: Version) -> Trial:
    """Make one tiny call of a remote version."""
    from inference.gateway.lookup import find_endpoint
    from inference.remote import trial as remote_trial

    try:
        facts = find_endpoint(version)
    except PortalError as error:
        return _failed("key", str(error), remedy="Add the endpoint again with its key.")
    seen = remote_trial.run(facts, task=version.task)
    if not seen.ok:
        return _failed("call", seen.message, remedy=REMOTE_REMEDY)
    return Trial(ok=True, findings=[Finding(file="", rule="trial", severity="info", message=seen.message)])


def call(endpoint: EndpointTrial) -> Seen:
    """Make one tiny call of an endpoint that is not added yet."""
    from inference.remote import trial as remote_trial
    from inference.remote.upstream import EndpointFacts

    try:
        key = endpoints.reveal_key(endpoint)
    except Unreadable as error:
        return Seen(ok=False, message=str(error))
    facts = EndpointFacts(
        version="",
        base_url=endpoint.base_url,
        model=endpoint.model,
        max_output_tokens=0,
        concurrency=1,
        key=key,
    )
    return remote_trial.run(facts, task=endpoint.listing.task)


def make_request(version: Version) -> Request:
    """The smallest request of the version's task."""
    if version.task == Task.TEXT_GENERATION:
        sampling = Sampling(max_tokens=4, temperature=0.0)
        return GenerateRequest(id=REQUEST_ID, prompt_ids=TOKENS, sampling=sampling)
    if version.task == Task.IMAGE_CLASSIFICATION:
        return BatchRequest(id=REQUEST_ID, items=[_grey_png()])
    return BatchRequest(id=REQUEST_ID, items=[TOKENS])


def _grey_png() -> bytes:
    from PIL import Image

    buffer = io.BytesIO()
    Image.new("RGB", (32, 32), (128, 128, 128)).save(buffer, format="PNG")
    return buffer.getvalue()


def _resident_bytes() -> int:
    return int(psutil.Process().memory_info().rss)


def _measured(*, load_seconds: float, used_bytes: int) -> Finding:
    message = f"Loaded in {load_seconds:.1f} s and answered; the process grew by {max(0, used_bytes) / 2**20:.0f} MiB."
    return Finding(file="", rule="trial", severity="info", message=message)


def _retell(notes: Iterable[Note]) -> list[Finding]:
    return [
        Finding(file=note.file, rule="without-effect", severity="info", message=note.message)
        for note in notes
    ]


def _failed(rule: str, message: str, *, remedy: str = REMEDY) -> Trial:
    finding = Finding(file="", rule=f"trial-{rule}", severity="error", message=message, remedy=remedy)
    return Trial(ok=False, findings=[finding])
