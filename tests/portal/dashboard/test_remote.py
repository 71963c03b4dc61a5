"""A provider sells a server of their own in the browser: tried, added, watched, its key replaced."""

from collections.abc import Iterator
from typing import Any

import pytest

from inference import tasks
from inference.remote import health
from inference.remote.health import Health
from marketplace import endpoints, publishing
from marketplace.models import Endpoint, EndpointTrial, Listing, Version
from portal.dashboard import metrics, serving
from portal.kit import outbound, redis
from tests.conftest import Cast
from tests.inference.remote.speaker import KEY, Asked, Speaker, send_json

pytestmark = [pytest.mark.usefixtures("clean_redis"), pytest.mark.django_db]


@pytest.fixture(autouse=True)
def loopback_allowed(settings: Any) -> None:
    settings.OUTBOUND = outbound.read({"REMOTE_ALLOW": "127.0.0.1"})


@pytest.fixture
def speaker() -> Iterator[Speaker]:
    server = Speaker().start()
    yield server
    server.stop()


@pytest.fixture
def listing(cast: Cast) -> Listing:
    return publishing.create_listing(cast.acme, by=cast.owner, slug="far", name="Far", task="text-generation")


def typed(speaker: Speaker, **more: Any) -> dict[str, Any]:
    return {
        "base_url": speaker.base_url, "model": "up", "api_key": KEY, "context_length": 1000, "max_output_tokens": 100,
        "concurrency": 4, "notes": "",
    } | more  # fmt: skip


def add(cast: Cast, speaker: Speaker, listing: Listing) -> Version:
    browser = cast.browser(cast.owner)
    answer = browser.post("/studio/listings/far/endpoint/", typed(speaker))
    assert answer.status_code == 302, answer.content.decode()
    version = listing.versions.get()
    tasks.try_version(str(version.pk))
    version.refresh_from_db()
    return version


def tried(cast: Cast) -> str:
    """What the page shows once `jobs` has made the call."""
    tasks.try_next()
    path = f"/studio/listings/far/endpoint/trials/{EndpointTrial.objects.get().pk}/"
    return cast.browser(cast.owner).get(path).content.decode()


def test_a_trial_makes_one_tiny_call_keeps_nothing_and_shows_what_came_back(
    cast: Cast, speaker: Speaker, listing: Listing
) -> None:
    answer = cast.browser(cast.owner).post("/studio/listings/far/endpoint/", typed(speaker, **{"try": "1"}))
    assert "Waiting for its turn" in answer.content.decode()
    assert not speaker.asked, "no request of the web makes the call"
    page = tried(cast)
    assert "Hello, world" in page
    assert "7 in, 3 out" in page
    assert KEY not in page
    assert [asked.body["max_tokens"] for asked in speaker.asked] == [8]
    assert not listing.versions.exists()
    assert EndpointTrial.objects.get().sealed_key == ""
    path = f"/studio/listings/far/endpoint/trials/{EndpointTrial.objects.get().pk}/"
    assert cast.browser(cast.outsider).get(path).status_code == 404


def test_a_trial_that_fails_says_what_to_do(cast: Cast, speaker: Speaker, listing: Listing) -> None:
    async def refuse(server: Speaker, asked: Asked, writer: Any) -> None:
        await send_json(writer, {"error": "zanzibar"}, status="401 Unauthorized")

    speaker.behave = refuse
    browser = cast.browser(cast.owner)
    answer = browser.post(
        "/studio/listings/far/endpoint/", typed(speaker, **{"try": "1"}), headers={"HX-Request": "true"}
    )
    assert "Waiting for its turn" in answer.content.decode()
    page = tried(cast)
    assert "status 401" in page
    assert "Check the base URL" in page
    assert "zanzibar" not in page
    wrong = browser.post("/studio/listings/far/endpoint/", typed(speaker, base_url="http://10.0.0.1/v1"))
    assert "must be https" in wrong.content.decode()


def test_an_added_endpoint_becomes_a_version_that_its_page_describes(
    cast: Cast, speaker: Speaker, listing: Listing
) -> None:
    version = add(cast, speaker, listing)
    assert version.state == Version.State.READY
    page = cast.browser(cast.mate).get("/studio/listings/far/versions/1/").content.decode()
    assert speaker.base_url in page
    assert "reports its usage" in page
    assert KEY not in page
    studio = cast.browser(cast.owner).get("/studio/listings/far/").content.decode()
    assert "remote" in studio


def test_the_key_is_replaced_on_the_versions_page(cast: Cast, speaker: Speaker, listing: Listing) -> None:
    version = add(cast, speaker, listing)
    path = "/studio/listings/far/versions/1/endpoint-key/"
    assert cast.browser(cast.outsider).post(path, {"api_key": "stolen"}).status_code == 404
    assert cast.browser(cast.owner).post(path, {"api_key": "another"}).status_code == 302
    assert endpoints.reveal_key(Endpoint.objects.get(version=version)) == "another"


def test_a_server_that_is_left_alone_is_down_on_every_page(
    cast: Cast, speaker: Speaker, listing: Listing
) -> None:
    version = add(cast, speaker, listing)
    assert serving.standings([version])[version.pk].state == "live"
    said = Health(
        state="open", failures=7, fault="The server answered with status 500.", in_flight=2, concurrency=4
    )
    for command in health.commands(version.pk.hex, "web", said):
        redis.client().execute_command(*command)
    standing = serving.standings([version])[version.pk]
    assert (standing.state, "fails" in standing.meaning) == ("down", True)
    page = cast.browser(cast.owner).get("/studio/listings/far/versions/1/").content.decode()
    assert "The server answered with status 500." in page
    scraped = metrics.render().decode()
    assert f'mercato_remote_up{{version="{version.pk}"}} 0.0' in scraped
    assert f'mercato_remote_failures{{version="{version.pk}"}} 7.0' in scraped
