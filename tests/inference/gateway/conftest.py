"""A shop with tiny versions, a served gateway, a stand-in worker and the stock client."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import openai
import pytest
import uvicorn

from benchmarks.shop import store
from benchmarks.stand_in import StandIn
from marketplace import pricing, publishing, subscribing
from marketplace.models import Listing, Plan, Subscription, Version
from portal.accounts import api_keys
from portal.accounts.models import ApiKey, User
from portal.asgi import compose
from portal.kit import redis
from tests.conftest import Cast
from tests.tiny_models import write_bert, write_llama

# Micro-minor units for a thousand.
PRICES = {
    "text-generation": {"input_tokens": 1_000_000, "output_tokens": 2_000_000},
    "feature-extraction": {"input_tokens": 1_000_000},
    "image-classification": {"images": 1_000_000},
}


@dataclass(frozen=True)
class Offer:
    """A published version, and the outsider's subscription and key to it."""

    version: Version
    listing: Listing
    subscription: Subscription
    key: ApiKey
    key_text: str
    buyer: User

    @property
    def name(self) -> str:
        return self.listing.path


@pytest.fixture(autouse=True)
def _services(transactional_db: None, clean_redis: None) -> None:
    """Committed rows, since the gateway reads them on threads of its own, and an empty Redis."""


@pytest.fixture(scope="session")
def directories(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("versions")
    return {
        "text-generation": write_llama(folder / "llama"),
        "feature-extraction": write_matryoshka(folder / "bert"),
        "image-classification": write_convnet(folder / "convnet"),
    }


def write_matryoshka(directory: Path) -> Path:
    """A sentence-embedding version whose 32 numbers may be cut to 8."""
    config = write_bert(directory) / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"matryoshka_dimensions": [8, 32]}))
    return directory


def write_convnet(directory: Path) -> Path:
    """A digits classifier with random weights."""
    from safetensors.torch import save_file

    from inference.engines.batch.convnet import ConvNetConfig, MercatoConvNet

    directory.mkdir()
    config = ConvNetConfig(conv_channels=(4, 4), hidden_size=8)
    save_file(MercatoConvNet(config).state_dict(), directory / "model.safetensors")
    (directory / "config.json").write_text(json.dumps(config.to_json()))
    (directory / "preprocessor_config.json").write_text(json.dumps({"size": {"height": 8, "width": 8}}))
    card = "---\nlicense: apache-2.0\npipeline_tag: image-classification\n---\n# Digits\n"
    (directory / "README.md").write_text(card)
    return directory


def sell(cast: Cast, version: Version, *, spend_cap: int = 10**12, **terms: Any) -> Offer:
    """Publish the owner's version at `PRICES`, and subscribe the outsider to a plan with the given terms."""
    listing = version.listing
    priced = [
        pricing.Component(meter=meter, amount=amount, per=1000)
        for meter, amount in PRICES[listing.task].items()
    ]
    plan = pricing.create_plan(
        listing, by=cast.owner, kind=Plan.Kind.PAID, name="Paid", slug="paid", components=priced, **terms
    )
    publishing.publish(listing, by=cast.owner)
    buyer = cast.outsider
    subscription = subscribing.subscribe(buyer.personal_organisation, plan, by=buyer, spend_cap=spend_cap)
    key, text = api_keys.issue(buyer.personal_organisation, by=buyer, name="test", scopes=["inference"])
    listing.refresh_from_db()
    return Offer(version, listing, subscription, key, text, buyer)


@pytest.fixture
def offer(cast: Cast, directories: dict[str, Path]) -> Callable[..., Offer]:
    """Publish a tiny version as the owner, and subscribe the outsider to a plan with the given terms."""

    def make(
        slug: str = "tiny", *, task: str = "text-generation", spend_cap: int = 10**12, **terms: Any
    ) -> Offer:
        listing = publishing.create_listing(cast.acme, by=cast.owner, slug=slug, name=slug, task=task)
        version = publishing.add_version(listing, by=cast.owner, files=store(directories[task]))
        version = publishing.record_trial(version.pk, ok=True)
        return sell(cast, version, spend_cap=spend_cap, **terms)

    return make


@pytest.fixture
def gateway() -> Iterator[str]:
    """The served data plane's base URL, as `portal.asgi` composes it."""
    server = uvicorn.Server(
        uvicorn.Config(compose(), port=0, log_level="warning", lifespan="on", timeout_graceful_shutdown=3)
    )
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        assert thread.is_alive(), "the gateway did not start"
        time.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    yield f"http://127.0.0.1:{port}/v1"
    server.should_exit = True
    thread.join(30)
    assert not thread.is_alive(), "the gateway did not stop"


@pytest.fixture
def client(gateway: str) -> Callable[..., openai.OpenAI]:
    """Stock clients that never retry, so that tests see every answer."""
    return lambda offer: openai.OpenAI(base_url=gateway, api_key=offer.key_text, max_retries=0, timeout=120)


@pytest.fixture
def worker() -> Iterator[Callable[..., StandIn]]:
    """Start stand-in workers; `pieces` None leaves calls open until the test ends them."""
    started: list[StandIn] = []

    def start(*offers: Offer, pieces: list[str] | None = None, **options: Any) -> StandIn:
        versions = [offer.version.pk.hex for offer in offers]
        started.append(StandIn(redis.client(), versions, lambda _: pieces, **options).start())
        return started[-1]

    yield start
    for each in started:
        each.stop()


def await_that(holds: Callable[[], Any], *, seconds: float = 15) -> None:
    """Poll until `holds()`."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, f"not within {seconds} s"
        time.sleep(0.02)
