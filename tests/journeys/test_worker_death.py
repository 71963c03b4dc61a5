"""Workers die, arrive and leave: callers learn at once, pay nothing, and nothing leaks."""

import os
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import openai
import pytest
import redis

from inference import protocol
from tests.journeys import processes
from tests.journeys.conftest import Market, subscribe
from tests.stack import ROOT, Person, Stack

pytestmark = pytest.mark.stack
STORY = [{"role": "user", "content": "tell me a long story"}]


@pytest.fixture
def reader(market: Market) -> Person:
    person = market.stack.sign_up(f"reader-{uuid.uuid4().hex}@example.com")
    subscribe(person, market.text, "standard")
    return person


def services(stack: Stack) -> dict[str, str]:
    """The running site's own URLs."""
    code = "import os; print(os.environ['DATABASE_URL']); print(os.environ['REDIS_URL'])"
    lines = stack.manage("shell", "--no-imports", "-c", code).strip().splitlines()
    return {"DATABASE_URL": lines[-2], "REDIS_URL": lines[-1]}


def leaks(client: "redis.Redis[bytes]") -> dict[str, object]:
    """What Redis keeps of calls: none of it when no call runs."""
    leases = {
        key: {field: held for field, held in client.hgetall(key).items() if field.endswith(b":h")}
        for key in client.scan_iter("lease:*", count=1000)
    }
    assert any(leases.values()), "no lease says what it holds"
    found = {
        "holds": list(client.scan_iter("hold:*", count=1000)),
        "deadlines": client.zcard("holds"),
        "live calls": list(client.scan_iter("live:*", count=1000)),
        "held units": [key for key, held in leases.items() if any(map(int, held.values()))],
        "payloads": list(client.scan_iter("inference:payload:*", count=1000)),
    }
    return {what: left for what, left in found.items() if left}


def assert_nothing_leaks(stack: Stack) -> None:
    """Within seconds of the last answer."""
    client = redis.Redis.from_url(services(stack)["REDIS_URL"])
    deadline = time.monotonic() + 5
    while (left := leaks(client)) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not left, "calls are over and leave these behind"


def await_workers(stack: Stack, count: int) -> None:
    """Until that many workers renew their leases."""
    client = redis.Redis.from_url(services(stack)["REDIS_URL"])
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if len(list(client.scan_iter(protocol.worker_key("*"), count=1000))) >= count:
            return
        time.sleep(0.2)
    raise AssertionError(f"fewer than {count} workers after a minute")


@contextmanager
def another_worker(stack: Stack) -> Iterator["subprocess.Popen[bytes]"]:
    """A second worker on this machine, as one would start it on another."""
    environment = os.environ | services(stack) | {"MERCATO_HOME": str(stack.home), "PORT": str(stack.port)}
    with (stack.home / "second-worker.log").open("ab") as log:
        worker = subprocess.Popen(
            [sys.executable, "manage.py", "worker"], cwd=ROOT, env=environment, stdout=log, stderr=log
        )
    try:
        await_workers(stack, 2)
        yield worker
    finally:
        if worker.poll() is None:
            worker.terminate()
        worker.wait(60)


def await_load(client: "redis.Redis[bytes]", process: "subprocess.Popen[bytes]") -> None:
    """Until that worker says that calls run on it."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        leases = filter(None, map(client.get, client.scan_iter(protocol.worker_key("*"), count=1000)))
        states = [protocol.read_worker_state(lease) for lease in leases]
        mine = [state for state in states if state.pid == process.pid]
        if any(replica.busy for state in mine for replica in state.replicas):
            return
        time.sleep(0.05)
    raise AssertionError("the worker has had no call in a minute")


def stream(person: Person, model: str, *, tokens: int):
    return person.client().chat.completions.create(
        model=model, messages=STORY, max_tokens=tokens, temperature=0, stream=True
    )


def test_kill_9_of_the_worker_in_mid_stream(market: Market, reader: Person) -> None:
    subscribe(reader, market.slow, "standard")
    answer = stream(reader, market.slow, tokens=900)
    for _ in range(8):
        next(answer)
    processes.find_worker(market.stack).kill()
    killed = time.monotonic()
    with pytest.raises(openai.APIError) as failure:
        list(answer)
    assert time.monotonic() - killed < 5
    assert "worker" in failure.value.message
    assert "charged" in failure.value.message

    market.stack.await_ready()
    text = reader.client().chat.completions.create(model=market.text, messages=STORY, max_tokens=5)
    assert text.usage.completion_tokens == 5

    deadline = time.monotonic() + 10
    while len(log := reader.call("GET", "/api/requests/")["results"]) < 2 and time.monotonic() < deadline:
        time.sleep(0.1)
    outcomes = {entry["outcome"]: entry for entry in log}
    assert set(outcomes) == {"failed", "succeeded"}
    assert outcomes["failed"]["charge"]["amount"] == 0
    assert reader.call("GET", "/api/usage/")["totals"]["output_tokens"] == 5

    assert_nothing_leaks(market.stack)


@contextmanager
def steady_load(client: openai.OpenAI, model: str, *, tokens: int) -> Iterator[None]:
    """Two hundred callers who call again and again; every call must be answered in full."""
    enough = threading.Event()

    def call_on(_: int) -> set[int]:
        counted = set()
        while not enough.is_set():
            answer = client.chat.completions.create(model=model, messages=STORY, max_tokens=tokens)
            counted.add(answer.usage.completion_tokens)
        return counted

    with ThreadPoolExecutor(200) as pool:
        callers = [pool.submit(call_on, index) for index in range(200)]
        try:
            yield
        finally:
            enough.set()
        assert set.union(*(caller.result() for caller in callers)) == {tokens}


def test_two_workers_share_a_version_and_serve_two(market: Market, reader: Person) -> None:
    subscribe(reader, market.slow, "standard")
    client = reader.client()
    leases = redis.Redis.from_url(services(market.stack)["REDIS_URL"])
    with another_worker(market.stack) as second:
        with steady_load(client, market.slow, tokens=100):
            await_load(leases, second)
            other = client.chat.completions.create(model=market.text, messages=STORY, max_tokens=3)
        assert other.usage.completion_tokens == 3
        deadline = time.monotonic() + 10
        workers: set[str] = set()
        while time.monotonic() < deadline and len(workers) < 2:
            log = reader.call("GET", "/api/requests/", params={"limit": 200})["results"]
            workers = {entry["worker"] for entry in log if entry["model"] == market.slow}
    assert len(workers) == 2, "one worker did all the work"


def test_a_worker_that_is_told_to_stop_drops_no_call(market: Market, reader: Person) -> None:
    subscribe(reader, market.slow, "standard")
    leases = redis.Redis.from_url(services(market.stack)["REDIS_URL"])
    with another_worker(market.stack) as second:
        with steady_load(reader.client(), market.slow, tokens=25):
            await_load(leases, second)
            second.terminate()
        assert second.wait(60) == 0
