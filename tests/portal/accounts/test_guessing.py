"""Wrong passwords slow down who sends them, and keep no owner out."""

import re

import pytest
from django.core import mail
from django.test import Client, override_settings

from portal.accounts import attempts
from portal.accounts.models import User
from portal.kit.ratelimit import Rate

pytestmark = [pytest.mark.usefixtures("clean_redis"), pytest.mark.django_db]
EMAIL, PASSWORD = "owner@example.com", "a long enough phrase 42"


@pytest.fixture(autouse=True)
def owner() -> User:
    with override_settings(PASSWORD_HASHERS=["django.contrib.auth.hashers.MD5PasswordHasher"]):
        return User.objects.create_user(EMAIL, PASSWORD)


@pytest.fixture(autouse=True)
def _quick_hashes(settings: object) -> None:
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]  # type: ignore[attr-defined]


def at(address: str, **cookies: str) -> Client:
    client = Client(REMOTE_ADDR=address)
    for name, value in cookies.items():
        client.cookies[name] = value
    return client


def enter(client: Client, password: str = PASSWORD, email: str = EMAIL) -> bool:
    client.post("/accounts/login/", {"login": email, "password": password})
    return "_auth_user_id" in client.session


def guess(address: str, times: int = attempts.HERE.most) -> None:
    for _ in range(times):
        assert not enter(at(address), "wrong")


def test_guessing_from_one_address_ends_there_alone() -> None:
    guess("203.0.113.5")
    assert not enter(at("203.0.113.5"))
    assert enter(at("198.51.100.7"))


def test_neighbours_in_ipv6_are_one() -> None:
    guess("2001:db8:1:2::5")
    assert not enter(at("2001:db8:1:2:ffff::9"))
    assert enter(at("2001:db8:1:3::9"))


def test_a_device_that_the_account_knows_is_let_in_from_the_attackers_own_address() -> None:
    home = at("203.0.113.5")
    assert enter(home)
    known = home.cookies["known_device"].value
    guess("203.0.113.5")
    assert enter(at("203.0.113.5", known_device=known))
    assert not enter(at("203.0.113.5", known_device=known[:-3] + "abc"))
    # Known to its own account alone.
    User.objects.create_user("other@example.com", PASSWORD)
    guess_other = [
        enter(at("203.0.113.9", known_device=known), "wrong", "other@example.com") for _ in range(6)
    ]
    assert not any(guess_other)
    assert not enter(at("203.0.113.9", known_device=known), PASSWORD, "other@example.com")


def test_a_known_device_guesses_no_more_than_a_few_times_either() -> None:
    home = at("203.0.113.5")
    assert enter(home)
    known = home.cookies["known_device"].value
    for _ in range(attempts.KNOWN.most):
        enter(at("203.0.113.5", known_device=known), "wrong")
    assert not enter(at("203.0.113.5", known_device=known))


def test_guessing_from_everywhere_leaves_known_devices_and_the_mail(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attempts, "ACCOUNT", Rate(6, 3600))
    home = at("203.0.113.5")
    assert enter(home)
    for number in range(6):
        guess(f"198.51.100.{number}", times=1)
    fresh = at("192.0.2.1")
    assert not enter(fresh)
    assert (
        "forgotten password"
        in fresh.post("/accounts/login/", {"login": EMAIL, "password": PASSWORD}).content.decode()
    )
    assert enter(at("192.0.2.2", known_device=home.cookies["known_device"].value))
    fresh.post("/accounts/password/reset/", {"email": EMAIL})
    link = re.search(r"http://[^/]+(/accounts/password/reset/key/\S+)", str(mail.outbox[-1].body))
    assert link
    form = fresh.get(link[1], follow=True).request["PATH_INFO"]
    fresh.post(form, {"password1": "another phrase 4711", "password2": "another phrase 4711"})
    assert "_auth_user_id" in fresh.session
    assert enter(at("192.0.2.1", known_device=fresh.cookies["known_device"].value), "another phrase 4711")


def test_right_passwords_are_not_counted() -> None:
    for _ in range(attempts.HERE.most + 2):
        assert enter(at("203.0.113.5"))


def test_the_proxys_word_counts_behind_one_alone() -> None:
    forged = {"HTTP_X_FORWARDED_FOR": "192.0.2.77"}
    for number in range(attempts.HERE.most):
        Client(REMOTE_ADDR="203.0.113.5", HTTP_X_FORWARDED_FOR=f"192.0.2.{number}").post(
            "/accounts/login/", {"login": EMAIL, "password": "wrong"}
        )
    assert not enter(Client(REMOTE_ADDR="203.0.113.5", **forged))
    with override_settings(TRUST_PROXY=True):
        assert enter(Client(REMOTE_ADDR="203.0.113.5", HTTP_X_FORWARDED_FOR="10.0.0.1, 192.0.2.78"))
        for _ in range(attempts.HERE.most):
            Client(REMOTE_ADDR="203.0.113.5", HTTP_X_FORWARDED_FOR="192.0.2.9, 192.0.2.79").post(
                "/accounts/login/", {"login": EMAIL, "password": "wrong"}
            )
        assert not enter(Client(REMOTE_ADDR="203.0.113.5", HTTP_X_FORWARDED_FOR="192.0.2.80, 192.0.2.79"))
