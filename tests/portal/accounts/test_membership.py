"""Organisations keep an owner, and roles bind."""

import pytest

from portal.accounts import invitations, membership
from portal.accounts.errors import LastOwner, SlugTaken
from portal.accounts.models import Membership, Organisation, Role
from portal.kit.errors import NotAllowed, NotFound
from tests.conftest import Cast


def of(cast: Cast, user: object) -> Membership:
    return Membership.objects.get(organisation=cast.acme, user=user)


def test_the_last_owner_can_neither_leave_nor_step_down(cast: Cast) -> None:
    mine = of(cast, cast.owner)
    with pytest.raises(LastOwner):
        membership.remove(cast.acme, by=cast.owner, membership_id=mine.pk)
    with pytest.raises(LastOwner):
        membership.change_role(cast.acme, by=cast.owner, membership_id=mine.pk, role=Role.ADMIN)


def test_a_developer_cannot_administer(cast: Cast) -> None:
    with pytest.raises(NotAllowed):
        invitations.invite(cast.acme, by=cast.mate, email="outsider@example.com", role=Role.VIEWER)


def test_an_admin_cannot_make_owners_or_touch_them(cast: Cast) -> None:
    mate = of(cast, cast.mate)
    membership.change_role(cast.acme, by=cast.owner, membership_id=mate.pk, role=Role.ADMIN)
    with pytest.raises(NotAllowed):
        membership.change_role(cast.acme, by=cast.mate, membership_id=mate.pk, role=Role.OWNER)
    with pytest.raises(NotAllowed):
        membership.remove(cast.acme, by=cast.mate, membership_id=of(cast, cast.owner).pk)


def test_an_outsider_sees_no_organisation(cast: Cast) -> None:
    with pytest.raises(NotFound):
        membership.require(cast.outsider, cast.acme, "view")


def test_anyone_may_leave(cast: Cast) -> None:
    membership.remove(cast.acme, by=cast.mate, membership_id=of(cast, cast.mate).pk)
    assert not Membership.objects.filter(organisation=cast.acme, user=cast.mate).exists()


def test_a_narrower_role_or_none_ends_the_right_to_call(cast: Cast) -> None:
    assert membership.allows(cast.mate.pk, cast.acme.pk, "use")
    mine = of(cast, cast.mate)
    membership.change_role(cast.acme, by=cast.owner, membership_id=mine.pk, role=Role.VIEWER)
    assert not membership.allows(cast.mate.pk, cast.acme.pk, "use")
    assert not membership.allows(cast.outsider.pk, cast.acme.pk, "view")


def test_a_taken_slug_is_refused_whole(cast: Cast) -> None:
    with pytest.raises(SlugTaken):
        membership.open_organisation(
            cast.outsider, slug="acme", name="Acme 2", kind=Organisation.Kind.COMPANY
        )
    assert Membership.objects.filter(user=cast.outsider).count() == 1
