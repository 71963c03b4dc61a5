"""A server that fails time after time is left alone, then tried by one call."""

import threading
from dataclasses import dataclass
from typing import Any

import openai
import pytest

from inference.remote.circuit import FAILURES_ALLOWED, FIRST_REST_SECONDS, LONGEST_REST_SECONDS, Circuit
from inference.remote.faults import UpstreamFault
from inference.remote.upstream import EndpointFacts, Upstream
from portal.kit import outbound
from tests.inference.gateway.test_calls import usage_events
from tests.inference.remote.conftest import Remotes
from tests.inference.remote.speaker import Asked, Speaker, send_json
from tests.inference.remote.test_relayed_calls import Clients, ask


@dataclass
class Clock:
    now: float = 100.0

    def __call__(self) -> float:
        return self.now


def opened(clock: Clock) -> Circuit:
    circuit = Circuit(clock=clock)
    for _ in range(FAILURES_ALLOWED):
        assert circuit.enter()
        circuit.fail("It broke.")
    return circuit


def test_failures_in_a_row_open_it_and_a_success_in_between_does_not() -> None:
    circuit = Circuit(clock=Clock())
    for _ in range(3):
        for _ in range(FAILURES_ALLOWED - 1):
            circuit.fail("It broke.")
        circuit.succeed()
    assert (circuit.state, circuit.enter()) == ("closed", True)
    assert opened(Clock()).state == "open"


def test_after_its_rest_one_call_probes_it_and_its_success_closes_it() -> None:
    clock = Clock()
    circuit = opened(clock)
    assert not circuit.enter()
    clock.now += FIRST_REST_SECONDS
    assert circuit.state == "half-open"
    assert [circuit.enter(), circuit.enter()] == [True, False]
    circuit.succeed()
    assert (circuit.state, circuit.enter()) == ("closed", True)


def test_each_failed_probe_doubles_the_rest_up_to_a_minute() -> None:
    clock = Clock()
    circuit = opened(clock)
    rests = []
    for _ in range(9):
        rests.append(circuit.rests_for)
        clock.now += circuit.rests_for
        assert circuit.enter()
        circuit.fail("Still broken.")
    assert rests[:3] == [FIRST_REST_SECONDS, 2 * FIRST_REST_SECONDS, 4 * FIRST_REST_SECONDS]
    assert rests[-1] == LONGEST_REST_SECONDS


def test_a_probe_that_says_nothing_lets_another_try() -> None:
    clock = Clock()
    circuit = opened(clock)
    clock.now += FIRST_REST_SECONDS
    assert circuit.enter()
    circuit.leave()
    assert circuit.enter()


def test_callers_of_a_broken_server_are_turned_away_at_once_and_free_of_charge(
    remote: Remotes, client: Clients, speaker: Speaker
) -> None:
    far = remote()

    async def break_down(server: Speaker, asked: Asked, writer: Any) -> None:
        await send_json(writer, {}, status="500 Internal Server Error")

    speaker.behave = break_down
    stock = client(far)
    for _ in range(FAILURES_ALLOWED):
        with pytest.raises(openai.InternalServerError) as failed:
            ask(stock, far)
        assert failed.value.status_code == 502
    with pytest.raises(openai.InternalServerError) as turned_away:
        ask(stock, far)
    assert (turned_away.value.status_code, turned_away.value.code) == (503, "upstream_unavailable")
    assert int(turned_away.value.response.headers["retry-after"]) >= 1
    assert len(speaker.asked) == len(usage_events()) == FAILURES_ALLOWED


def test_no_more_calls_reach_a_server_at_once_than_it_takes(
    remote: Remotes, client: Clients, speaker: Speaker
) -> None:

    far = remote(endpoint={"concurrency": 1})
    speaker.gate = threading.Event()
    stock = client(far)
    stream = ask(stock, far, stream=True)
    with pytest.raises(openai.InternalServerError) as busy:
        ask(stock, far)
    assert (busy.value.status_code, busy.value.code) == (503, "upstream_unavailable")
    speaker.gate.set()
    assert len(list(stream)) > 1
    assert ask(stock, far).choices[0].message.content == "Hello, world"


def test_a_flood_leaves_slots_of_a_server_to_others() -> None:
    facts = EndpointFacts(
        version="0" * 32,
        base_url="https://example.com/v1",
        model="up",
        max_output_tokens=8,
        concurrency=64,
        key="",
    )
    upstream = Upstream(facts, outbound.read({}))
    for _ in range(56):
        upstream.enter("flood")
    with pytest.raises(UpstreamFault):
        upstream.enter("flood")
    for organisation in ("quiet", "other", "third"):
        upstream.enter(organisation)
    upstream.leave("flood")
    with pytest.raises(UpstreamFault):
        upstream.enter("flood")
    for organisation in ["flood"] * 55 + ["quiet", "other", "third"]:
        upstream.leave(organisation)
    assert upstream.taken == 0
    upstream.enter("flood")
