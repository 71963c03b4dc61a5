"""Sums of whole days are shown as days of UTC; those of hours as times in the reader's zone."""

import re

import pytest

from billing.models import DailyUsage, UsageRollup
from marketplace import subscribing
from portal.kit import clock
from tests.conftest import Cast
from tests.portal.dashboard.offers import offer

pytestmark = [pytest.mark.usefixtures("clean_redis"), pytest.mark.django_db]


@pytest.fixture(autouse=True)
def usage(cast: Cast) -> None:
    """A call of today by the outsider."""
    listing = offer(cast, "talker", kind="paid", cents=5)
    mine = cast.outsider.personal_organisation
    subscription = subscribing.subscribe(mine, listing.plans.get(), by=cast.outsider)
    hour = clock.now().replace(minute=0, second=0, microsecond=0)
    whose = {
        "organisation": mine,
        "subscription": subscription,
        "listing": listing,
        "shard": 0,
        "requests": 1,
    }
    UsageRollup.objects.create(hour=hour, version_id=listing.current_version_id, **whose)
    DailyUsage.objects.create(day=hour.replace(hour=0), version_id=listing.current_version_id, **whose)


def test_a_week_is_seven_days_that_no_zone_moves(cast: Cast) -> None:
    page = cast.browser(cast.outsider).get("/console/usage/?range=week").content.decode()
    days = re.findall(r'<time datetime="(\S+)" title="(\S+ UTC)" data-as="day"', page)
    today = f"{clock.now():%Y-%m-%d}"
    assert days[6] == (today, f"{today} UTC")
    assert "Day (UTC)" in page
    assert '"scale": "day"' in page
    assert '"scale": "time"' not in page


def test_a_day_is_twenty_four_hours_in_the_readers_zone(cast: Cast) -> None:
    page = cast.browser(cast.outsider).get("/console/usage/?range=day").content.decode()
    assert '"scale": "time"' in page
    assert 'data-as="day"' not in page
