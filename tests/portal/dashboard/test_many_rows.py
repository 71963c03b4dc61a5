"""However much there is, a page asks the database the same number of questions, and charts show the same."""

from collections.abc import Callable
from datetime import timedelta

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from billing import usage
from billing.models import DailyUsage, EarnedDay, UsageRollup
from inference.gateway.lookup import Caller
from inference.gateway.models import describe_all, find_callable
from marketplace.models import Version
from portal.accounts import api_keys
from portal.kit import clock
from tests.billing.shop import Shop, open_shop
from tests.conftest import Cast
from tests.portal.dashboard.offers import record_calls

pytestmark = [pytest.mark.usefixtures("clean_redis"), pytest.mark.django_db]


def sell(cast: Cast, slug: str, *, charge: int) -> Shop:
    """Acme sells the outsider one more model, which one more key calls now and did yesterday."""
    mine = cast.outsider.personal_organisation
    shop = open_shop(
        provider=cast.acme, consumer=mine, slug=slug, components={"output_tokens": (0, 1_000, 1)}
    )
    key, _ = api_keys.issue(mine, by=cast.outsider, name=f"key {slug}", scopes=["inference"])
    for back in (0, 1):
        hour = clock.now().replace(minute=0, second=0, microsecond=0) - timedelta(days=back)
        sums = {
            "organisation": mine, "subscription": shop.subscription, "listing": shop.listing, "version": shop.version,
            "shard": 0, "requests": 1, "output_tokens": charge, "charge": charge, "commission": charge // 10, "api_key": key,
        }  # fmt: skip
        UsageRollup.objects.create(hour=hour, **sums)
        DailyUsage.objects.create(day=hour.replace(hour=0), **sums)
        EarnedDay.objects.create(
            listing=shop.listing,
            day=hour.replace(hour=0),
            currency="USD",
            requests=1,
            charge=charge,
            commission=charge // 10,
        )
    shop.version.state = Version.State.READY
    shop.version.save()
    shop.listing.current_version = shop.version
    shop.listing.published_at = clock.now()
    shop.listing.save()
    record_calls(shop.listing, 3, organisation_id=mine.pk, api_key_id=key.pk)
    record_calls(shop.listing, 1, organisation_id=mine.pk, outcome="failed")
    return shop


@pytest.fixture
def grow(cast: Cast) -> Callable[[], None]:
    """Five more models, keys and so on."""
    made = iter(range(100))

    def sell_five() -> None:
        for _ in range(5):
            sell(cast, f"model-{next(made)}", charge=100)

    return sell_five


@pytest.mark.parametrize(
    "address",
    [
        *(f"/console/usage/?range={span}&by={by}" for span in ("day", "quarter") for by in ("model", "key")),
        "/console/usage/?format=csv", "/console/requests/", "/console/requests/?outcome=failed",
        "/studio/earnings/?range=day", "/studio/earnings/?range=quarter", "/api/requests/", "/api/listings/",
        "/api/listings/?sort=newest", "/",
    ],
)  # fmt: skip
def test_more_rows_take_no_more_queries(cast: Cast, grow: Callable[[], None], address: str) -> None:
    owner = cast.owner if "studio" in address else cast.outsider
    browser = cast.browser(owner)

    def ask() -> tuple[int, int]:
        with CaptureQueriesContext(connection) as asked:
            answer = browser.get(address)
        assert answer.status_code == 200
        return len(asked), len(answer.content if not answer.streaming else b"".join(answer))

    grow()
    ask()
    few, small = ask()
    grow()
    many, large = ask()
    assert large > small, "the new rows are not on the page"
    assert many == few


def test_more_models_take_no_more_queries(cast: Cast, grow: Callable[[], None]) -> None:
    mine = cast.outsider.personal_organisation.pk
    caller = Caller(
        digest=b"", key_id=None, organisation_id=mine, listing_id=None, user_id=None, expires_at=0
    )

    def ask() -> tuple[int, int]:
        with CaptureQueriesContext(connection) as asked:
            found = describe_all(find_callable(caller))
        return len(asked), len(found)

    grow()
    few, five = ask()
    grow()
    many, ten = ask()
    assert (five, ten) == (5, 10)
    assert many == few


def test_a_chart_shows_three_groups_and_the_rest_as_one(cast: Cast) -> None:
    for number, charge in enumerate((700, 600, 500, 40, 30, 2)):
        sell(cast, f"m{number}", charge=charge)
    browser: Client = cast.browser(cast.outsider)
    context = browser.get("/console/usage/?range=quarter").context
    tokens = next(chart for chart in context["charts"] if chart.name == "tokens")
    sums = {series.label: sum(series.values) for series in tokens.series}
    assert sums == {"acme/m0": 1400, "acme/m1": 1200, "acme/m2": 1000, "others": 144}
    assert tokens.series[0].values[-2:] == [700, 700]
    assert (context["totals"].requests, context["totals"].charge.amount) == (12, 3744)


def test_calls_without_a_key_are_a_line_of_their_own(cast: Cast) -> None:
    shop = sell(cast, "model", charge=50)
    hour = clock.now().replace(minute=0, second=0, microsecond=0)
    sums = {
        "organisation": shop.consumer, "subscription": shop.subscription, "listing": shop.listing, "version": shop.version,
        "shard": 0, "requests": 7,
    }  # fmt: skip
    UsageRollup.objects.create(hour=hour, **sums)
    DailyUsage.objects.create(day=hour.replace(hour=0), **sums)
    charts = cast.browser(cast.outsider).get("/console/usage/?by=key").context["charts"]
    sums = {series.label: sum(series.values) for series in charts[0].series}
    assert sums == {"Playground": 7, "key model": 1}


def test_the_log_goes_on_from_recent_calls_to_those_of_long_ago(cast: Cast) -> None:
    shop = sell(cast, "model", charge=1)
    mine = shop.consumer
    record_calls(shop.listing, 60, days_ago=1, organisation_id=mine.pk)
    record_calls(shop.listing, 70, days_ago=40, organisation_id=mine.pk)
    browser, address, seen = cast.browser(cast.outsider), "/console/requests/", []
    while address:
        table = browser.get(address).context["table"]
        seen += [row.pk for row in table.page]
        address = f"/console/requests/{table.next_url}" if table.next_url else ""
    assert len(seen) == 4 + 60 + 70
    assert seen == sorted(seen, reverse=True)
    told, cursor = [], None
    while not told or cursor:
        page = usage.request_log(mine, cursor=cursor, limit=25)
        told, cursor = told + [row.pk for row in page.rows], page.next_cursor
    assert told == seen
