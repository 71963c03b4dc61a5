"""Every address of the site answers every method with something other than a failure of ours."""

import re
from collections.abc import Iterator
from typing import Any

import pytest
from django.contrib import admin
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver

from tests.conftest import Cast
from tests.tenancy import world as worlds
from tests.tenancy.routes import Route

METHODS = ("GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE", "TRACE", "BREW", "FORM")
# Parameters of libraries' addresses.
OTHERS = {
    "key": "a-key", "uidb36": "a", "object_id": "1", "content_type_id": 1, "app_label": "accounts", "rest": "1/1/",
    "url": "nothing/",
}  # fmt: skip


def walk(patterns: Any = None, prefix: str = "") -> Iterator[str]:
    """All patterns, those of libraries included."""
    for entry in get_resolver().url_patterns if patterns is None else patterns:
        whole = prefix + str(entry.pattern)
        if isinstance(entry, URLResolver):
            yield from walk(entry.url_patterns, whole)
        elif isinstance(entry, URLPattern):
            yield whole


def paths(arguments: dict[str, Any]) -> Iterator[str]:
    for pattern in sorted(set(walk())):
        yield re.sub(r"\\Z|\?\Z", "", Route(pattern).path(arguments))
    for model in admin.site._registry:
        for row in model._default_manager.all()[:1]:
            yield f"/admin/{model._meta.app_label}/{model._meta.model_name}/{row.pk}/change/"


@pytest.mark.parametrize("who", [None, "owner", "operator"])
def test_no_method_breaks_an_address(who: str | None, cast: Cast, clean_redis: None) -> None:
    arguments = {**OTHERS, **worlds.build(cast).arguments}
    client, broken = Client(), []
    for path in list(paths(arguments)):
        for method in METHODS:
            if method == "GET" or "logout" in path:
                # Some addresses sign out.
                client = cast.browser(getattr(cast, who)) if who else Client()
                client.raise_request_exception = False
            # Forms too: whoever reads a body has to know that it may have been read.
            answer = client.post(path, {"a": "b"}) if method == "FORM" else client.generic(method, path)
            # Not ready without a worker is an answer.
            if answer.status_code >= 500 and path != "/readyz":
                broken.append(f"{method} {path}: {answer.status_code}")
            if answer.streaming:
                answer.close()
    assert not broken
