"""What the demo world was built with is sample history; only calls of others are measured."""

import pytest
from django.test import Client

from billing import measuring
from marketplace.models import Figures, Listing
from tests.conftest import Cast
from tests.portal.dashboard.offers import offer, record_calls

pytestmark = [pytest.mark.usefixtures("clean_redis"), pytest.mark.django_db]
SPEED = {"output_tokens": 101, "ttft_ms": 400, "latency_ms": 1400}


@pytest.fixture
def listing(cast: Cast) -> Listing:
    return offer(cast, "writer", kind="paid", cents=15)


def read(client: Client) -> str:
    return client.get("/listings/acme/writer/performance/").content.decode()


def test_the_demos_history_is_called_sample_and_not_measured(listing: Listing, client: Client) -> None:
    record_calls(listing, 7, demo=True, **SPEED)
    page = read(client)
    assert "Sample history." in page
    assert "7 calls that the demo world made" in page
    assert "Measured on" not in page
    measuring.measure([listing.pk])
    figures = Figures.objects.get(listing=listing)
    assert (figures.speed, figures.ttft_ms) == (None, None)


def test_once_somebody_calls_only_that_is_measured(listing: Listing, client: Client) -> None:
    record_calls(listing, 7, demo=True, **SPEED)
    record_calls(listing, 5, output_tokens=11, ttft_ms=30, latency_ms=1030)
    page = read(client)
    assert "Measured on 5 real calls" in page
    assert "Sample history." not in page
    measuring.measure([listing.pk])
    assert Figures.objects.get(listing=listing).speed == 10


def test_a_providers_own_calls_are_nobodys_measure(listing: Listing, client: Client) -> None:
    record_calls(listing, 9, organisation_id=listing.organisation_id, **SPEED)
    assert "Not called lately" in read(client)
    measuring.measure([listing.pk])
    assert Figures.objects.get(listing=listing).speed is None
