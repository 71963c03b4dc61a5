"""After the storm: what workers generated, what clients received, what the books say, and what is left over."""

import json
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg
import redis

from benchmarks.chaos.calling import Received
from benchmarks.chaos.market import Market
from billing.reversals import reversal_of
from inference import protocol
from portal.kit import ids
from tests.stack import ROOT

QUIET_SECONDS = 60.0
METERS = ("input_tokens", "output_tokens")
_EVENTS = """
    SELECT event.id, organisation.slug, outcome, charge, input_tokens, output_tokens
    FROM usage_event event JOIN accounts_organisation organisation ON organisation.id = event.organisation_id
"""
_OVERSPENT = """
    SELECT subscription.id::text || ' spent ' || sum(event.charge) || ' of ' || subscription.spend_cap
    FROM usage_event event JOIN marketplace_subscription subscription ON subscription.id = event.subscription_id
    GROUP BY subscription.id HAVING sum(event.charge) > subscription.spend_cap
    UNION ALL
    SELECT event.period_id::text || ' used ' || sum((event.rated->component.meter->>1)::bigint) || ' of '
        || component.included || ' ' || component.meter
    FROM usage_event event JOIN billing_billingperiod period ON period.id = event.period_id
    JOIN marketplace_pricecomponent component ON component.plan_version_id = period.plan_version_id
    WHERE component.amount IS NULL
    GROUP BY event.period_id, component.meter, component.included
    HAVING sum((event.rated->component.meter->>1)::bigint) > component.included
"""


FAULTS = ("lost", "doubled", "overspent", "leaked", "dishonest", "undelivered")


@dataclass(frozen=True)
class Recorded:
    """A usage event, as far as clients and workers know it too."""

    consumer: str
    outcome: str
    charge: int
    quantities: Mapping[str, int]


@dataclass
class Verdict:
    """Sentences about what is wrong, by kind; the counts of everything else."""

    lost: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)
    overspent: list[str] = field(default_factory=list)
    leaked: list[str] = field(default_factory=list)
    dishonest: list[str] = field(default_factory=list)
    undelivered: list[str] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)

    @property
    def is_good(self) -> bool:
        return not any(getattr(self, kind) for kind in FAULTS)


def compare(market: Market, received: Sequence[Received]) -> Verdict:
    """Waits until nothing more happens, for at most `QUIET_SECONDS`: whatever then still holds is a leak."""
    verdict = Verdict()
    verdict.leaked += _await_quiet(market)
    journal = read_journal(market.journal)
    with psycopg.connect(market.services.database_url) as connection:
        events = _read_events(connection)
        verdict.overspent += [row[0] for row in connection.execute(_OVERSPENT)]
    _compare_with_clients(received, events, verdict)
    _compare_with_workers(journal, events, verdict)
    verdict.undelivered += find_undelivered(received, events)
    given_back = [reversal_of(one) for one in _ids_of(received, "answered")]
    verdict.counts["received and given back"] = sum(reversal in events for reversal in given_back)
    verdict.doubled += check_books(market)
    verdict.dishonest += judge_refusals(received)
    verdict.counts.update(Counter(f"received: {one.how}" for one in received))
    verdict.counts.update(Counter(f"recorded: {event.outcome}" for event in events.values()))
    verdict.counts["generated"] = len(journal)
    return verdict


def read_journal(path: Path) -> list[dict[str, Any]]:
    """Every end of a call that a worker wrote down. A process killed while it wrote leaves half a line."""
    lines = path.read_text().splitlines() if path.exists() else []
    return [json.loads(line) for line in lines if line.endswith("}")]


def _read_events(connection: "psycopg.Connection[Any]") -> dict[UUID, Recorded]:
    rows = connection.execute(_EVENTS)
    return {
        identity: Recorded(consumer, outcome, charge, dict(zip(METERS, counted, strict=True)))
        for identity, consumer, outcome, charge, *counted in rows
    }


def _compare_with_clients(
    received: Sequence[Received], events: Mapping[UUID, Recorded], verdict: Verdict
) -> None:
    for one in received:
        if not one.request:
            continue
        event = events.get(ids.parse("req", one.request))
        if event is None:
            verdict.lost.append(f"{one.request} was {one.how} ({one.kind}) and is on no record")
        elif one.how == "answered" and one.charge >= 0:
            told = {meter: one.quantities.get(meter, 0) for meter in METERS}
            if (told, one.charge) != (event.quantities, event.charge):
                side = verdict.doubled if event.charge > one.charge else verdict.lost
                side.append(f"{one.request} told {told}, {one.charge}; recorded {event}")
        elif one.how in ("opened", "refused") and event.charge:
            verdict.doubled.append(f"{one.request} ended in {one.code}, and {event.charge} was charged")


