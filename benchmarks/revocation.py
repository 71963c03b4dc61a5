"""How long what has been revoked still works, under load on two web processes.

A revocation's time runs from the answer to it until the last admission anywhere, which is in the id of its usage event:
a change of plan ends one subscription and begins another, and calls are told apart by that. Calls in flight are
measured too: until the last of the streams that ran has been stopped. After a change of plan they go on, under the
terms that they were admitted with.
"""

import argparse
import json
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import httpx
import psycopg

from benchmarks.chaos import market
from benchmarks.chaos.market import METERED, PAID, Market
from benchmarks.results import at_most, row
from tests.stack import Person

COMMAND = "make bench ONLY=revocation"
CALLERS = 8
STREAMS = 4
SECONDS_BEFORE = 2.0
SECONDS_AFTER = 3.0
METER_SECONDS = 3.0


@dataclass
class Seen:
    """How many calls were answered, and when each stream was stopped, in Unix seconds."""

    answered: int = 0
    stopped: list[float] = field(default_factory=list)


@dataclass(frozen=True)
class Scene:
    """Who sells and who calls what by which key, under which subscription."""

    site: Market
    seller: Person
    buyer: Person
    model: str
    key: str
    subscription: str


def revoke_key(scene: Scene) -> None:
    (key,) = scene.buyer.call("GET", "/api/keys/")["results"]
    scene.buyer.call("DELETE", f"/api/keys/{key['id']}/")


def end_subscription(scene: Scene) -> None:
    scene.buyer.call("DELETE", f"/api/subscriptions/{scene.subscription}/")


def change_plan(scene: Scene) -> None:
    scene.buyer.call("PATCH", f"/api/subscriptions/{scene.subscription}/", json={"plan": "metered"})


def withdraw_listing(scene: Scene) -> None:
    scene.seller.call("PUT", f"/api/listings/{scene.model}/withdrawal/", json={"reason": "Measured."})


def suspend_organisation(scene: Scene) -> None:
    """As the operators' pages do, from a process of its own."""
    scene.site.stack.manage(
        "shell", "--no-imports", "-c",
        "from portal.accounts.models import Organisation as O; from portal.kit import clock, epochs; "
        f"o = O.objects.get(slug='{scene.buyer.organisation}'); o.suspended_at = clock.now(); o.save(); "
        "epochs.bump('organisation', o.pk)",
    )  # fmt: skip


REVOCATIONS: tuple[Callable[[Scene], None], ...] = (
    revoke_key, change_plan, end_subscription, withdraw_listing, suspend_organisation,
)  # fmt: skip


def run(quick: bool) -> list[dict[str, Any]]:
    """The longest that anything went on, and the same for calls in flight."""
    with market.opened(consumers=0) as site:
        found = [
            measure(_set(site, revoke.__name__), revoke) for revoke in REVOCATIONS[: 2 if quick else None]
        ]
    admitted, flying = (max(each) for each in zip(*found, strict=True))
    return [
        row("revocation.seconds", admitted, "s", command=COMMAND, better="lower", goal=at_most(1)),
        row("revocation.in_flight_seconds", flying, "s", command=COMMAND, better="lower", goal=at_most(1)),
    ]


def measure(scene: Scene, revoke: Callable[[Scene], None]) -> tuple[float, float]:
    """Seconds until the last admission, and until the last stream was stopped. Raises if one never is."""
    seen, enough = Seen(), threading.Event()
    with ThreadPoolExecutor(CALLERS + STREAMS) as threads:
        callers = [threads.submit(_call_on, scene, seen, enough) for _ in range(CALLERS)]
        streams = [threads.submit(_stream, scene, seen, enough) for _ in range(STREAMS)]
        time.sleep(SECONDS_BEFORE)
        revoke(scene)
        revoked = time.time()
        time.sleep(SECONDS_AFTER)
        enough.set()
        for each in callers + streams:
            each.result(60)
    goes_on = revoke is change_plan
    if not seen.answered or len(seen.stopped) < (0 if goes_on else STREAMS):
        raise RuntimeError(
            f"{revoke.__name__}: {seen.answered} answered, {len(seen.stopped)} streams stopped"
        )
    late = max(0.0, _last_admission(scene) - revoked)
    flying = 0.0 if goes_on else max(0.0, max(seen.stopped) - revoked)
    print(f"  {revoke.__name__}: last admission {late:.3f} s, last stream {flying:.3f} s", flush=True)
    return late, flying


def _last_admission(scene: Scene) -> float:
    """Unix seconds of the subscription's newest call. Every call has ended; the meter gets time to record the last."""
    time.sleep(METER_SECONDS)
    asked = "SELECT max(id::text)::uuid FROM usage_event WHERE subscription_id = %s"
    with psycopg.connect(scene.site.services.database_url) as database:
        found = database.execute(asked, [scene.subscription]).fetchone()
    if not found or found[0] is None:
        raise RuntimeError("no call was recorded")
    return float(found[0].int >> 80) / 1000


def _set(site: Market, name: str) -> Scene:
    seller, buyer = (site.stack.sign_up(f"{role}-{name}@example.com") for role in ("seller", "buyer"))
    folder = site.stack.home.parent / "llama"
    model = market.publish(seller, "writer", "text-generation", folder, [PAID, METERED])
    subscription = buyer.call("POST", "/api/subscriptions/", json={"listing": model, "plan": "standard"})[
        "id"
    ]
    scene = Scene(site, seller, buyer, model, buyer.issue_key(), subscription)
    _ask(httpx.Client(base_url=site.stack.url, timeout=60), scene)
    return scene


def _call_on(scene: Scene, seen: Seen, enough: threading.Event) -> None:
    # A connection for each call, so that both web processes get some.
    while not enough.is_set():
        with httpx.Client(base_url=scene.site.stack.url, timeout=60) as client:
            if _ask(client, scene).status_code == 200:
                seen.answered += 1
            else:
                time.sleep(0.02)


def _ask(client: httpx.Client, scene: Scene) -> httpx.Response:
    return client.post("/v1/chat/completions", headers=_headers(scene), json=_body(scene, tokens=1))


def _stream(scene: Scene, seen: Seen, enough: threading.Event) -> None:
    """Streams one after the other, until one is stopped."""
    asked = _body(scene, tokens=1000) | {"stream": True}
    with httpx.Client(base_url=scene.site.stack.url, timeout=60) as client:
        while not enough.is_set():
            with client.stream("POST", "/v1/chat/completions", headers=_headers(scene), json=asked) as answer:
                if any("error" in line for line in answer.iter_lines()):
                    seen.stopped.append(time.time())
                    return


def _headers(scene: Scene) -> dict[str, str]:
    return {"Authorization": f"Bearer {scene.key}"}


def _body(scene: Scene, *, tokens: int) -> dict[str, Any]:
    return {"model": scene.model, "max_tokens": tokens, "messages": [{"role": "user", "content": "fox"}]}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog=COMMAND, description=__doc__)
    parser.add_argument("--quick", action="store_true")
    print(json.dumps(run(parser.parse_args().quick), indent=1))
