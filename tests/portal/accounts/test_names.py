"""Nobody takes a name that misleads, or that looks like another's."""

import pytest
from django.db import IntegrityError, transaction
from django.urls import URLPattern, URLResolver, get_resolver

from marketplace import publishing
from marketplace.errors import ListingSlugTaken
from portal.accounts import membership
from portal.accounts.errors import SlugTaken
from portal.accounts.models import Membership, Organisation, Role
from portal.kit import names, slugs
from portal.kit.errors import Invalid
from portal.kit.slugs import SlugReserved
from tests.conftest import Cast, make_user

TAKEN = ["ACME", "a-cme", "acme-", "a_c_m_e", "acme--"]
LOOKS = [("hello-1", "hell0-l"), ("hello-1", "hello_i"), ("hello-1", "hello1"), ("hello-1", "hello--1")]


@pytest.mark.parametrize("slug", TAKEN)
def test_what_looks_like_another_organisation_is_taken(cast: Cast, slug: str) -> None:
    with pytest.raises(SlugTaken):
        membership.open_organisation(cast.outsider, slug=slug, name="Acme")


@pytest.mark.parametrize(("first", "second"), LOOKS)
def test_lookalikes_are_taken_for_listings_too(cast: Cast, first: str, second: str) -> None:
    membership.open_organisation(cast.owner, slug=first, name="First")
    with pytest.raises(SlugTaken):
        membership.open_organisation(cast.outsider, slug=second, name="Second")
    publishing.create_listing(cast.acme, by=cast.owner, slug=first, name="First", task="text-generation")
    with pytest.raises(ListingSlugTaken):
        publishing.create_listing(
            cast.acme, by=cast.owner, slug=second, name="Second", task="text-generation"
        )
    # Of another organisation it is another listing.
    theirs = cast.outsider.personal_organisation
    publishing.create_listing(theirs, by=cast.outsider, slug=second, name="Second", task="text-generation")


@pytest.mark.parametrize(
    "slug",
    ["admin", "api", "v1", "Adm1n", "apl", "mercato", "mercato_labs", "mercat0-team", "support", "bi11ing", "security",
     "official", "acme-official", "owner", "no-reply", "noreply", "visitors", "--", "_"],
)  # fmt: skip
def test_reserved_names_are_nobodys(cast: Cast, slug: str) -> None:
    with pytest.raises(SlugReserved):
        membership.open_organisation(cast.outsider, slug=slug, name="Name")
    assert membership.open_organisation(cast.owner, slug="mercato-labs", name="Labs", is_ours=True).pk


def test_every_first_part_of_an_address_is_reserved() -> None:
    parts = {str(entry.pattern).lstrip("^").partition("/")[0] for entry in _flat(get_resolver().url_patterns)}
    firsts = {part for part in parts if part and not part.startswith(("<", "(", "$"))} | {"v1", "static"}
    assert len(firsts) > 8
    assert {part for part in firsts if not slugs.is_reserved(part)} == set()


def _flat(patterns):
    for entry in patterns:
        if isinstance(entry, URLResolver) and not str(entry.pattern):
            yield from _flat(entry.url_patterns)
        elif isinstance(entry, URLPattern | URLResolver):
            yield entry


@pytest.mark.parametrize("email", ["admin", "support", "mercato", "---"])
def test_who_signs_up_by_a_reserved_name_gets_another(db: None, email: str) -> None:
    opened = make_user(email).personal_organisation
    assert not slugs.is_reserved(opened.slug)
    assert opened.skeleton == slugs.skeleton(opened.slug)


def test_the_database_refuses_lookalikes_and_leaves_old_ones(cast: Cast) -> None:
    Organisation.objects.filter(pk=cast.acme.pk).update(skeleton=None)
    old = Organisation.objects.create(slug="a-cme", name="Older")
    cast.acme.refresh_from_db()
    cast.acme.name = "Acme Inc."
    cast.acme.save()
    assert cast.acme.skeleton is None
    with pytest.raises(IntegrityError), transaction.atomic():
        Organisation.objects.create(slug="acme_", name="Newer")
    assert old.skeleton == "acme"


@pytest.mark.parametrize(
    "name",
    ["Ac\u200bme", "Acme\u202egnp", "\u2066Acme\u2069", "Acme\u00ad", "\u3164", "\u2800", "Ac\u043ce", "\u0410cme",
     "Acme\x00", "Acme\x07", "a" + "\u0301" * 9, "  ", "Ac\u200dme", "\u200dAcme", "\ue000"],
)  # fmt: skip
def test_names_that_show_something_else_are_refused(cast: Cast, name: str) -> None:
    with pytest.raises(Invalid):
        names.check(name, what="The name")
    with pytest.raises(Invalid):
        membership.open_organisation(cast.outsider, slug="fine", name=name)
    with pytest.raises(Invalid):
        publishing.create_listing(cast.acme, by=cast.owner, slug="fine", name=name, task="text-generation")
    assert not Organisation.objects.filter(slug="fine").exists()


@pytest.mark.parametrize(
    "name",
    [
        "Acme",
        "Café Zoë",
        "模型工坊",
        "Модели",
        "Μοντέλα",
        "Acme Модели",
        "नमस्ते",
        "می‌خواهم",
        "GPT-2 (small)",
        "👩‍🔬 Lab",
        "ไทย",
    ],
)
def test_names_of_the_worlds_languages_are_taken(name: str) -> None:
    names.check(name, what="The name")


def test_every_door_refuses_them(cast: Cast) -> None:
    browser = cast.browser(cast.owner)
    api = browser.post(
        "/api/organisations/",
        {"slug": "adm1n", "name": "x", "kind": "company"},
        content_type="application/json",
    )
    assert (api.status_code, api.json()["error"]["code"]) == (400, "slug_reserved")
    taken = browser.post(
        "/api/organisations/",
        {"slug": "acme", "name": "x", "kind": "company"},
        content_type="application/json",
    )
    assert (taken.status_code, taken.json()["error"]["code"]) == (409, "slug_taken")
    page = browser.post("/organisation/new/", {"slug": "a-cme", "name": "x", "kind": "company"})
    assert "looks like it" in page.content.decode()
    assert Membership.objects.filter(user=cast.owner, role=Role.OWNER).count() == 2
