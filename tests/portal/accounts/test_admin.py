"""Operators look after identities: they stop keys, and leave signing up to people."""

import pytest
from django.urls import reverse

from portal.accounts import api_keys
from portal.accounts.models import ApiKey
from portal.kit import epochs
from portal.kit.errors import NotAllowed
from tests.conftest import Cast

pytestmark = [pytest.mark.usefixtures("clean_redis"), pytest.mark.django_db]


@pytest.fixture
def key(cast: Cast) -> ApiKey:
    made, _ = api_keys.issue(cast.acme, by=cast.owner, name="app", scopes=["inference"])
    return made


def test_an_operator_revokes_anybodys_keys(
    cast: Cast, key: ApiKey, django_capture_on_commit_callbacks
) -> None:
    with django_capture_on_commit_callbacks(execute=True):
        asked = {"action": "revoke", "_selected_action": [key.pk]}
        cast.browser(cast.operator).post(reverse("admin:accounts_apikey_changelist"), asked)
    key.refresh_from_db()
    assert key.revoked_by == cast.operator
    assert not key.is_live
    assert epochs.read([epochs.name("key", key.pk)]) == [1]


@pytest.mark.parametrize("name", ["owner", "outsider"])
def test_nobody_else_takes_the_operators_path(cast: Cast, key: ApiKey, name: str) -> None:
    with pytest.raises(NotAllowed):
        api_keys.revoke_as_operator(key, by=getattr(cast, name))
    key.refresh_from_db()
    assert key.is_live


def test_operators_rename_no_organisation_to_what_looks_like_another(cast: Cast) -> None:
    theirs = cast.outsider.personal_organisation
    page = reverse("admin:accounts_organisation_change", args=[theirs.pk])
    typed = {
        "slug": "a-cme", "name": "Outsider", "kind": "individual", "requests_per_minute": 0, "tokens_per_minute": 0,
        "concurrent_requests": 0, "quota-TOTAL_FORMS": 0, "quota-INITIAL_FORMS": 0, "memberships-TOTAL_FORMS": 0,
        "memberships-INITIAL_FORMS": 0,
    }  # fmt: skip
    browser = cast.browser(cast.operator)
    assert b"looks like it" in browser.post(page, typed).content
    assert browser.post(page, typed | {"slug": "acme-too"}).status_code == 302
    theirs.refresh_from_db()
    assert (theirs.slug, theirs.skeleton) == ("acme-too", "acmetoo")


def test_users_are_not_made_by_hand(cast: Cast) -> None:
    client = cast.browser(cast.operator)
    assert client.get(reverse("admin:accounts_user_add")).status_code == 403
    assert client.get(reverse("admin:accounts_user_change", args=[cast.owner.pk])).status_code == 200