def _compare_with_workers(
    journal: Sequence[Mapping[str, Any]], events: Mapping[UUID, Recorded], verdict: Verdict
) -> None:
    generated: dict[UUID, Mapping[str, int]] = {}
    for line in journal:
        request = UUID(hex=line["request"])
        if request in generated:
            verdict.doubled.append(f"{request} was generated twice")
        generated[request] = line["usage"]
        if request not in events:
            verdict.lost.append(f"{request} was generated and is on no record")
    for request, event in events.items():
        counted = {meter: generated.get(request, {}).get(meter, 0) for meter in METERS}
        if event.outcome not in ("failed", "reversed") and event.quantities != counted:
            verdict.doubled.append(f"{request}: the worker counted {counted}, the record has {event}")


def find_undelivered(received: Sequence[Received], events: Mapping[UUID, Recorded]) -> list[str]:
    """Charges, not given back, for calls whose ends nobody can have received: their connections broke, or no client
    knows of them. Who left a whole answer by himself does not know its id, and pays all the same.
    """
    charged = {
        identity for identity, event in events.items()
        if event.charge > 0 and reversal_of(identity) not in events
    }  # fmt: skip
    unknown = charged - _ids_of(received, "answered", "left", "opened", "refused")
    broken = unknown & _ids_of(received, "broken")
    found = [f"{one} broke off, and {events[one].charge} was charged" for one in sorted(broken)]
    nameless = Counter(events[one].consumer for one in unknown - broken)
    left = Counter(one.consumer for one in received if one.how == "left" and not one.request)
    return found + [
        f"{consumer} was charged for {count} calls that it knows nothing of, and left {left[consumer]}"
        for consumer, count in nameless.items() if count > left[consumer]
    ]  # fmt: skip


def _ids_of(received: Sequence[Received], *how: str) -> set[UUID]:
    return {ids.parse("req", one.request) for one in received if one.request and one.how in how}


def check_books(market: Market) -> list[str]:
    """What the product's own invariants say of rollups, rated lines, periods and ledger."""
    done = subprocess.run(
        [sys.executable, "manage.py", "check_invariants"], cwd=ROOT, env=market.stack.surroundings,
        capture_output=True, text=True, timeout=180, check=False,
    )  # fmt: skip
    return [] if done.returncode == 0 else done.stderr.splitlines() or ["check_invariants failed"]


def judge_refusals(received: Sequence[Received]) -> list[str]:
    """Refusals that blame the caller for our fault, or do not say when to come back."""
    wrong = Counter(
        f"{one.kind}: {one.status} {one.code}"
        for one in received
        if one.how == "refused" and not _is_honest(one)
    )
    return [f"{what} ({count} times)" for what, count in wrong.items()]


def _is_honest(one: Received) -> bool:
    if one.kind == "wrong" and 400 <= one.status < 500:
        return True
    if one.code == "insufficient_quota":
        return one.status == 429
    return one.status in (429, 503) and one.retry_after


def _await_quiet(market: Market) -> list[str]:
    deadline = time.monotonic() + QUIET_SECONDS
    client = redis.Redis.from_url(market.services.redis_url)
    while (left := list(_find_leftovers(client))) and time.monotonic() < deadline:
        time.sleep(0.5)
    return left


def _find_leftovers(client: "redis.Redis") -> Iterator[str]:
    """What Redis keeps of calls when no call runs: a hold, a slot, a message, a payload, a usage entry.

    A payload that expires is none: who waited for it and who fetched its message have both been killed.
    """
    for pattern in ("hold:*", "live:*", "version.*"):
        yield from (key.decode() for key in client.scan_iter(pattern, count=1000))
    for key in client.scan_iter("inference:payload:*", count=1000):
        if client.ttl(key) == -1:
            yield f"{key.decode()} without an expiry"
    for name, count in (("holds", client.zcard("holds")), ("usage", client.xlen("usage"))):
        if count:
            yield f"{count} entries of {name}"
    for key in client.scan_iter("undelivered:*", count=1000):
        yield f"{client.hlen(key)} calls of {key.decode()} neither confirmed nor given back"
    for key in client.scan_iter("lease:*", count=1000):
        held = {
            name.decode(): int(value)
            for name, value in client.hgetall(key).items()
            if name.endswith(b":h") and int(value)
        }
        if held:
            yield f"{key.decode()} holds {held}"
    for worker in client.scan_iter(protocol.worker_key("*"), count=1000):
        state = client.get(worker)
        for replica in protocol.read_worker_state(state).replicas if state else ():
            if replica.busy:
                yield f"{replica.busy} slots of {replica.version}"
