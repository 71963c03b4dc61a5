"""Nobody learns from our answers which addresses have an account; the owner of one gets a mail."""

import re
import time
from typing import Any

import pytest
from allauth.account.models import EmailAddress
from django.core import mail
from django.test import Client, override_settings

from portal.accounts.models import User

pytestmark = [pytest.mark.usefixtures("clean_redis"), pytest.mark.django_db]
PASSWORD = "a long enough phrase 42"
MODES = ["none", "optional", "mandatory"]


def sign_up(email: str, **more: str) -> Any:
    return Client().post("/accounts/signup/", {"email": email, "password1": PASSWORD, **more}, follow=True)


def said(answer: Any, email: str) -> str:
    """What the reader sees, without the address itself and the form's token."""
    body = answer.content.decode().replace(email, "X").replace(email.replace("@", "%40"), "X")
    body = re.sub(r'nonce="[^"]+"', "", body)
    return "\n".join(line for line in body.splitlines() if "csrf" not in line)


@pytest.mark.parametrize("mode", MODES)
def test_signing_up_answers_the_same_for_a_taken_address(mode: str) -> None:
    with override_settings(ACCOUNT_EMAIL_VERIFICATION=mode):
        User.objects.create_user("owner@example.com", PASSWORD)
        mail.outbox.clear()
        free, taken = sign_up("new@example.com"), sign_up("Owner@example.com")
    assert (free.redirect_chain, free.status_code) == (taken.redirect_chain, taken.status_code)
    assert said(free, "new@example.com") == said(taken, "owner@example.com")
    assert [message.to for message in mail.outbox] == [["new@example.com"], ["owner@example.com"]]
    assert "already exists" in str(mail.outbox[1].body)
    assert User.objects.count() == 2
    assert User.objects.get(email="owner@example.com").check_password(PASSWORD)


@pytest.mark.parametrize("mode", MODES)
def test_both_cost_the_same_work(mode: str) -> None:
    User.objects.create_user("owner@example.com", PASSWORD)
    with override_settings(
        ACCOUNT_EMAIL_VERIFICATION=mode, PASSWORD_HASHERS=["tests.portal.accounts.hashing.Counting"]
    ):
        from tests.portal.accounts.hashing import Counting

        counts = []
        for email in ("new@example.com", "owner@example.com"):
            Counting.count = 0
            sign_up(email)
            counts.append(Counting.count)
    assert counts == [1, 1]


def test_a_new_account_signs_in_where_it_wanted_to_go() -> None:
    answer = sign_up("new@example.com", next="/console/keys/")
    assert answer.redirect_chain[-1][0] == "/accounts/login/?next=%2Fconsole%2Fkeys%2F"
    client = Client()
    form = {"login": "new@example.com", "password": PASSWORD, "next": "/console/keys/"}
    assert client.post("/accounts/login/", form)["Location"] == "/console/keys/"


@pytest.mark.parametrize("mode", MODES)
def test_a_forgotten_password_answers_the_same(mode: str) -> None:
    User.objects.create_user("owner@example.com", PASSWORD)
    with override_settings(ACCOUNT_EMAIL_VERIFICATION=mode):
        answers = [
            Client().post("/accounts/password/reset/", {"email": email}, follow=True)
            for email in ("ghost@example.com", "owner@example.com")
        ]
    assert said(answers[0], "ghost@example.com") == said(answers[1], "owner@example.com")
    assert len(mail.outbox) == 2


def test_a_wrong_password_says_the_same_with_and_without_an_account() -> None:
    User.objects.create_user("owner@example.com", PASSWORD)
    answers = [
        Client().post("/accounts/login/", {"login": email, "password": "wrong"})
        for email in ("ghost@example.com", "owner@example.com")
    ]
    assert said(answers[0], "ghost@example.com") == said(answers[1], "owner@example.com")


@pytest.fixture
def rival() -> Client:
    User.objects.create_user("owner@example.com", PASSWORD)
    user = User.objects.create_user("rival@example.com", PASSWORD)
    EmailAddress.objects.create(user=user, email=user.email, primary=True)
    client = Client()
    client.force_login(user)
    session = client.session
    session["account_authentication_methods"] = [{"method": "password", "at": time.time()}]
    session.save()
    return client


def test_adding_an_address_to_an_account_answers_the_same(rival: Client) -> None:
    pages = []
    for email in ("free@example.com", "owner@example.com"):
        rival.post("/accounts/email/", {"action_add": "", "email": email})
        pages.append(said(rival.get("/accounts/email/"), email))
        EmailAddress.objects.filter(email=email).delete()
    assert pages[0] == pages[1]


def test_nobody_takes_another_accounts_address(rival: Client) -> None:
    mine = User.objects.get(email="rival@example.com")
    theirs = EmailAddress.objects.create(user=mine, email="owner@example.com")
    answer = rival.post("/accounts/email/", {"action_primary": "", "email": "owner@example.com"})
    assert answer.status_code == 302
    mine.refresh_from_db()
    assert mine.email == "rival@example.com"
    from allauth.account.models import EmailConfirmationHMAC

    rival.post(f"/accounts/confirm-email/{EmailConfirmationHMAC(theirs).key}/")
    theirs.refresh_from_db()
    assert not theirs.verified
