"""Whoever checks an address by its head is told what a visitor would be."""

import pytest
from django.test import Client

from tests.conftest import Cast
from tests.tenancy import world as worlds
from tests.tenancy.routes import walk


@pytest.mark.parametrize("who", ["owner", None])
def test_a_head_is_answered_as_the_page_is(cast: Cast, clean_redis: None, who: str | None) -> None:
    arguments = worlds.build(cast).arguments
    browser = cast.browser(getattr(cast, who)) if who else Client()
    browser.raise_request_exception = False
    for route in walk():
        path = route.path(arguments)
        assert browser.head(path).status_code == browser.get(path).status_code, path
