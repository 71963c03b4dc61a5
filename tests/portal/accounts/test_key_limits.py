"""Who limits keys, through which doors, and what is no limit."""

from typing import Any

import pytest

from portal.accounts import api_keys, key_limits
from portal.accounts.key_limits import KeyLimits
from portal.accounts.models import ApiKey, Membership, Role
from portal.kit import epochs
from portal.kit.errors import Invalid, NotAllowed, NotFound
from tests.conftest import Cast, make_user

pytestmark = [pytest.mark.usefixtures("clean_redis"), pytest.mark.django_db]


@pytest.fixture
def key(cast: Cast) -> ApiKey:
    return api_keys.issue(cast.acme, by=cast.owner, name="app", scopes=["inference"])[0]


def test_changed_limits_move_the_keys_epoch(
    cast: Cast, key: ApiKey, django_capture_on_commit_callbacks
) -> None:
    with django_capture_on_commit_callbacks(execute=True):
        key_limits.change(cast.acme, by=cast.mate, key_id=key.pk, limits=KeyLimits(daily_budget=5))
    key.refresh_from_db()
    assert key.daily_budget == 5
    assert epochs.read([epochs.name("key", key.pk)]) == [1]


def test_outsiders_and_viewers_change_no_limits(cast: Cast, key: ApiKey) -> None:
    viewer = make_user("viewer")
    Membership.objects.create(organisation=cast.acme, user=viewer, role=Role.VIEWER)
    with pytest.raises(NotAllowed):
        key_limits.change(cast.acme, by=viewer, key_id=key.pk, limits=KeyLimits())
    theirs = cast.outsider.personal_organisation
    with pytest.raises(NotFound):
        key_limits.change(theirs, by=cast.outsider, key_id=key.pk, limits=KeyLimits())


@pytest.mark.parametrize(
    "odd", [{"total_budget": -1}, {"daily_budget": 10**15 + 1}, {"requests_per_minute": 2**31},
            {"concurrent_requests": -1}, {"budget_currency": "dollars"}],
)  # fmt: skip
def test_odd_limits_are_refused(cast: Cast, odd: dict[str, Any]) -> None:
    with pytest.raises(Invalid):
        api_keys.issue(cast.acme, by=cast.owner, name="a", scopes=["inference"], limits=KeyLimits(**odd))
    assert not ApiKey.objects.exists()


def test_the_api_makes_shows_and_changes_limits(cast: Cast) -> None:
    browser = cast.browser(cast.owner)
    asked = {"name": "app", "scopes": ["inference"], "requests_per_minute": 60, "monthly_budget": 500}
    made = browser.post("/api/keys/", asked, content_type="application/json")
    assert made.status_code == 201, made.content
    address = f"/api/keys/{made.json()['id']}/"
    changed = browser.patch(
        address, {"monthly_budget": None, "total_budget": 0}, content_type="application/json"
    )
    assert changed.status_code == 200, changed.content
    shown = browser.get(address).json()
    assert {name: shown[name] for name in ("requests_per_minute", "monthly_budget", "total_budget")} == {
        "requests_per_minute": 60, "monthly_budget": None, "total_budget": 0,
    }  # fmt: skip


@pytest.mark.parametrize("odd", [{"total_budget": -1}, {"daily_budget": "much"}, {"requests_per_minute": -1}])
def test_the_api_says_which_limit_is_odd(cast: Cast, key: ApiKey, odd: dict[str, Any]) -> None:
    answer = cast.browser(cast.owner).patch(f"/api/keys/{key.pk}/", odd, content_type="application/json")
    assert answer.status_code == 400
    assert set(answer.json()["error"]["fields"]) == set(odd)


def test_the_page_takes_money_as_people_write_it(cast: Cast, key: ApiKey) -> None:
    browser = cast.browser(cast.owner)
    page = f"/console/keys/{key.pk}/limits/"
    assert browser.post(page, {"daily_budget": "2.50", "concurrent_requests": "3"}).status_code == 302
    key.refresh_from_db()
    assert (key.daily_budget, key.concurrent_requests, key.total_budget) == (250_000_000, 3, None)
    assert "2.50" in browser.get(page).content.decode()
    assert "$2.50 of $2.50 left" in browser.get("/console/keys/").content.decode()
    assert browser.post(page, {"daily_budget": "0.0000000001"}).status_code == 200
    key.refresh_from_db()
    assert key.daily_budget == 250_000_000
    assert cast.browser(cast.outsider).get(page).status_code == 404


def test_a_key_is_made_with_limits_on_its_page(cast: Cast) -> None:
    typed = {"name": "app", "scopes": ["inference"], "total_budget": "10", "requests_per_minute": "7"}
    cast.browser(cast.owner).post("/console/keys/", typed)
    made = ApiKey.objects.get()
    assert (made.total_budget, made.requests_per_minute) == (10**9, 7)
