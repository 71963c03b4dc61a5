"""Whatever makes a row has a bound: every door, of today and of tomorrow."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from allauth.account.models import EmailAddress
from django.apps import apps
from django.conf import LazySettings
from django.db import connection
from django.test import Client
from django.urls import resolve

from marketplace import publishing, quota, subscribing, uploads
from marketplace.errors import DiskFull, QuotaExceeded
from marketplace.models import Listing, Plan
from portal.accounts import api_keys, membership, quotas
from portal.accounts.models import Membership, Organisation, OrganisationQuota, Role
from portal.accounts.quotas import QuotaReached, TooManyMade
from tests.conftest import Cast
from tests.portal.dashboard.offers import offer
from tests.tenancy import world as worlds
from tests.tenancy.routes import Route, walk
from tests.tenancy.world import World

pytestmark = [pytest.mark.usefixtures("clean_redis"), pytest.mark.django_db]
FILE = {"path": "config.json", "size": 2, "sha256": "0" * 64}
TERMS = {"components": [{"meter": "output_tokens", "amount": 100, "per": 10}]}
ENDPOINT = {
    "base_url": "https://models.example.com/v1", "model": "m", "context_length": 100, "max_output_tokens": 10,
}  # fmt: skip
NO_LIMITS = dict.fromkeys(("requests_per_minute", "tokens_per_minute", "concurrent_requests"), 0)
PRICED = {"name": "N", "kind": "free", "slug": "n"}

# Every route that takes POST: the quota that bounds what it makes, and a body that would make it.
API: dict[str, tuple[str, dict[str, Any]]] = {
    "api/^organisations/$": ("organisations", {"slug": "more", "name": "More", "kind": "company"}),
    "api/organisations/<slug:slug>/members/": (
        "members",
        {"email": "outsider@example.com", "role": "viewer"},
    ),
    "api/^keys/$": ("keys", {"name": "k", "scopes": ["inference"]}),
    "api/listings/": ("listings", {"slug": "more", "name": "More", "task": "text-generation"}),
    "api/listings/<slug:owner>/<slug:slug>/uploads/": ("uploads", {"files": [FILE]}),
    "api/listings/<slug:owner>/<slug:slug>/endpoints/": ("endpoints", ENDPOINT),
    "api/listings/<slug:owner>/<slug:slug>/plans/": ("plans", {**PRICED, "kind": "paid", "terms": TERMS}),
    "api/subscriptions/": ("subscriptions", {"listing": "acme/sold", "plan": "standard"}),
}
PAGES: dict[str, tuple[str, dict[str, Any]]] = {
    "organisation/new/": ("organisations", {"slug": "more", "name": "More", "kind": "company"}),
    "organisation/": ("members", {"email": "outsider@example.com", "role": "viewer"}),
    "console/keys/": ("keys", {"name": "k", "scopes": ["inference"]}),
    "studio/new/": ("listings", {"slug": "more", "name": "More", "task": "text-generation"}),
    "studio/listings/<slug:slug>/endpoint/": ("endpoints", {**ENDPOINT, "concurrency": 4}),
    "studio/listings/<slug:slug>/plans/new/": (
        "plans",
        {"kind": "free", "name": "Free", "monthly_fee": "0", **NO_LIMITS},
    ),
    "listings/<slug:owner>/<slug:slug>/subscribe/": ("subscriptions", {"plan": "standard"}),
}
# They make versions of uploads and plans, which the rate of making bounds and, of versions, a quota.
SLOWED = {"api/uploads/<uuid:upload_id>/complete/", "studio/listings/<slug:slug>/plans/<slug:plan_slug>/"}
# To look at it makes terms for the provider's own use, once for each listing.
ONCE = {"studio/listings/<slug:slug>/versions/<int:number>/"}
# They change or end what is there, or only look.
NOTHING_NEW = {
    "console/keys/<uuid:key_id>/limits/", "console/keys/<uuid:key_id>/revoke/", "organisation/switch/",
    "console/subscriptions/<uuid:subscription_id>/cancel/", "console/subscriptions/<uuid:subscription_id>/limit/",
    "api/listings/<slug:owner>/<slug:slug>/uploads/check/", "studio/listings/<slug:slug>/edit/", "studio/listings/<slug:slug>/upload/refusal/",
    "studio/listings/<slug:slug>/versions/<int:number>/endpoint-key/", "studio/listings/<slug:slug>/publish/",
    "studio/listings/<slug:slug>/versions/<int:number>/current/", "studio/listings/<slug:slug>/withdraw/",
    "studio/listings/<slug:slug>/plans/<slug:plan_slug>/archive/", "studio/listings/<slug:slug>/visitors/",
    "organisation/invitations/<uuid:invitation_id>/retract/", "organisation/invitations/<uuid:invitation_id>/",
    "organisation/members/<uuid:membership_id>/role/", "organisation/members/<uuid:membership_id>/remove/",
}  # fmt: skip


@pytest.fixture
def world(cast: Cast) -> World:
    offer(cast, "sold", kind="paid", cents=10)
    EmailAddress.objects.create(user=cast.outsider, email=cast.outsider.email, verified=True)
    return worlds.build(cast)


def takes_post(client: Client, route: Route, world: World) -> bool:
    path = route.path(world.arguments)
    view = resolve(path).func
    if route.pattern.startswith("api/"):
        actions = getattr(view, "actions", None)
        return "post" in (actions if actions is not None else dir(view.cls))  # type: ignore[attr-defined]
    # A page without a form says so, or takes a POST for a GET.
    return client.post(path).status_code != 405 and client.get(path).status_code in {200, 302, 404, 405}


def test_every_door_that_takes_post_is_known_here(cast: Cast, world: World) -> None:
    known = {*API, *PAGES, *SLOWED, *ONCE, *NOTHING_NEW}
    client = cast.browser(cast.owner)
    client.raise_request_exception = False
    unknown = []
    for route in walk():
        if route.pattern in known:
            continue
        before = rows()
        if takes_post(client, route, world) and rows() != before:
            unknown.append(route.pattern)
        if route.pattern.startswith("api/") and takes_post(client, route, world):
            unknown.append(route.pattern)
    assert not unknown, "say above what bounds what they make"


def test_what_is_made_by_looking_is_made_once(cast: Cast, world: World) -> None:
    client, counts = cast.browser(cast.owner), []
    for _ in range(3):
        for pattern in ONCE:
            assert client.get(Route(pattern).path(world.arguments)).status_code == 200
        counts.append(rows())
    assert counts[0] == counts[2]


def rows() -> dict[str, int]:
    models = [
        each for each in apps.get_models() if each._meta.app_label in {"accounts", "marketplace", "billing"}
    ]
    return {each.__name__: each._default_manager.count() for each in models if each._meta.managed}


def doors() -> Iterator[tuple[str, str, dict[str, Any]]]:
    for table in (API, PAGES):
        for pattern, (name, body) in table.items():
            yield pattern, name, body


@pytest.mark.parametrize(("pattern", "name", "body"), doors(), ids=str)
def test_a_full_quota_refuses_at_the_door(
    cast: Cast, world: World, settings: LazySettings, pattern: str, name: str, body: dict[str, Any]
) -> None:
    client = cast.browser(cast.owner)
    arguments = world.arguments | ({"slug": "sold"} if "subscribe" in pattern else {})
    path, is_api = Route(pattern).path(arguments), pattern.startswith("api/")
    more: dict[str, Any] = {"content_type": "application/json"} if is_api else {}
    settings.QUOTAS = {**settings.QUOTAS, name: 1}
    Listing.objects.filter(slug="hidden").update(task="text-generation")
    if name == "endpoints":
        settings.QUOTAS = {**settings.QUOTAS, name: 200, "versions": 1}
    if name == "plans":
        assert world.listing.plans.count() == 1
    before = rows()
    answer = client.post(path, body, **more)
    text = answer.content.decode()
    assert ("quota_reached" if is_api else "may have 1") in text
    if is_api:
        assert answer.status_code == 409
    assert rows() == before
    settings.QUOTAS = {**settings.QUOTAS, name: 0, "versions": 0}
    assert client.post(path, body, **more).status_code in {200, 201, 202, 302}
    assert rows() != before


def test_the_operator_sets_another_quota_for_one(cast: Cast, settings: LazySettings) -> None:
    settings.QUOTAS = {**settings.QUOTAS, "listings": 1, "organisations": 2}
    make: Callable[[str], Any] = lambda slug: publishing.create_listing(  # noqa: E731
        cast.acme, by=cast.owner, slug=slug, name="N", task="text-generation"
    )
    make("one")
    with pytest.raises(QuotaReached):
        make("two")
    OrganisationQuota.objects.create(organisation=cast.acme, listings=2)
    make("two")
    with pytest.raises(QuotaReached, match="may have 2"):
        make("three")
    with pytest.raises(QuotaReached):
        membership.open_organisation(cast.owner, slug="more", name="More")
    cast.owner.organisation_limit = 3
    cast.owner.save()
    membership.open_organisation(cast.owner, slug="more", name="More")


def test_operators_find_the_quotas_in_the_admin(cast: Cast) -> None:
    page = (
        cast.browser(cast.operator)
        .get(f"/admin/accounts/organisation/{cast.acme.pk}/change/")
        .content.decode()
    )
    assert "Stored bytes" in page or "stored_bytes" in page


def test_one_user_makes_so_many_things_an_hour(cast: Cast, settings: LazySettings) -> None:
    settings.QUOTAS = {**settings.QUOTAS, "made_per_hour": 4}
    # The cast has opened acme.
    for number in range(3):
        api_keys.issue(cast.acme, by=cast.owner, name=f"k{number}", scopes=["inference"])
    with pytest.raises(TooManyMade):
        membership.open_organisation(cast.owner, slug="more", name="More")
    api_keys.issue(cast.acme, by=cast.mate, name="k", scopes=["inference"])


@pytest.mark.django_db(transaction=True)
def test_many_at_once_make_no_more_than_one_after_the_other(cast: Cast, settings: LazySettings) -> None:
    settings.QUOTAS = {**settings.QUOTAS, "organisations": 5}

    def open_one(number: int) -> bool:
        try:
            membership.open_organisation(cast.owner, slug=f"many-{'abcdefghjkmn'[number]}", name="Many")
        except QuotaReached:
            return False
        finally:
            connection.close()
        return True

    with ThreadPoolExecutor(6) as threads:
        made = list(threads.map(open_one, range(12)))
    assert made.count(True) == 3
    assert Membership.objects.filter(user=cast.owner, role=Role.OWNER).count() == 5


def test_bytes_are_bounded_for_a_user_over_all_organisations_and_for_all(
    cast: Cast, settings: LazySettings
) -> None:
    settings.USER_QUOTA_BYTES = 1000
    settings.FREE_DISK_BYTES = 0
    other = membership.open_organisation(cast.owner, slug="other", name="Other")
    for organisation in (cast.acme, other):
        listing = publishing.create_listing(
            organisation, by=cast.owner, slug="m", name="M", task="text-generation"
        )
        uploads.begin(listing, by=cast.owner, files=[{**FILE, "size": 450}])  # type: ignore[list-item]
    with pytest.raises(QuotaExceeded):
        quota.require_room(other, size=101)
    quota.require_room(other, size=100)
    quota.require_room(cast.outsider.personal_organisation, size=900)
    settings.SITE_QUOTA_BYTES = 1000
    with pytest.raises(QuotaExceeded):
        quota.require_room(cast.outsider.personal_organisation, size=101)
    OrganisationQuota.objects.create(organisation=other, stored_bytes=5000)
    settings.SITE_QUOTA_BYTES = 0
    quota.require_room(other, size=4000)


def test_an_upload_leaves_the_disk_what_must_stay_free(cast: Cast, settings: LazySettings) -> None:
    listing = publishing.create_listing(cast.acme, by=cast.owner, slug="m", name="M", task="text-generation")
    upload = uploads.begin(listing, by=cast.owner, files=[FILE])  # type: ignore[list-item]
    settings.FREE_DISK_BYTES = 2**60
    with pytest.raises(DiskFull):
        uploads.begin(listing, by=cast.owner, files=[FILE])  # type: ignore[list-item]
    with pytest.raises(DiskFull):
        uploads.append(upload, "config.json", offset=0, chunk=b"{}")
    answer = cast.browser(cast.owner).put(
        f"/api/uploads/{upload.pk}/files/config.json?offset=0", b"{}", content_type="application/octet-stream"
    )
    assert (answer.status_code, answer.json()["error"]["code"]) == (507, "disk_full")


def test_changes_have_a_rate_at_pages_and_api(cast: Cast, settings: LazySettings) -> None:
    settings.WRITES_PER_MINUTE = 4
    browser = cast.browser(cast.owner)
    api = [browser.post("/api/keys/", {}, content_type="application/json").status_code for _ in range(3)]
    pages = [browser.post("/organisation/switch/", {"slug": "acme"}).status_code for _ in range(3)]
    assert (api, pages) == ([400] * 3, [302, 429, 429])
    refused = browser.post("/api/keys/", {}, content_type="application/json")
    assert refused.status_code == 429
    assert int(refused["Retry-After"]) > 0
    assert browser.get("/console/").status_code == 200
    assert cast.browser(cast.mate).post("/organisation/switch/", {"slug": "acme"}).status_code == 302


def test_visitors_have_one_subscription_of_each_listing(cast: Cast, settings: LazySettings) -> None:
    """Admitting visitors makes a subscription of theirs, which is one for each listing at most."""
    live = offer(cast, "tiny", kind="paid", cents=10)
    settings.QUOTAS = {**settings.QUOTAS, "subscriptions": 1}
    Plan.objects.filter(listing=live).update(kind="free")
    for _ in range(2):
        subscribing.admit_visitors(live, by=cast.owner)
    visitors = Organisation.objects.get(slug="visitors")
    assert visitors.subscriptions.count() == 1
    assert quotas.limit_of(visitors, "subscriptions") == 1
