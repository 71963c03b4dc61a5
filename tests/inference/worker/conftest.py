"""Tiny published versions, a subscriber, and worker processes that end with the test."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from benchmarks.shop import store
from marketplace import pricing, publishing, subscribing
from marketplace.models import Plan, Subscription, Version
from tests.conftest import Cast
from tests.inference.worker.caller import Caller
from tests.inference.worker.worker_process import RunningWorker, start_worker
from tests.tiny_models import write_llama

METERS = {"text-generation": "output_tokens", "feature-extraction": "input_tokens"}


@dataclass(frozen=True)
class Offer:
    """A published version and a subscription to it."""

    version: Version
    subscription: Subscription

    def caller(self) -> Caller:
        return Caller(self.subscription)


@pytest.fixture(autouse=True)
def real_services(transactional_db: None, clean_redis: None) -> None:
    """Committed rows, since worker processes read them, and an empty Redis."""


@pytest.fixture
def offer(cast: Cast, tmp_path: Path) -> Callable[..., Offer]:
    """Publish a directory, by default a tiny endless Llama, as the owner; subscribe the outsider."""

    def make(
        name: str = "tiny", *, directory: Path | None = None, seed: int = 0, task: str = "text-generation"
    ) -> Offer:
        directory = directory or write_llama(tmp_path / name, seed=seed)
        listing = publishing.create_listing(cast.acme, by=cast.owner, slug=name, name=name, task=task)
        version = publishing.add_version(listing, by=cast.owner, files=store(directory))
        version = publishing.record_trial(version.pk, ok=True)
        assert version.state == Version.State.READY, version.report
        plan = pricing.create_plan(
            listing, by=cast.owner, kind=Plan.Kind.PAID, name="Paid", slug="paid",
            components=[pricing.Component(meter=METERS[task], amount=1_000_000, per=1000)],
        )  # fmt: skip
        publishing.publish(listing, by=cast.owner)
        subscription = subscribing.subscribe(
            cast.outsider.personal_organisation, plan, by=cast.outsider, spend_cap=10**9
        )
        return Offer(version, subscription)

    return make


@pytest.fixture
def workers(tmp_path: Path) -> Iterator[Callable[..., RunningWorker]]:
    """Start workers; those still running are killed at the end."""
    running: list[RunningWorker] = []

    def start(**options: int) -> RunningWorker:
        # First noted, then awaited: one that never registers has to be killed too.
        running.append(start_worker(tmp_path, **options))
        running[-1].await_registered()
        return running[-1]

    yield start
    for worker in running:
        if worker.process.poll() is None:
            worker.kill()
