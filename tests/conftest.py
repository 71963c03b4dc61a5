"""The cast of every test: an owner, a team-mate, an outsider and an operator, and clean Redis."""

from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from django.conf import settings
from django.test import Client, override_settings

from portal.accounts import membership
from portal.accounts.models import Membership, Organisation, Role, User
from portal.kit import redis


@dataclass(frozen=True)
class Cast:
    """Acme is owned by `owner`; `mate` is its developer; `outsider` has only a personal organisation."""

    owner: User
    mate: User
    outsider: User
    operator: User
    acme: Organisation

    def browser(self, user: User) -> Client:
        """A signed-in browser; an owner or mate acts for acme."""
        client = Client()
        client.force_login(user)
        if user in (self.owner, self.mate):
            session = client.session
            session["organisation"] = self.acme.slug
            session.save()
        return client


def make_user(name: str, *, is_staff: bool = False) -> User:
    """A user with a personal organisation, as sign-up makes one."""
    user = User.objects.create_user(
        f"{name}@example.com", name=name, is_staff=is_staff, is_superuser=is_staff
    )
    membership.open_personal(user)
    return user


@pytest.fixture(autouse=True)
def plain_static_files() -> Iterator[None]:
    """Pages of unit tests name their static files without the manifest that collectstatic writes."""
    plain = {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"}
    with override_settings(STORAGES={**settings.STORAGES, "staticfiles": plain}):
        yield


@pytest.fixture
def cast(db: None) -> Cast:
    owner, mate, outsider = make_user("owner"), make_user("mate"), make_user("outsider")
    acme = membership.open_organisation(owner, slug="acme", name="Acme", kind=Organisation.Kind.COMPANY)
    Membership.objects.create(organisation=acme, user=mate, role=Role.DEVELOPER)
    return Cast(owner, mate, outsider, make_user("operator", is_staff=True), acme)


@pytest.fixture
def clean_redis() -> Iterator[None]:
    """An empty Redis before and after; the session's own server, never a user's."""
    redis.client().flushdb()
    yield
    redis.client().flushdb()
