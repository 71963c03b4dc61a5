"""What the operator has stopped stays stopped at every door, for every role, and every door says why."""

from collections.abc import Iterator
from typing import Any

import pytest
from django.test import Client

from marketplace import publishing, subscribing
from marketplace.errors import ListingTakenDown
from marketplace.models import Listing, Plan
from portal.accounts import api_keys, suspension
from portal.accounts.errors import OrganisationSuspended
from portal.accounts.models import Membership, Role, User
from portal.kit.errors import NotAllowed
from tests.conftest import Cast, make_user
from tests.portal.dashboard.offers import offer
from tests.tenancy import world as worlds
from tests.tenancy.routes import walk
from tests.tenancy.test_tenancy import state, visit
from tests.tenancy.world import World

pytestmark = [pytest.mark.usefixtures("clean_redis"), pytest.mark.django_db]
WHY = "It copies a stolen model."
ROLES = [Role.OWNER, Role.ADMIN, Role.DEVELOPER, Role.BILLING, Role.VIEWER]
# What belongs to the person, or to another organisation than the one that is stopped.
OWN = ("api/^organisations/$", "organisation/new/", "organisation/switch/")


@pytest.fixture
def live(cast: Cast) -> Listing:
    return offer(cast, "tiny", kind="paid", cents=10)


def member(cast: Cast, role: str) -> User:
    if role == Role.OWNER:
        return cast.owner
    user = make_user(f"acme-{role}")
    Membership.objects.create(organisation=cast.acme, user=user, role=role)
    return user


def browser(cast: Cast, user: User) -> Client:
    client = cast.browser(user)
    session = client.session
    session["organisation"] = cast.acme.slug
    session.save()
    return client


def provider_doors(client: Client) -> Iterator[Any]:
    """Ways in which a provider could try to bring a listing back."""
    yield client.put(
        "/api/listings/acme/tiny/withdrawal/", {"reason": "Mine."}, content_type="application/json"
    )
    yield client.put("/api/listings/acme/tiny/publication/")
    yield client.post("/studio/listings/tiny/withdraw/", {"reason": "Mine."})
    yield client.post("/studio/listings/tiny/publish/")


@pytest.mark.parametrize("role", ROLES)
def test_no_provider_undoes_a_takedown(cast: Cast, live: Listing, role: str) -> None:
    publishing.take_down(live, by=cast.operator, reason=WHY)
    for _ in provider_doors(browser(cast, member(cast, role))):
        live.refresh_from_db()
        assert live.state == "taken_down"
        assert live.taken_down_reason == WHY
    if role == Role.OWNER:
        with pytest.raises(ListingTakenDown, match="stolen"):
            publishing.publish(live, by=cast.owner)
    publishing.restore(live, by=cast.operator)
    live.refresh_from_db()
    # The provider's own withdrawal stands, and is theirs to undo.
    assert live.state == ("withdrawn" if role in {Role.OWNER, Role.ADMIN, Role.DEVELOPER} else "live")


@pytest.mark.parametrize("name", ["owner", "mate", "outsider"])
def test_only_operators_take_down_restore_and_suspend(cast: Cast, live: Listing, name: str) -> None:
    by = getattr(cast, name)
    for act in (
        lambda: publishing.take_down(live, by=by, reason=WHY), lambda: publishing.restore(live, by=by),
        lambda: suspension.suspend(cast.acme, by=by, reason=WHY), lambda: suspension.lift(cast.acme, by=by),
    ):  # fmt: skip
        with pytest.raises(NotAllowed):
            act()


def test_a_takedown_says_who_when_and_why_to_all_whom_it_concerns(cast: Cast, live: Listing) -> None:
    plan = Plan.objects.get(listing=live)
    subscribing.subscribe(cast.outsider.personal_organisation, plan, by=cast.outsider)
    publishing.take_down(live, by=cast.operator, reason=WHY)
    provider, subscriber = cast.browser(cast.owner), cast.browser(cast.outsider)
    for client, path in (
        (provider, "/studio/listings/tiny/"), (provider, "/listings/acme/tiny/"), (subscriber, "/listings/acme/tiny/"),
        (subscriber, "/console/subscriptions/"), (Client(), "/listings/acme/tiny/plans/"), (Client(), "/api/listings/acme/tiny/"),
        (provider, "/api/listings/acme/tiny/"),
    ):  # fmt: skip
        text = client.get(path).content.decode()
        assert WHY in text, path
        assert "operator" in text or "taken_down" in text, path
        assert str(live.taken_down_at.year) in text, path
    assert b"badge" in provider.get("/studio/").content
    assert "Taken down" in provider.get("/studio/").content.decode()
    (shown,) = subscriber.get("/api/subscriptions/").json()["results"]
    assert shown["listing_state"] == "taken_down"
    assert "tiny" not in Client().get("/").content.decode()


