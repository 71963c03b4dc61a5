"""Cells and cards that are drawn without the template language: they escape what people wrote, and are never stale."""

from html import escape

import pytest
from django.test import Client

from marketplace import pricing
from marketplace.models import Figures
from portal.accounts import api_keys
from tests.conftest import Cast
from tests.portal.dashboard.offers import DOLLAR, offer, record_calls

pytestmark = [pytest.mark.usefixtures("clean_redis"), pytest.mark.django_db]

MARKUP = "<i>'\"&amp;"


def test_the_log_escapes_the_names_that_people_gave(cast: Cast) -> None:
    listing = offer(cast, "talker", kind="paid", cents=5)
    mine = cast.outsider.personal_organisation
    key, _ = api_keys.issue(mine, by=cast.outsider, name=MARKUP, scopes=["inference"])
    record_calls(listing, 1, organisation_id=mine.pk, api_key_id=key.pk)

    page = cast.browser(cast.outsider).get("/console/requests/").content.decode()

    assert MARKUP not in page
    # As the cell, its title, and a choice of the filter.
    assert page.count(escape(MARKUP)) == 3


def test_the_log_says_what_was_estimated_and_what_had_no_key(cast: Cast) -> None:
    listing = offer(cast, "talker", kind="paid", cents=5)
    record_calls(listing, 1, organisation_id=cast.outsider.personal_organisation.pk, estimated=True)

    page = cast.browser(cast.outsider).get("/console/requests/").content.decode()

    assert 'href="/listings/acme/talker/">acme/talker</a><span class="faint">:1</span>' in page
    assert ">estimated</abbr>" in page
    assert ">Playground</span>" in page


@pytest.mark.parametrize(("changes", "said"), [
    ({"held": True}, "and 90,000 out"), ({"held": True, "cut": True}, ">cut</abbr>"),
    ({"held": True, "input": None}, "– tokens in"), ({"unseen": 450}, "450 reasoning tokens"),
])  # fmt: skip
def test_the_log_says_what_a_server_reported_and_text_does_not_bear_out(
    cast: Cast, changes: dict[str, int | None], said: str
) -> None:
    listing = offer(cast, "talker", kind="paid", cents=5)
    report = {
        "input": 7,
        "output": 90_000,
        "reasoning": 0,
        "unseen": 0,
        "cut": False,
        "held": False,
    } | changes
    record_calls(listing, 1, organisation_id=cast.outsider.personal_organisation.pk, report=report)

    page = cast.browser(cast.outsider).get("/console/requests/").content.decode()

    assert said in page


def test_a_card_escapes_what_its_provider_wrote(cast: Cast, client: Client) -> None:
    listing = offer(cast, "talker", kind="paid", cents=5)
    listing.summary = MARKUP
    listing.save()

    page = client.get("/").content.decode()

    assert MARKUP not in page
    assert f"<p>{escape(MARKUP)}</p>" in page


def test_a_card_follows_every_change_at_once(cast: Cast, client: Client) -> None:
    listing = offer(cast, "talker", kind="paid", cents=5)
    assert "$0.05" in client.get("/").content.decode()

    dearer = pricing.Component(meter="output_tokens", included=0, amount=7 * DOLLAR, per=1_000_000)
    pricing.revise_plan(listing.plans.get(), by=cast.owner, components=[dearer])
    listing.summary = "Talks a lot."
    listing.licence = "mit"
    listing.save()
    Figures.objects.update(calls=12_345, ttft_ms=77)
    page = client.get("/").content.decode()
    assert "$7.00" in page
    assert "$0.05" not in page
    assert "Talks a lot." in page
    assert "</svg>mit</span>" in page
    assert "</svg>12.3K</span>" in page
    assert "</svg>77 ms</span>" in page

    assert "</svg>文本生成</span>" in client.get("/", headers={"Accept-Language": "zh-hans"}).content.decode()
    assert "</svg>Text generation</span>" in client.get("/").content.decode()
