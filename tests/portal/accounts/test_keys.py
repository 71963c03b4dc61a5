"""API keys are shown once, stored hashed, scoped, and stop when they should."""

from datetime import timedelta

import pytest
from django.db import connection

from portal.accounts import api_keys
from portal.accounts.errors import OrganisationSuspended
from portal.accounts.models import ApiKey, Membership, Role
from portal.kit import clock, epochs
from portal.kit.errors import Invalid, NotAllowed, NotFound
from tests.conftest import Cast, make_user


def test_a_key_is_found_by_its_text_and_nothing_of_the_secret_is_stored(cast: Cast) -> None:
    key, text = api_keys.issue(cast.acme, by=cast.owner, name="app", scopes=["inference"])
    assert api_keys.find(text) == key
    secret = text.rsplit("_", 1)[1]
    with connection.cursor() as cursor:
        cursor.execute("SELECT to_jsonb(k)::text FROM accounts_apikey k")
        assert secret not in cursor.fetchone()[0]


def test_a_key_with_another_secret_is_not_found(cast: Cast) -> None:
    _, text = api_keys.issue(cast.acme, by=cast.owner, name="app", scopes=["inference"])
    assert api_keys.find(text[:-1] + ("0" if text[-1] != "0" else "1")) is None


@pytest.mark.parametrize("text", ["", "mk_", "mk__x", "sk-abc", "mk_zzz_abc", "mk_" + "u" * 26 + "_x"])
def test_texts_that_are_no_keys_are_not_found(text: str, db: None) -> None:
    assert api_keys.find(text) is None


def test_a_revoked_key_is_dead_and_its_epoch_moves(
    cast: Cast, clean_redis: None, django_capture_on_commit_callbacks
) -> None:
    key, text = api_keys.issue(cast.acme, by=cast.owner, name="app", scopes=["inference"])
    with django_capture_on_commit_callbacks(execute=True):
        api_keys.revoke(cast.acme, by=cast.mate, key_id=key.pk)
    assert api_keys.find(text) is None
    assert epochs.read([epochs.name("key", key.pk)]) == [1]


def test_an_expired_key_is_dead(cast: Cast) -> None:
    key, text = api_keys.issue(
        cast.acme,
        by=cast.owner,
        name="app",
        scopes=["inference"],
        expires_at=clock.now() + timedelta(hours=1),
    )
    assert api_keys.find(text) is not None
    ApiKey.objects.filter(pk=key.pk).update(expires_at=clock.now() - timedelta(seconds=1))
    assert api_keys.find(text) is None


def test_keys_of_a_suspended_organisation_are_dead(cast: Cast) -> None:
    _, text = api_keys.issue(cast.acme, by=cast.owner, name="app", scopes=["inference"])
    cast.acme.suspended_at = clock.now()
    cast.acme.save()
    with pytest.raises(OrganisationSuspended):
        api_keys.find(text)


@pytest.mark.parametrize(
    ("name", "scopes", "hours"),
    [("", ["inference"], 1), ("a", [], 1), ("a", ["root"], 1), ("a", ["manage"], -1)],
)
def test_odd_keys_are_refused(cast: Cast, name: str, scopes: list[str], hours: int) -> None:
    expires = clock.now() + timedelta(hours=hours)
    with pytest.raises(Invalid):
        api_keys.issue(cast.acme, by=cast.owner, name=name, scopes=scopes, expires_at=expires)
    assert not ApiKey.objects.exists()


def test_an_outsider_can_neither_make_nor_revoke_a_key(cast: Cast) -> None:
    key, text = api_keys.issue(cast.acme, by=cast.owner, name="app", scopes=["inference"])
    with pytest.raises(NotFound):
        api_keys.issue(cast.acme, by=cast.outsider, name="mine", scopes=["inference"])
    with pytest.raises(NotFound):
        api_keys.revoke(cast.acme, by=cast.outsider, key_id=key.pk)
    assert api_keys.find(text) is not None


def test_a_viewer_cannot_make_a_key(cast: Cast) -> None:
    viewer = make_user("viewer")
    Membership.objects.create(organisation=cast.acme, user=viewer, role=Role.VIEWER)
    with pytest.raises(NotAllowed):
        api_keys.issue(cast.acme, by=viewer, name="app", scopes=["inference"])