def test_a_taken_down_listing_shows_nothing_but_the_reason(cast: Cast, live: Listing) -> None:
    Listing.objects.filter(pk=live.pk).update(card="A card that must not be read.")
    publishing.take_down(live, by=cast.operator, reason=WHY)
    for path in (
        "/listings/acme/tiny/",
        "/listings/acme/tiny/versions/",
        "/api/listings/acme/tiny/",
        "/api/listings/acme/tiny/plans/",
    ):
        answer = cast.browser(cast.outsider).get(path)
        assert answer.status_code == 410, path
        assert b"must not be read" not in answer.content


def test_nobody_subscribes_to_what_is_stopped(cast: Cast, live: Listing) -> None:
    plan, buyer = Plan.objects.get(listing=live), cast.outsider.personal_organisation
    suspension.suspend(cast.acme, by=cast.operator, reason=WHY)
    with pytest.raises(OrganisationSuspended, match="stolen"):
        subscribing.subscribe(buyer, plan, by=cast.outsider)
    page = cast.browser(cast.outsider).get("/listings/acme/tiny/plans/").content.decode()
    assert WHY in page
    assert "Suspended" in page
    assert "listing_subscribe" not in page
    assert "/subscribe/" not in page
    assert "tiny" not in Client().get("/").content.decode()
    assert Client().get("/api/listings/acme/tiny/").json()["state"] == "suspended"


@pytest.fixture
def suspended(cast: Cast) -> World:
    world = worlds.build(cast)
    suspension.suspend(cast.acme, by=cast.operator, reason=WHY)
    return world


@pytest.mark.parametrize("role", ROLES)
def test_a_suspended_organisation_is_read_and_never_changed(cast: Cast, suspended: World, role: str) -> None:
    client = browser(cast, member(cast, role))
    before = state()
    for route in walk():
        if route.pattern in OWN:
            continue
        for method, status, body in visit(client, route, suspended):
            assert status < 500, f"{method} {route} answers {status}: {body[:300]}"
        assert state() == before, f"{route} changes something"


def test_forms_of_a_suspended_organisation_change_nothing(cast: Cast, suspended: World) -> None:
    client, before = browser(cast, cast.owner), state()
    typed = {
        "name": "n", "slug": "s", "task": "text-generation", "scopes": ["inference"], "email": "x@example.com",
        "role": "viewer", "kind": "free", "keys": "revoke", "plan": "mixed", "admit": "1", "reason": "r", "spend_cap": "1",
    }  # fmt: skip
    for route in walk():
        if not route.pattern.startswith("api/") and route.pattern not in OWN:
            client.post(route.path(suspended.arguments), typed)
            assert state() == before, str(route)


def test_its_members_see_their_things_and_why(cast: Cast, suspended: World) -> None:
    client = cast.browser(cast.owner)
    for path in ("/console/", "/console/keys/", "/studio/", "/organisation/", "/studio/listings/hidden/"):
        page = client.get(path).content.decode()
        assert WHY in page, path
        assert "is suspended" in page, path
    studio = client.get("/studio/").content.decode()
    assert "hidden" in studio
    assert "Suspended" in studio
    assert "New listing" not in studio
    (acme,) = [each for each in client.get("/api/organisations/").json()["results"] if each["slug"] == "acme"]
    assert acme["suspended_reason"] == WHY


def test_its_keys_say_why_they_are_refused(cast: Cast) -> None:
    _, text = api_keys.issue(cast.acme, by=cast.owner, name="ci", scopes=["manage"])
    suspension.suspend(cast.acme, by=cast.operator, reason=WHY)
    answer = Client(headers={"authorization": f"Bearer {text}"}).get("/api/listings/?mine=1")
    assert answer.status_code == 403
    assert answer.json()["error"]["code"] == "organisation_suspended"
    assert WHY in answer.json()["error"]["message"]
    suspension.lift(cast.acme, by=cast.operator)
    assert Client(headers={"authorization": f"Bearer {text}"}).get("/api/listings/?mine=1").status_code == 200
