"""Members come by invitation, and an invitation tells nobody who has an account."""

from uuid import uuid4

import pytest
from allauth.account.models import EmailAddress
from django.core import mail
from django.test import Client

from portal.accounts import invitations, membership, suspension
from portal.accounts.models import Invitation, Membership, Role, User
from portal.kit.errors import Conflict, NotAllowed, NotFound
from tests.conftest import Cast, make_user

pytestmark = [pytest.mark.usefixtures("clean_redis"), pytest.mark.django_db]


def prove(user: User) -> None:
    EmailAddress.objects.create(user=user, email=user.email, verified=True)


def test_inviting_answers_the_same_with_and_without_an_account(
    cast: Cast, django_capture_on_commit_callbacks
) -> None:
    prove(cast.outsider)
    browser = cast.browser(cast.owner)
    answers, pages = [], []
    with django_capture_on_commit_callbacks(execute=True):
        for email in ("ghost@example.com", cast.outsider.email):
            asked = {"email": email, "role": "viewer"}
            given = browser.post("/api/organisations/acme/members/", asked, content_type="application/json")
            answers.append((given.status_code, sorted(given.json()), given.json()["role"]))
            Invitation.objects.all().delete()
            pages.append(browser.post("/organisation/", asked)["Location"])
    assert answers[0] == answers[1]
    assert answers[0][0] == 202
    assert pages[0] == pages[1]
    # One an hour to an address, however often it is invited.
    assert [message.to for message in mail.outbox] == [["ghost@example.com"], [cast.outsider.email]]
    assert not Membership.objects.filter(organisation=cast.acme, user=cast.outsider).exists()


def test_who_has_proved_the_address_accepts_on_the_page(cast: Cast) -> None:
    made = invitations.invite(
        cast.acme, by=cast.owner, email=cast.outsider.email.upper(), role=Role.DEVELOPER
    )
    browser, page = cast.browser(cast.outsider), f"/organisation/invitations/{made.pk}/"
    assert "acme" not in browser.get("/organisation/invitations/").content.decode()
    assert browser.post(page, {"accept": "1"}).status_code == 404
    prove(cast.outsider)
    assert cast.owner.email in browser.get("/organisation/invitations/").content.decode()
    assert browser.post(page, {"accept": "1"}).status_code == 302
    assert membership.require(cast.outsider, cast.acme, "publish").role == Role.DEVELOPER
    assert not Invitation.objects.exists()
    assert browser.post(page, {"accept": "1"}).status_code == 404


def test_others_neither_accept_nor_decline(cast: Cast) -> None:
    made = invitations.invite(cast.acme, by=cast.owner, email="guest@example.com", role=Role.VIEWER)
    prove(cast.outsider)
    for act in (invitations.accept, invitations.decline):
        for identity in (made.pk, uuid4()):
            with pytest.raises(NotFound):
                act(cast.outsider, identity)
    assert Client().post(f"/organisation/invitations/{made.pk}/").status_code == 302
    assert Invitation.objects.filter(pk=made.pk).exists()


def test_invitations_are_declined_taken_back_and_lapse(cast: Cast) -> None:
    prove(cast.outsider)
    made = invitations.invite(cast.acme, by=cast.owner, email=cast.outsider.email, role=Role.VIEWER)
    invitations.decline(cast.outsider, made.pk)
    assert not Invitation.objects.exists()
    made = invitations.invite(cast.acme, by=cast.owner, email=cast.outsider.email, role=Role.VIEWER)
    browser = cast.browser(cast.owner)
    assert cast.outsider.email in browser.get("/organisation/").content.decode()
    (shown,) = browser.get("/api/organisations/acme/invitations/").json()
    assert browser.delete(f"/api/organisations/acme/invitations/{shown['id']}/").status_code == 204
    made = invitations.invite(cast.acme, by=cast.owner, email=cast.outsider.email, role=Role.VIEWER)
    assert browser.post(f"/organisation/invitations/{made.pk}/retract/").status_code == 302
    made = invitations.invite(cast.acme, by=cast.owner, email=cast.outsider.email, role=Role.VIEWER)
    Invitation.objects.update(expires_at=made.created_at)
    with pytest.raises(NotFound):
        invitations.accept(cast.outsider, made.pk)


def test_who_may_invite_whom(cast: Cast) -> None:
    admin = make_user("chief")
    Membership.objects.create(organisation=cast.acme, user=admin, role=Role.ADMIN)
    with pytest.raises(NotAllowed):
        invitations.invite(cast.acme, by=cast.mate, email="guest@example.com", role=Role.VIEWER)
    with pytest.raises(NotAllowed):
        invitations.invite(cast.acme, by=admin, email="guest@example.com", role=Role.OWNER)
    with pytest.raises(NotFound):
        invitations.invite(cast.acme, by=cast.outsider, email="guest@example.com", role=Role.VIEWER)
    with pytest.raises(Conflict):
        invitations.invite(cast.acme, by=cast.owner, email=cast.mate.email, role=Role.VIEWER)
    first = invitations.invite(cast.acme, by=cast.owner, email="guest@example.com", role=Role.VIEWER)
    again = invitations.invite(cast.acme, by=cast.owner, email="Guest@example.com", role=Role.BILLING)
    assert (first.pk, again.role) == (again.pk, Role.BILLING)


def test_a_suspended_organisation_gains_no_member(cast: Cast) -> None:
    prove(cast.outsider)
    made = invitations.invite(cast.acme, by=cast.owner, email=cast.outsider.email, role=Role.VIEWER)
    suspension.suspend(cast.acme, by=cast.operator, reason="Fraud.")
    with pytest.raises(NotFound):
        invitations.accept(cast.outsider, made.pk)
