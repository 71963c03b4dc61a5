"""The operators' console is theirs alone."""

import re
from collections.abc import Iterator

import pytest
from django.contrib import admin
from django.test import Client

from tests.conftest import Cast

METHODS = ("GET", "POST")
_PARAMETER = re.compile(r"<[^>]+>")


def pages() -> Iterator[str]:
    """The path of each page of each registered model, and of the site itself."""
    yield from ("/admin/", "/admin/password_change/", "/admin/autocomplete/")
    for model, pages_of in admin.site._registry.items():
        for entry in pages_of.get_urls():
            pattern = _PARAMETER.sub("1", str(entry.pattern))
            yield f"/admin/{model._meta.app_label}/{model._meta.model_name}/{pattern}"


def is_refused(client: Client, path: str, method: str) -> bool:
    client.raise_request_exception = False
    answer = client.generic(method, path)
    if answer.status_code == 302:
        return "login" in answer["Location"]
    return answer.status_code in {403, 404}


@pytest.mark.parametrize("who", ["nobody", "outsider", "mate", "owner"])
def test_nobody_but_staff_sees_a_page_of_it(who: str, cast: Cast) -> None:
    client = Client() if who == "nobody" else cast.browser(getattr(cast, who))
    shown = [(method, path) for path in pages() for method in METHODS if not is_refused(client, path, method)]
    assert not shown
    assert len(admin.site._registry) > 10


def test_staff_see_the_lists(cast: Cast) -> None:
    client = cast.browser(cast.operator)
    assert client.get("/admin/").status_code == 200
    for model in admin.site._registry:
        path = f"/admin/{model._meta.app_label}/{model._meta.model_name}/"
        assert client.get(path).status_code == 200, path
