"""Versions that are left alone for a while, because they broke what serves them.

Whoever serves may put a version here, and everybody looks: web processes refuse its calls at once and workers do not
load it. The first time takes a minute, each further one twice as long, an hour at most; six hours without one forget
them all. So there are two ways out: time, and another version of the listing.
"""

import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

if TYPE_CHECKING:
    import redis

Kind = Literal["engine_failed", "step_hung", "template_slow"]

FIRST_SECONDS = 60
MOST_SECONDS = 3_600
FORGET_SECONDS = 6 * 3_600
DETAIL_LENGTH = 300
# What callers are told; the detail is for the provider and the operator.
REASONS: Mapping[Kind, str] = {
    "engine_failed": "its engine broke while running it",
    "step_hung": "its engine stood still while running it",
    "template_slow": "its chat template or tokenizer takes too long",
}

INDEX = "inference:quarantine"  # sorted set: version hex -> unix seconds until when
BEGIN = Path(__file__).with_suffix(".lua").read_text()


@dataclass(frozen=True, slots=True, kw_only=True)
class Quarantine:
    """`until` is in unix seconds."""

    kind: Kind
    detail: str
    until: float
    times: int = 1

    @property
    def until_at(self) -> datetime:
        """When it ends, aware UTC."""
        return datetime.fromtimestamp(self.until, UTC)

    @property
    def reason(self) -> str:
        """Half a sentence for callers."""
        return REASONS.get(self.kind, "it failed")


def key(version: str) -> str:
    """Hash: why the version was quarantined last, and how many times of late."""
    return f"{INDEX}:{version}"


def beginning(version: str, *, kind: Kind, detail: str) -> tuple[Any, ...]:
    """The arguments for `eval` of any client that begin a quarantine. One that lasts is not made longer."""
    return (
        BEGIN, 2, INDEX, key(version), version, kind, detail[:DETAIL_LENGTH], time.time(), FIRST_SECONDS, MOST_SECONDS,
        FORGET_SECONDS,
    )  # fmt: skip


def begin(client: "redis.Redis", version: str, *, kind: Kind, detail: str) -> None:
    """Leave a version alone from now on. Raises a Redis error."""
    client.eval(*beginning(version, kind=kind, detail=detail))


def find(client: "redis.Redis", versions: Collection[str]) -> dict[str, Quarantine]:
    """The quarantines among these versions. Raises a Redis error."""
    if not versions:
        return {}
    names = sorted(versions)
    scores = client.zmscore(INDEX, names)
    now = time.time()
    lasting = [(name, until) for name, until in zip(names, scores, strict=True) if until and until > now]
    if not lasting:
        return {}
    pipeline = client.pipeline(transaction=False)
    for name, _ in lasting:
        pipeline.hgetall(key(name))
    facts = pipeline.execute()
    return {name: read(fields, until=until) for (name, until), fields in zip(lasting, facts, strict=True)}


def read(fields: Mapping[bytes, bytes], *, until: float) -> Quarantine:
    """A quarantine as its hash tells it."""
    kind = cast("Kind", fields.get(b"kind", b"engine_failed").decode())
    return Quarantine(
        kind=kind, detail=fields.get(b"detail", b"").decode(errors="replace"), until=until,
        times=int(fields.get(b"times", 1)),
    )  # fmt: skip
