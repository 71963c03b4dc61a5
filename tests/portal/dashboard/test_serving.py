"""Pages say how a version stands, and what each word claims."""

import re
import time

import pytest
from django.test import Client

from inference import protocol, quarantine
from inference.gateway import models
from inference.gateway.lookup import Caller
from inference.protocol import ReplicaState, WorkerState
from marketplace import subscribing
from marketplace.models import Listing
from portal.accounts.models import Organisation
from portal.dashboard import serving
from portal.kit import redis
from tests.conftest import Cast
from tests.portal.dashboard.offers import offer, record_calls

pytestmark = [pytest.mark.usefixtures("clean_redis"), pytest.mark.django_db]


@pytest.fixture
def listing(cast: Cast) -> Listing:
    return offer(cast, "writer", kind="paid", cents=15)


def announce(*replicas: tuple[Listing, str]) -> None:
    """A worker that is alive, with these versions on it."""
    held = tuple(
        ReplicaState(version=hex_of(listing), state=state, memory_bytes=1, slots=1, busy=0)  # type: ignore[arg-type]
        for listing, state in replicas
    )
    worker = WorkerState(
        id="w", host="h", pid=1, device="cpu", memory_bytes=2, free_bytes=1, started_at=time.time(), stopping=False,
        replicas=held,
    )  # fmt: skip
    redis.client().set(protocol.worker_key("w"), protocol.pack(worker))
    redis.client().sadd(protocol.WORKERS, "w")


def hex_of(listing: Listing) -> str:
    assert listing.current_version_id
    return listing.current_version_id.hex


def state_of(listing: Listing) -> str:
    assert listing.current_version
    return serving.standings([listing.current_version])[listing.current_version.pk].state


def test_a_version_is_where_the_workers_have_it(listing: Listing) -> None:
    assert state_of(listing) == "down"
    announce()
    assert state_of(listing) == "cold"
    announce((listing, "loading"))
    assert state_of(listing) == "loading"
    announce((listing, "ready"))
    assert state_of(listing) == "live"


@pytest.mark.parametrize(
    ("answered", "failed", "state"),
    [(0, 2, "live"), (0, 3, "degraded"), (27, 3, "degraded"), (28, 3, "live"), (10, 0, "live")],
)
def test_a_version_that_fails_a_tenth_of_its_calls_is_degraded(
    listing: Listing, answered: int, failed: int, state: str
) -> None:
    announce((listing, "ready"))
    record_calls(listing, answered, minutes_ago=3)
    record_calls(listing, failed, minutes_ago=2, outcome="failed", finish_reason="error")
    assert state_of(listing) == state


def test_old_failures_and_those_of_the_callers_own_making_count_no_more(listing: Listing) -> None:
    announce((listing, "ready"))
    record_calls(listing, 9, minutes_ago=16, outcome="failed", finish_reason="error")
    record_calls(listing, 9, minutes_ago=1, outcome="failed", finish_reason="refused")
    assert state_of(listing) == "live"


def test_one_version_is_not_blamed_for_another(cast: Cast, listing: Listing) -> None:
    other = offer(cast, "other", kind="paid", cents=15)
    announce((listing, "ready"), (other, "ready"))
    record_calls(listing, 3, outcome="failed", finish_reason="error")
    assert (state_of(listing), state_of(other)) == ("degraded", "live")


def test_without_any_worker_failing_calls_do_not_hide_that_it_is_down(listing: Listing) -> None:
    record_calls(listing, 3, outcome="failed", finish_reason="error")
    assert state_of(listing) == "down"


def test_the_page_says_how_many_calls_failed_and_what_degraded_means(
    listing: Listing, client: Client
) -> None:
    announce((listing, "ready"))
    record_calls(listing, 17)
    record_calls(listing, 3, outcome="failed", finish_reason="error")
    page = client.get("/listings/acme/writer/").content.decode()
    assert "Of 20 calls begun in the last 15 minutes 3 failed on our side." in page
    catalogue = client.get("/").content.decode()
    assert catalogue.count("at least 3, and at least one in 10, failed on our side") == 2, "card, legend"


def test_a_version_that_could_not_be_loaded_is_degraded_and_says_so(listing: Listing, client: Client) -> None:
    announce()
    redis.client().set(protocol.load_error_key(hex_of(listing)), "its header is broken", ex=60)
    assert state_of(listing) == "degraded"
    assert (
        "Loading it failed within the last minute." in client.get("/listings/acme/writer/").content.decode()
    )


def test_a_quarantined_version_is_degraded_and_its_provider_sees_why(listing: Listing, cast: Cast) -> None:
    announce((listing, "ready"))
    version = hex_of(listing)
    quarantine.begin(redis.client(), version, kind="engine_failed", detail="index <out> of bounds")
    assert state_of(listing) == "degraded"
    page = Client().get("/listings/acme/writer/").content.decode()
    assert "out of service for a while" in page
    assert "of bounds" not in page, "the detail is for the provider"
    browser = cast.browser(cast.owner)
    studio = browser.get(f"/studio/listings/{listing.slug}/").content.decode()
    assert "out of service" in studio
    report = browser.get(
        f"/studio/listings/{listing.slug}/versions/{listing.current_version.number}/"
    ).content.decode()
    assert "index &lt;out&gt; of bounds" in report
    assert "It happened 1 time of late." in report
    redis.client().zadd(quarantine.INDEX, {version: 1})
    assert state_of(listing) == "live"


def told_by_api(listing: Listing, organisation: Organisation) -> str:
    """What `/v1/models` tells a subscriber."""
    caller = Caller(
        digest=b"", key_id=None, organisation_id=organisation.pk, listing_id=None, user_id=None, expires_at=0
    )
    (described,) = models.describe_all(models.find_callable(caller))
    assert described["id"] == listing.path
    return str(described["status"])


def shown_on_pages(cast: Cast, listing: Listing, client: Client) -> set[str]:
    """The words of the catalogue, the listing's page and both of Studio's."""
    studio = cast.browser(cast.owner)
    pages = [
        client.get("/"), client.get("/listings/acme/writer/"), studio.get("/studio/"),
        studio.get("/studio/listings/writer/"),
    ]  # fmt: skip
    badge = re.compile(r'<span class="badge badge-dot[^"]*" title="[^"]+">(\w+)</span>')
    found = [badge.findall(page.content.decode()) for page in pages]
    assert all(found), found
    return {words[0].lower() for words in found}


def test_every_page_and_the_api_tell_the_same(cast: Cast, listing: Listing, client: Client) -> None:
    buyer = cast.outsider.personal_organisation
    subscribing.subscribe(buyer, listing.plans.get(), by=cast.outsider)

    def assert_told(state: str) -> None:
        assert shown_on_pages(cast, listing, client) == {state}
        assert told_by_api(listing, buyer) == state

    assert_told("down")
    announce()
    assert_told("cold")
    announce((listing, "loading"))
    assert_told("loading")
    announce((listing, "ready"))
    assert_told("live")
    record_calls(listing, 3, outcome="failed", finish_reason="error")
    assert_told("degraded")
