"""What becomes of a member's keys when the member goes, is kept out, or may less."""

from uuid import UUID

import pytest
from django.test import Client

from portal.accounts import api_keys, membership
from portal.accounts.errors import KeyHolderGone, KeysUndecided
from portal.accounts.models import ApiKey, Membership, Role, User
from portal.kit import epochs
from portal.kit.errors import NotAllowed, NotFound
from tests.conftest import Cast, make_user

pytestmark = [pytest.mark.usefixtures("clean_redis"), pytest.mark.django_db]


@pytest.fixture
def texts(cast: Cast) -> dict[str, str]:
    """The mate's keys of acme: one to call, one to manage."""
    return {
        scope: api_keys.issue(cast.acme, by=cast.mate, name=scope, scopes=[scope])[1]
        for scope in ("inference", "manage")
    }


def of(cast: Cast, user: User) -> UUID:
    return Membership.objects.get(organisation=cast.acme, user=user).pk


def test_who_removes_a_member_says_what_becomes_of_the_keys(cast: Cast, texts: dict[str, str]) -> None:
    with pytest.raises(KeysUndecided, match="2 working API keys"):
        membership.remove(cast.acme, by=cast.owner, membership_id=of(cast, cast.mate))
    assert Membership.objects.filter(organisation=cast.acme, user=cast.mate).exists()
    membership.remove(cast.acme, by=cast.owner, membership_id=of(cast, cast.mate), keys="revoke")
    assert [api_keys.find(text) for text in texts.values()] == [None, None]
    assert {key.revoked_by for key in ApiKey.objects.all()} == {cast.owner}


def test_keys_that_call_are_handed_over_and_those_that_manage_are_not(
    cast: Cast, texts: dict[str, str], django_capture_on_commit_callbacks
) -> None:
    with django_capture_on_commit_callbacks(execute=True):
        membership.remove(
            cast.acme, by=cast.owner, membership_id=of(cast, cast.mate), keys=of(cast, cast.owner)
        )
    kept = api_keys.find(texts["inference"], to="use")
    assert kept is not None
    assert (kept.holder, kept.created_by) == (cast.owner, cast.mate)
    assert api_keys.find(texts["manage"]) is None
    assert epochs.read([epochs.name("organisation", cast.acme.pk), epochs.name("key", kept.pk)]) == [1, 1]


def test_keys_pass_to_nobody_who_may_not_use_them_or_may_more_than_who_decides(
    cast: Cast, texts: dict[str, str]
) -> None:
    viewer, admin = make_user("viewer"), make_user("admin")
    seen = Membership.objects.create(organisation=cast.acme, user=viewer, role=Role.VIEWER)
    Membership.objects.create(organisation=cast.acme, user=admin, role=Role.ADMIN)
    mate = of(cast, cast.mate)
    with pytest.raises(NotAllowed):
        membership.remove(cast.acme, by=cast.owner, membership_id=mate, keys=seen.pk)
    with pytest.raises(NotAllowed):
        membership.remove(cast.acme, by=admin, membership_id=mate, keys=of(cast, cast.owner))
    with pytest.raises(NotAllowed):
        membership.remove(cast.acme, by=cast.mate, membership_id=mate, keys=of(cast, cast.owner))
    elsewhere = Membership.objects.get(organisation=cast.outsider.personal_organisation)
    for nobody in (mate, elsewhere.pk):
        with pytest.raises(NotFound):
            membership.remove(cast.acme, by=cast.owner, membership_id=mate, keys=nobody)
    assert api_keys.find(texts["inference"]) is not None


def test_keys_of_an_account_that_is_kept_out_rest_and_come_back(cast: Cast, texts: dict[str, str]) -> None:
    membership.set_active(cast.mate, active=False)
    for text in texts.values():
        with pytest.raises(KeyHolderGone):
            api_keys.find(text)
    with pytest.raises(NotFound):
        membership.require(cast.mate, cast.acme, "view")
    answer = Client(headers={"authorization": f"Bearer {texts['manage']}"}).get("/api/keys/")
    assert (answer.status_code, answer.json()["error"]["code"]) == (401, "invalid_api_key")
    membership.set_active(cast.mate, active=True)
    assert all(api_keys.find(text) for text in texts.values())


def test_a_key_may_no_more_than_its_holder(cast: Cast, texts: dict[str, str]) -> None:
    membership.change_role(cast.acme, by=cast.owner, membership_id=of(cast, cast.mate), role=Role.BILLING)
    with pytest.raises(NotAllowed):
        api_keys.find(texts["inference"], to="use")
    key = ApiKey.objects.get(name="inference")
    assert api_keys.state_of(key) == "dormant"


def test_the_api_asks_and_takes_the_choice(cast: Cast, texts: dict[str, str]) -> None:
    browser, home = cast.browser(cast.owner), "/api/organisations/acme/members/"
    (mate,) = [each for each in browser.get(home).json() if each["email"] == cast.mate.email]
    assert (mate["keys"], mate["is_active"]) == (2, True)
    undecided = browser.delete(f"{home}{mate['id']}/")
    assert (undecided.status_code, undecided.json()["error"]["code"]) == (409, "keys_undecided")
    assert browser.delete(f"{home}{mate['id']}/?keys=some").status_code == 400
    assert browser.delete(f"{home}{mate['id']}/?keys={of(cast, cast.owner)}").status_code == 204
    shown = {key["name"]: key for key in browser.get("/api/keys/").json()["results"]}
    assert (shown["inference"]["holder"], shown["inference"]["state"]) == (cast.owner.email, "active")
    assert shown["manage"]["state"] == "revoked"


def test_the_page_asks_and_takes_the_choice(cast: Cast, texts: dict[str, str]) -> None:
    browser, mate = cast.browser(cast.owner), of(cast, cast.mate)
    page = browser.get("/organisation/").content.decode()
    assert "2 API keys that they hold" in page
    assert f"Hand over to {cast.owner.email}" in page
    address = f"/organisation/members/{mate}/remove/"
    assert browser.post(address).status_code == 409
    assert browser.post(address, {"keys": "elsewhere"}).status_code == 404
    assert browser.post(address, {"keys": "revoke"}).status_code == 302
    assert not Membership.objects.filter(pk=mate).exists()
    assert api_keys.find(texts["inference"]) is None


def test_pages_and_api_say_why_a_key_rests(cast: Cast, texts: dict[str, str]) -> None:
    membership.set_active(cast.mate, active=False)
    browser = cast.browser(cast.owner)
    page = browser.get("/console/keys/").content.decode()
    assert "Dormant" in page
    assert "no active member" in page
    assert "Deactivated" in browser.get("/organisation/").content.decode()
    (shown, _) = browser.get("/api/keys/").json()["results"]
    assert shown["state"] == "dormant"
    assert "no active member" in shown["refusal"]


def test_operators_keep_an_account_out_on_its_page(
    cast: Cast, texts: dict[str, str], django_capture_on_commit_callbacks
) -> None:
    browser = cast.browser(cast.operator)
    typed = {"email": cast.mate.email, "name": "mate"}
    with django_capture_on_commit_callbacks(execute=True):
        browser.post(f"/admin/accounts/user/{cast.mate.pk}/change/", typed)
    cast.mate.refresh_from_db()
    assert not cast.mate.is_active
    assert epochs.read([epochs.name("organisation", cast.acme.pk)]) == [1]
