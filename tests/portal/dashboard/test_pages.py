"""What pages let people do, and whom they refuse."""

import pytest
from django.test import Client

from marketplace import pricing, publishing
from marketplace.models import Listing, Version
from marketplace.pricing import Component
from portal.accounts.models import ApiKey, Membership
from tests.conftest import Cast

pytestmark = [pytest.mark.usefixtures("clean_redis"), pytest.mark.django_db]


@pytest.fixture
def listing(cast: Cast) -> Listing:
    """Acme's published text model on a mixed plan."""
    made = publishing.create_listing(
        cast.acme, by=cast.owner, slug="writer", name="Writer", task="text-generation", summary="Writes."
    )
    made.current_version = Version.objects.create(
        listing=made, number=1, digest="a" * 64, task=made.task, architecture="llama", context_length=128,
        parameter_count=1000, weight_bytes=4000, memory_bytes=8000, state=Version.State.READY, created_by=cast.owner,
    )  # fmt: skip
    made.save()
    component = Component(meter="output_tokens", included=1000, amount=15_000_000, per=1_000_000)
    pricing.create_plan(
        made, by=cast.owner, kind="mixed", name="Standard", slug="standard", monthly_fee=900_000_000,
        components=[component],
    )  # fmt: skip
    publishing.publish(made, by=cast.owner)
    return made


def test_a_visitor_reads_a_listing_with_its_price_but_no_playground(listing: Listing, client: Client) -> None:
    page = client.get("/listings/acme/writer/").content.decode()
    assert "$0.15" in page
    assert "Sign in to try it" in page
    assert "pt_" not in page


def test_an_outsider_sees_no_draft(cast: Cast, listing: Listing) -> None:
    publishing.create_listing(cast.acme, by=cast.owner, slug="draft", name="Draft", task="text-generation")
    assert cast.browser(cast.outsider).get("/listings/acme/draft/").status_code == 404
    assert cast.browser(cast.mate).get("/listings/acme/draft/").status_code == 200
    assert cast.browser(cast.outsider).get("/studio/listings/writer/").status_code == 404


def test_subscribing_opens_the_playground_on_ones_own_account(cast: Cast, listing: Listing) -> None:
    browser = cast.browser(cast.outsider)
    browser.post("/listings/acme/writer/subscribe/", {"plan": "standard"})
    page = browser.get("/listings/acme/writer/").content.decode()
    assert "Bearer pt_" in page
    assert cast.outsider.personal_organisation.subscriptions.filter(ended_at=None).count() == 1


@pytest.mark.parametrize(
    ("has_template", "asked", "endpoint", "other"),
    [
        (True, "", "/v1/chat/completions", "Completion</a>"), (True, "completion", "/v1/completions", "Chat</a>"),
        (True, "image", "/v1/chat/completions", "Completion</a>"), (False, "", "/v1/completions", ""),
        (False, "chat", "/v1/completions", ""),
    ],
)  # fmt: skip
def test_a_text_model_is_tried_as_its_version_allows(
    cast: Cast, listing: Listing, has_template: bool, asked: str, endpoint: str, other: str
) -> None:
    Version.objects.filter(listing=listing).update(report={"facts": {"has_chat_template": has_template}})
    browser = cast.browser(cast.outsider)
    browser.post("/listings/acme/writer/subscribe/", {"plan": "standard"})
    page = browser.get("/listings/acme/writer/", {"mode": asked})
    assert page.context["playground"]["endpoint"] == endpoint
    assert (page.context["playground"]["most_tokens"], page.context["playground"]["usual_tokens"]) == (
        128,
        64,
    )
    shown = page.content.decode()
    assert ('aria-label="How to try it"' in shown, other in shown) == (has_template, True)
    assert ("This model has no chat template" in shown) is not has_template


def test_a_model_without_a_chat_template_is_shown_with_calls_that_it_can_answer(
    listing: Listing, client: Client
) -> None:
    assert "client.chat.completions.create(" in client.get("/listings/acme/writer/api/").content.decode()
    Version.objects.filter(listing=listing).update(report={"facts": {"has_chat_template": False}})
    page = client.get("/listings/acme/writer/api/").content.decode()
    assert "/v1/completions" in page
    assert page.count("client.completions.create(") == 2, "Python and JavaScript"
    assert "answer.choices[0].text" in page
    assert "chat.completions" not in page


def test_a_key_is_shown_once(cast: Cast) -> None:
    browser = cast.browser(cast.owner)
    shown = browser.post("/console/keys/", {"name": "app", "scopes": ["inference"], "expires": "30"})
    assert 'id="secret">mk_' in shown.content.decode()
    assert "no-store" in shown["Cache-Control"]
    key = ApiKey.objects.get(organisation=cast.acme)
    assert key.expires_at is not None
    assert "mk_" not in browser.get("/console/keys/").content.decode()


def test_a_refused_form_keeps_what_was_typed_and_says_why(cast: Cast, listing: Listing) -> None:
    browser = cast.browser(cast.owner)
    fields = {"name": "Second", "slug": "writer", "task": "text-generation"}
    page = browser.post("/studio/new/", fields).content.decode()
    assert "acme has a listing writer already" in page
    assert 'value="Second"' in page


def test_a_typed_price_is_kept_exactly(cast: Cast, listing: Listing) -> None:
    fields = {
        "kind": "paid", "name": "Exact", "monthly_fee": "0", "output_tokens_price": "0.0375",
        "requests_per_minute": 0, "tokens_per_minute": 0, "concurrent_requests": 0,
    }  # fmt: skip
    answer = cast.browser(cast.owner).post("/studio/listings/writer/plans/new/", fields)
    assert answer.status_code == 302, answer.content.decode()
    component = listing.plans.get(slug="exact").versions.get().components.get()
    assert (component.amount, component.per) == (3_750_000, 1_000_000)


def test_a_viewer_may_look_but_not_touch(cast: Cast, listing: Listing) -> None:
    Membership.objects.filter(organisation=cast.acme, user=cast.mate).update(role="viewer")
    browser = cast.browser(cast.mate)
    assert browser.get("/studio/listings/writer/").status_code == 200
    assert browser.get("/studio/listings/writer/edit/").status_code == 403
    assert browser.post("/studio/listings/writer/withdraw/").status_code == 403
    assert Listing.objects.get(pk=listing.pk).is_live


def test_pages_speak_the_readers_language(client: Client) -> None:
    page = client.get("/", headers={"accept-language": "zh-CN,zh;q=0.9"}).content.decode()
    assert '<html lang="zh-hans">' in page
    assert "文本生成" in page
    assert "Explore" not in page


def test_a_csv_of_a_table_follows_its_filters(cast: Cast, listing: Listing) -> None:
    answer = cast.browser(cast.owner).get("/studio/?format=csv&q=nothing")
    assert answer["Content-Type"].startswith("text/csv")
    assert len(answer.content.decode().splitlines()) == 1
