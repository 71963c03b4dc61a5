"""A remote listing for sale, its server, and the stock client."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from inference import tasks
from marketplace import endpoints, publishing
from marketplace.endpoints import Wanted
from marketplace.models import Version
from portal.kit import outbound
from tests.conftest import Cast
from tests.inference.gateway.conftest import Offer, _services, client, gateway, sell
from tests.inference.remote.speaker import KEY, Speaker

__all__ = ["_services", "client", "gateway"]

Remotes = Callable[..., Offer]


@pytest.fixture(autouse=True)
def loopback_allowed(settings: Any) -> None:
    """What an operator does whose providers' servers stand on the same machine."""
    settings.OUTBOUND = outbound.read({"REMOTE_ALLOW": "127.0.0.1"})


@pytest.fixture
def speaker() -> Iterator[Speaker]:
    server = Speaker().start()
    yield server
    server.stop()


def wanted(base_url: str, **more: Any) -> Wanted:
    """An endpoint with a key and room for 1,000 tokens."""
    given = {"model": "up", "context_length": 1000, "max_output_tokens": 100, "api_key": KEY} | more
    return Wanted(base_url=base_url, **given)


@pytest.fixture
def remote(cast: Cast, speaker: Speaker) -> Remotes:
    """Publish the server as the owner, and subscribe the outsider to a plan with the given terms."""

    def make(
        slug: str = "far", *, task: str = "text-generation", spend_cap: int = 10**12,
        endpoint: dict[str, Any] | None = None, **terms: Any,
    ) -> Offer:  # fmt: skip
        listing = publishing.create_listing(cast.acme, by=cast.owner, slug=slug, name=slug, task=task)
        version = endpoints.add_version(
            listing, by=cast.owner, wanted=wanted(speaker.base_url, **(endpoint or {}))
        )
        tasks.try_version(str(version.pk))
        version.refresh_from_db()
        assert version.state == Version.State.READY, version.report
        speaker.asked.clear()
        return sell(cast, version, spend_cap=spend_cap, **terms)

    return make
