"""One running site for all journeys of a session, with three published listings."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests import tiny_models
from tests.stack import Person, Stack

DOLLAR = 100_000_000


@dataclass(frozen=True)
class Market:
    """A provider with published listings, and a consumer subscribed to them."""

    stack: Stack
    provider: Person
    consumer: Person
    text: str
    slow: str
    embedding: str
    tight: str


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    # Providers' own servers of these journeys stand on this machine.
    site = Stack(tmp_path_factory.mktemp("stack"), environment={"REMOTE_ALLOW": "127.0.0.1"}).start()
    yield site
    assert site.stop() == 0, site.log[-4000:]


def publish(provider: Person, slug: str, task: str, directory: Path, plan: dict[str, object]) -> str:
    """A published listing with one plan; its `owner/slug`."""
    provider.call("POST", "/api/listings/", json={"slug": slug, "name": slug.title(), "task": task})
    listing = f"{provider.organisation}/{slug}"
    version = provider.upload(listing, directory)
    assert version["state"] == "ready", version
    heading = {name: plan[name] for name in ("slug", "name", "kind")}
    terms = {name: value for name, value in plan.items() if name not in heading}
    provider.call("POST", f"/api/listings/{listing}/plans/", json={**heading, "terms": terms})
    provider.call("PUT", f"/api/listings/{listing}/publication/")
    return listing


def subscribe(consumer: Person, listing: str, plan: str, **more: object) -> str:
    """The id of a new subscription."""
    wish = {"listing": listing, "plan": plan, **more}
    made: str = consumer.call("POST", "/api/subscriptions/", json=wish)["id"]
    return made


MIXED = {
    "slug": "standard",
    "name": "Standard",
    "kind": "mixed",
    "monthly_fee": 5 * DOLLAR,
    "spend_cap": 50 * DOLLAR,
    "components": [
        {"meter": "input_tokens", "included": 1000, "amount": 3 * DOLLAR, "per": 1_000_000},
        {"meter": "output_tokens", "included": 500, "amount": 7 * DOLLAR, "per": 1_000_000},
    ],
}
FREE = {
    "slug": "free",
    "name": "Free",
    "kind": "free",
    "components": [{"meter": "input_tokens", "included": 1_000_000, "amount": None, "per": 1}],
}
TIGHT = {
    "slug": "tight",
    "name": "Tight",
    "kind": "free",
    "components": [{"meter": "output_tokens", "included": 40, "amount": None, "per": 1}],
}


@pytest.fixture(scope="session")
def market(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Market:
    models = tmp_path_factory.mktemp("models")
    provider, consumer = stack.sign_up("provider@example.com"), stack.sign_up("consumer@example.com")
    llama, bert = tiny_models.write_llama(models / "llama"), tiny_models.write_bert(models / "bert")
    text = publish(provider, "tiny-writer", "text-generation", llama, MIXED)
    large = tiny_models.write_llama(models / "large", layers=6, width=256)
    slow = publish(provider, "slow-writer", "text-generation", large, MIXED)
    embedding = publish(provider, "tiny-embedder", "feature-extraction", bert, FREE)
    tight = publish(provider, "tight-writer", "text-generation", llama, TIGHT)
    subscribe(consumer, text, "standard")
    subscribe(consumer, embedding, "free")
    subscribe(consumer, tight, "tight")
    return Market(stack, provider, consumer, text, slow, embedding, tight)
