"""Simultaneous calls against an allowance for ten, through HTTP and two web processes.

Exactly ten may be admitted; the others hear that the allowance is used up. Then the spend cap is raised, and
nobody may be refused any more.
"""

import argparse
import asyncio
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import httpx

from benchmarks.chaos import market
from benchmarks.chaos.market import DOLLAR, Market
from benchmarks.results import at_most, row
from tests.stack import Person

COMMAND = "make bench ONLY=bursts"
ROOM = 10
# Long enough that none of a burst has ended, and given back what it did not use, before the last is admitted.
TOKENS = 900
PRICE = DOLLAR // 1000
PLAN = {
    "slug": "per-call", "name": "Per call", "kind": "paid",
    "components": [{"meter": "requests", "included": 0, "amount": PRICE, "per": 1}],
}  # fmt: skip


@dataclass(frozen=True)
class Burst:
    """What a burst came to, and what the calls after the raised cap did."""

    admitted: int
    exhausted: int
    others: Counter[str]
    refused_later: int

    @property
    def overspent(self) -> int:
        return max(0, self.admitted - ROOM)

    @property
    def false_refusals(self) -> int:
        return max(0, ROOM - self.admitted) + self.refused_later + sum(self.others.values())


def run(quick: bool) -> list[dict[str, Any]]:
    """The sums over all sizes of burst."""
    bursts = []
    for calls in (50,) if quick else (50, 500):
        bursts.append(measure(calls))
        print(f"  {calls} at once: {bursts[-1]}", flush=True)
    return [
        row(
            f"burst.{name}", sum(getattr(each, name) for each in bursts), "calls", command=COMMAND, better="lower",
            goal=at_most(0),
        )
        for name in ("overspent", "false_refusals")
    ]  # fmt: skip


def measure(calls: int) -> Burst:
    """One burst against a site of its own."""
    with market.opened(consumers=0) as site:
        return burst(site, calls)


def burst(site: Market, calls: int) -> Burst:
    """`calls` at once by a consumer who may pay for `ROOM`, and as many as he then may pay for."""
    buyer, model, key, subscription = _open(site)
    answers = asyncio.run(_ask_together(site.stack.url, model, key, calls, tokens=TOKENS))
    buyer.call("PATCH", f"/api/subscriptions/{subscription}/", json={"spend_cap": 4 * ROOM * PRICE})
    later = asyncio.run(_ask_together(site.stack.url, model, key, 2 * ROOM, tokens=2))
    told = Counter(_word(answer) for answer in answers)
    admitted, exhausted = told.pop("200", 0), told.pop("429 insufficient_quota", 0)
    return Burst(admitted, exhausted, told, sum(answer.status_code != 200 for answer in later))


def _open(site: Market) -> tuple[Person, str, str, str]:
    name = f"{len(list(site.stack.home.parent.iterdir()))}-burst"
    provider, buyer = (site.stack.sign_up(f"{role}-{name}@example.com") for role in ("seller", "buyer"))
    folder = site.stack.home.parent / "llama"
    model = market.publish(provider, "per-call", "text-generation", folder, [PLAN])
    wish = {"listing": model, "plan": "per-call", "spend_cap": ROOM * PRICE}
    subscription = buyer.call("POST", "/api/subscriptions/", json=wish)["id"]
    return buyer, model, buyer.issue_key(), subscription


async def _ask_together(
    url: str, model: str, key: str, calls: int, *, tokens: int
) -> Sequence[httpx.Response]:
    """All connections are open before the first call leaves."""
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=None)
    async with httpx.AsyncClient(base_url=url, timeout=120, limits=limits) as client:
        await asyncio.gather(*(client.get("/healthz") for _ in range(min(calls, 100))))
        barrier = asyncio.Barrier(calls)

        async def ask() -> httpx.Response:
            await barrier.wait()
            return await client.post(
                "/v1/chat/completions", headers={"Authorization": f"Bearer {key}"},
                json={"model": model, "max_tokens": tokens, "messages": [{"role": "user", "content": "fox"}]},
            )  # fmt: skip

        return await asyncio.gather(*(ask() for _ in range(calls)))


def _word(answer: httpx.Response) -> str:
    if answer.status_code == 200:
        return "200"
    return f"{answer.status_code} {answer.json()['error']['code']}"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog=COMMAND, description=__doc__)
    parser.add_argument("--quick", action="store_true")
    print(json.dumps(run(parser.parse_args().quick), indent=1))
