"""Usage into Postgres beside the many millions that are there: unique events a second, with everything on.

Every run sends a tenth of its events twice and must come out exact: as many new rows as there were events, and
rollups, rated lines, periods and ledger that have grown by just their charges. The calls stay in the kept world.
"""

import json
import os
import subprocess
import sys
import time
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import psycopg

from benchmarks.processes import ROOT
from benchmarks.results import at_least, row
from benchmarks.scale.home import World, opened
from benchmarks.scale.size import FULL, QUICK

COMMAND = "make bench ONLY=meter"
GOAL = 40_000
# Charges in micro-minor units; the first is the number of events.
_BOOKS = """
    SELECT (SELECT count(*) FROM usage_event WHERE id >= %(first)s),
        (SELECT coalesce(sum(charge), 0) FROM usage_event WHERE id >= %(first)s),
        (SELECT sum(requests) FROM billing_usagerollup), (SELECT sum(charge) FROM billing_usagerollup),
        (SELECT sum(charge) FROM billing_ratedline), (SELECT sum(gross) FROM billing_billingperiod),
        (SELECT sum(commission) FROM billing_billingperiod), (SELECT sum(commission) FROM billing_usagerollup),
        (SELECT sum(entry.amount) FROM billing_ledgerentry entry JOIN billing_ledgeraccount account
            ON account.id = entry.account_id WHERE account.kind = 'receivable'),
        (SELECT sum(amount) FROM billing_ledgerentry)
"""


@dataclass(frozen=True, slots=True)
class Books:
    """What the tables say, all told."""

    events: int
    charged: int
    requests: int
    rolled: int
    lines: int
    gross: int
    commission: int
    kept: int
    receivable: int
    balance: int


def run(quick: bool) -> list[dict[str, Any]]:
    """Raises `RuntimeError` if a run is not exact to the unit."""
    count = 20_000 if quick else 400_000
    with opened(QUICK if quick else FULL) as world:
        rates = {
            "meter.one_per_s": measure(world, "direct", count, meters=1),
            "meter.events_per_s": measure(world, "direct", count, meters=2),
            "meter.from_stream_per_s": measure(world, "stream", count // 4, meters=2),
        }
    goals = {"meter.events_per_s": at_least(GOAL)}
    return [
        row(name, rate, "events/s", command=COMMAND, goal=goals.get(name)) for name, rate in rates.items()
    ]


def measure(world: World, how: str, count: int, *, meters: int) -> float:
    """Unique events a second of so many meters side by side, `count` each."""
    at_ms = int(time.time() * 1000) + 1
    with psycopg.connect(world.environment["DATABASE_URL"]) as database:
        before = _books(database, at_ms)
        seconds, new = _feed(world, how, count, meters=meters, at_ms=at_ms)
        _require_exact(before, _books(database, at_ms), sent=count * meters, new=new)
    return count * meters / seconds


def _feed(world: World, how: str, count: int, *, meters: int, at_ms: int) -> tuple[float, int]:
    """How long until the last was done, and how many events they found new."""
    with ExitStack() as stack:
        children = []
        for number in range(meters):
            words = ["-m", "benchmarks.scale.feed", how, *map(str, (count, number, meters, at_ms))]
            child = subprocess.Popen(
                [sys.executable, *words], cwd=ROOT, env=os.environ | dict(world.environment), text=True,
                stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            )  # fmt: skip
            stack.enter_context(child)
            stack.callback(child.kill)
            children.append(child)
        if any(_line(child) != "ready" for child in children):
            raise RuntimeError("a meter did not start")
        started = time.perf_counter()
        for child in children:
            assert child.stdin
            child.stdin.write("go\n")
            child.stdin.flush()
        told = [json.loads(_line(child)) for child in children]
        return time.perf_counter() - started, sum(each["new"] for each in told)


def _line(child: "subprocess.Popen[str]") -> str:
    assert child.stdout
    return child.stdout.readline().strip()


def _books(database: "psycopg.Connection[Any]", at_ms: int) -> Books:
    found = database.execute(_BOOKS, {"first": f"{at_ms:012x}".ljust(32, "0")}).fetchone()
    database.rollback()
    assert found
    return Books(*map(int, found))


def _require_exact(before: Books, after: Books, *, sent: int, new: int) -> None:
    charged = after.charged - before.charged
    grown = {
        "rows": (after.events - before.events, sent),
        "events found new": (new, sent),
        "requests in rollups": (after.requests - before.requests, sent),
        "charge in rollups": (after.rolled - before.rolled, charged),
        "charge in rated lines": (after.lines - before.lines, charged),
        "gross of periods": (after.gross - before.gross, charged),
        "receivable in the ledger": (after.receivable - before.receivable, charged),
        "commission in rollups": (after.kept - before.kept, after.commission - before.commission),
        "balance of the ledger": (after.balance, 0),
    }
    wrong = {name: pair for name, pair in grown.items() if pair[0] != pair[1]}
    if wrong:
        raise RuntimeError(f"the books are off (found, wanted): {wrong}")
