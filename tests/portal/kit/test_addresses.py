"""Whose request it is: the peer's, or behind a proxy the last address that the proxy has added."""

import pytest
from django.conf import LazySettings
from django.test import RequestFactory

from portal.kit import addresses


@pytest.mark.parametrize(
    ("forwarded", "who"),
    [
        ("192.0.2.1", "192.0.2.1"), ("10.0.0.1, 192.0.2.1", "192.0.2.1"), ("192.0.2.1:40001", "192.0.2.1"),
        ("2001:db8::5", "2001:db8::/64"), ("[2001:db8::5]:40001", "2001:db8::/64"), ("[2001:db8::5]", "2001:db8::/64"),
        ("::ffff:192.0.2.1", "192.0.2.1"), ("", "203.0.113.5"),
    ],
)  # fmt: skip
def test_the_proxys_word(settings: LazySettings, forwarded: str, who: str) -> None:
    request = RequestFactory().get("/", REMOTE_ADDR="203.0.113.5", HTTP_X_FORWARDED_FOR=forwarded)
    assert addresses.of(request) == "203.0.113.5"
    settings.TRUST_PROXY = True
    assert addresses.of(request) == who
