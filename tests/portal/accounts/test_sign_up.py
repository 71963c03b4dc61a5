"""Signing up, in, out, and resetting a password, through the pages' own forms."""

import re

import pytest
from django.core import mail
from django.test import Client

from portal.accounts.models import Membership, Organisation, Role, User

PASSWORD = "a long enough phrase 42"


@pytest.fixture
def newcomer(db: None) -> Client:
    client = Client()
    answer = client.post("/accounts/signup/", {"email": "Jo.Doe@example.com", "password1": PASSWORD})
    assert answer.status_code == 302, answer.content
    client.post("/accounts/login/", {"login": "jo.doe@example.com", "password": PASSWORD})
    return client


def test_signing_up_opens_a_personal_organisation(newcomer: Client) -> None:
    user = User.objects.get(email__iexact="jo.doe@example.com")
    organisation = Organisation.objects.get(personal_of=user)
    assert organisation.slug == "jodoe"
    assert Membership.objects.get(user=user, organisation=organisation).role == Role.OWNER


def test_a_second_user_of_the_same_name_gets_another_slug(newcomer: Client) -> None:
    Client().post("/accounts/signup/", {"email": "jo.doe@example.org", "password1": PASSWORD})
    slugs = Organisation.objects.exclude(personal_of=None).values_list("slug", flat=True)
    assert len(set(slugs)) == 2


def test_a_weak_password_is_refused(db: None) -> None:
    Client().post("/accounts/signup/", {"email": "x@example.com", "password1": "12345"})
    assert not User.objects.exists()


def test_signing_out_and_in_again(newcomer: Client) -> None:
    newcomer.post("/accounts/logout/")
    assert "_auth_user_id" not in newcomer.session
    newcomer.post("/accounts/login/", {"login": "jo.doe@example.com", "password": PASSWORD})
    assert "_auth_user_id" in newcomer.session


def test_a_wrong_password_signs_no_one_in(newcomer: Client) -> None:
    other = Client()
    answer = other.post("/accounts/login/", {"login": "jo.doe@example.com", "password": "wrong"})
    assert answer.status_code == 200
    assert "_auth_user_id" not in other.session


def test_a_forgotten_password_is_reset_by_mail(newcomer: Client) -> None:
    mail.outbox.clear()
    visitor = Client()
    visitor.post("/accounts/password/reset/", {"email": "jo.doe@example.com"})
    link = re.search(r"http://[^/]+(/accounts/password/reset/key/\S+)", str(mail.outbox[0].body))
    assert link
    form = visitor.get(link[1], follow=True).request["PATH_INFO"]
    visitor.post(form, {"password1": "another phrase 4711", "password2": "another phrase 4711"})
    assert "_auth_user_id" in visitor.session
    visitor.post("/accounts/logout/")
    visitor.post("/accounts/login/", {"login": "jo.doe@example.com", "password": "another phrase 4711"})
    assert "_auth_user_id" in visitor.session
