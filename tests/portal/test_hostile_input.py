"""What no honest browser or client sends is refused with a sentence: never an error of ours, never a way in."""

import pytest
from django.core import signing
from django.test import Client

from portal.accounts import api_keys, membership
from portal.accounts.models import Membership
from tests.conftest import Cast


@pytest.mark.parametrize("name", ["q", "task", "provider", "language"])
def test_no_address_holds_a_nul(db: None, name: str) -> None:
    assert Client().get("/", {name: "a\0b"}).status_code == 400


@pytest.mark.parametrize("path", ["/console/keys/", "/organisation/", "/studio/", "/console/subscriptions/"])
def test_tables_take_neither_a_nul_nor_a_cursor_of_another(cast: Cast, path: str) -> None:
    browser = cast.browser(cast.owner)
    assert browser.get(path, {"q": "\0"}).status_code == 400
    for cursor in (["billing.UsageEvent -id", "x", "y"], ["x", "y"], []):
        assert browser.get(path, {"after": signing.dumps(cursor, compress=True)}).status_code == 200


def test_no_form_holds_a_nul(cast: Cast) -> None:
    assert cast.browser(cast.owner).post("/organisation/switch/", {"slug": "\0"}).status_code == 400


@pytest.mark.parametrize("cursor", ["cD1hYmM=", "cD0lMDA=", "cj0xJnA9eA=="])
@pytest.mark.parametrize("path", ["/api/keys/", "/api/requests/", "/api/subscriptions/"])
def test_a_cursor_that_is_none_is_refused(cast: Cast, path: str, cursor: str) -> None:
    assert cast.browser(cast.owner).get(path, {"cursor": cursor}).status_code in {400, 404}


def test_a_time_before_all_ids_is_the_first(cast: Cast) -> None:
    answer = cast.browser(cast.owner).get("/api/requests/", {"since": "1960-01-01T00:00:00Z"})
    assert answer.status_code == 200


def test_json_nested_without_end_is_refused(cast: Cast) -> None:
    browser = cast.browser(cast.owner)
    answer = browser.post("/api/listings/", "[" * 100_000, content_type="application/json")
    assert answer.status_code == 400
    assert "error" in answer.json()


def test_a_key_ends_with_the_membership_of_who_made_it(cast: Cast) -> None:
    Membership.objects.filter(user=cast.mate).update(role="admin")
    _, text = api_keys.issue(cast.acme, by=cast.mate, name="ci", scopes=["manage"])
    client, headers = Client(), {"Authorization": f"Bearer {text}"}
    paths = ["/api/keys/", "/api/subscriptions/", "/api/listings/?mine=1"]
    assert [client.get(path, headers=headers).status_code for path in paths] == [200] * 3
    mine = Membership.objects.get(user=cast.mate, organisation=cast.acme)
    membership.remove(cast.acme, by=cast.owner, membership_id=mine.pk, keys="revoke")
    assert [client.get(path, headers=headers).status_code for path in paths] == [401] * 3


def test_operators_sign_in_where_wrong_passwords_are_counted(db: None) -> None:
    answer = Client().get("/admin/login/?next=/admin/")
    assert (answer.status_code, answer.url.partition("?")[0]) == (302, "/accounts/login/")


def test_addresses_of_organisations_differ_by_more_than_case(cast: Cast) -> None:
    assert membership.open_organisation(cast.owner, slug="Other", name="O", kind="company").slug == "other"
    with pytest.raises(membership.SlugTaken):
        membership.open_organisation(cast.owner, slug="ACME", name="A", kind="company")
