"""A web process outlives a panic in each of its loops, and refuses what is quarantined before it holds anything."""

import asyncio
from collections.abc import Callable
from typing import Any

import openai
import pytest

from billing.credit import keys
from inference import quarantine
from inference.gateway.relay import Relay
from inference.gateway.roster import Roster
from inference.gateway.watch import Watch
from inference.remote import dialling
from inference.remote.exchange import Exchange
from inference.remote.faults import UpstreamFault
from inference.remote.upstream import EndpointFacts, Upstream
from portal.kit import redis, supervision
from tests.inference.gateway.conftest import await_that
from tests.inference.gateway.test_calls import Clients, Offers, Workers, usage_events
from tests.inference.gateway.test_endings import ask


class Panic(BaseException):
    """As native code raises it: no `Exception`."""


@pytest.mark.parametrize(
    ("owner", "method"),
    [(Relay, "_deliver"), (Watch, "look")],
)  # fmt: skip
def test_a_panic_in_a_loop_costs_no_call(
    offer: Offers, client: Clients, worker: Workers, monkeypatch: pytest.MonkeyPatch, owner: Any, method: str
) -> None:  # fmt: skip
    whole: Callable[..., Any] = getattr(owner, method)
    broken: list[str] = []

    def break_once(self: Any, *arguments: Any) -> Any:
        if not broken:
            broken.append(method)
            raise Panic
        return whole(self, *arguments)

    monkeypatch.setattr(owner, method, break_once)
    monkeypatch.setattr(supervision, "bring_down", pytest.fail)
    tiny = offer()
    worker(tiny, pieces=["well"])
    caller = client(tiny)
    await_that(lambda: ask(caller, tiny).choices[0].message.content == "well")
    await_that(lambda: broken)
    assert ask(caller, tiny).choices[0].message.content == "well"
    assert redis.client().zcard(keys.HOLDS) == 0
    assert len(usage_events()) == 2


def test_a_quarantined_version_is_refused_before_it_costs_anything(
    offer: Offers, client: Clients, worker: Workers, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny, sound = offer(), offer("sound")
    worker(tiny, sound, pieces=["well"])
    assert ask(client(tiny), tiny)
    version = tiny.version.pk.hex
    quarantine.begin(redis.client(), version, kind="engine_failed", detail="secret: /var/weights")

    def refused() -> openai.APIStatusError | None:
        try:
            ask(client(tiny), tiny)
        except openai.APIStatusError as error:
            return error
        return None

    await_that(refused)
    error = refused()
    assert error is not None
    assert (error.status_code, error.code) == (503, "model_quarantined")
    assert "out of service" in error.message
    assert "secret" not in error.message
    assert 0 < int(error.response.headers["retry-after"]) <= quarantine.FIRST_SECONDS
    assert redis.client().zcard(keys.HOLDS) == 0
    assert ask(client(sound), sound), "other versions are served"
    redis.client().zadd(quarantine.INDEX, {version: 1})
    await_that(lambda: refused() is None)


async def test_a_connection_that_cannot_be_made_again_ends_its_call(monkeypatch: pytest.MonkeyPatch) -> None:
    async def dial(*_: Any) -> Any:
        raise Panic

    monkeypatch.setattr(dialling, "dial", dial)
    facts = EndpointFacts(
        version="v", base_url="http://127.0.0.1:1", model="m", max_output_tokens=1, concurrency=1, key=""
    )
    upstream = Upstream(facts, None)  # type: ignore[arg-type]
    exchange = Exchange(whole=True, first=60, between=60, in_all=60, most_bytes=100)
    upstream._ask_again(b"", exchange)
    with pytest.raises(UpstreamFault, match="again"):
        await asyncio.wait_for(exchange.read(), 10)


async def test_the_roster_forgets_a_quarantine_that_is_over() -> None:
    client = redis.new_async_client()
    roster = Roster(client)
    quarantine.begin(redis.client(), "v", kind="template_slow", detail="")
    await roster.refresh()
    found = roster.quarantine_of("v")
    assert found is not None
    assert found.reason == quarantine.REASONS["template_slow"]
    redis.client().delete(quarantine.INDEX)
    await roster.refresh()
    assert roster.quarantine_of("v") is None
    await client.aclose()
