"""No serializer and no view of ours takes in silence what it does not read."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from django.urls import URLPattern, URLResolver, get_resolver
from rest_framework import serializers as framework

from portal.kit.serializers import KnownFieldsOnly, QuerySerializer
from portal.kit.views import KnownParametersOnly
from tests.conftest import Cast
from tests.portal.api.schema import operations


def below(kind: type[Any]) -> Iterator[type[Any]]:
    for each in kind.__subclasses__():
        yield each
        yield from below(each)


def is_ours(kind: type[Any]) -> bool:
    return kind.__module__.split(".")[0] in {"portal", "marketplace", "billing", "inference"}


def views(patterns: Any = None, prefix: str = "") -> Iterator[type[Any]]:
    for entry in get_resolver().url_patterns if patterns is None else patterns:
        whole = prefix + str(entry.pattern)
        if isinstance(entry, URLResolver):
            yield from views(entry.url_patterns, whole)
        elif isinstance(entry, URLPattern) and whole.startswith("api/"):
            callback: Any = entry.callback
            yield getattr(callback, "cls", None) or callback.view_class


def test_every_serializer_knows_its_fields() -> None:
    assert operations()
    kinds = set(filter(is_ours, below(framework.BaseSerializer)))
    assert len(kinds) > 30
    assert {kind for kind in kinds if not issubclass(kind, KnownFieldsOnly | QuerySerializer)} == set()


def test_every_view_knows_its_parameters() -> None:
    kinds = set(filter(is_ours, views()))
    assert len(kinds) > 15
    assert {kind for kind in kinds if not issubclass(kind, KnownParametersOnly)} == set()
    read = {query for kind in kinds for query in kind.queries.values()}
    assert set(filter(is_ours, below(QuerySerializer))) == read


def test_the_parameters_that_are_described_are_those_that_are_read() -> None:
    described = {str(each): {parameter["name"] for parameter in each.parameters} for each in operations()}
    assert described["GET /api/listings/"] >= {"limit", "after", "q", "mine"}
    assert described["GET /api/requests/"] >= {"limit", "cursor", "outcome"}
    assert described["PUT /api/uploads/{upload_id}/files/{path}"] == {"offset"}


@pytest.mark.parametrize(
    ("path", "body", "said"),
    [
        ("/api/listings/acme/remote/endpoints/", {"key": "sk-1"}, "key: There is no such field. Did you mean 'api_key'?"),
        ("/api/keys/", {"scope": ["manage"]}, "scope: There is no such field. Did you mean 'scopes'?"),
        ("/api/keys/", {"last_four": "1234"}, "last_four: It cannot be set. Leave it out."),
        ("/api/keys/", {"zzz": 1}, "zzz: There is no such field. There are: name, scopes, expires_at,"),
    ],
)  # fmt: skip
def test_a_field_that_nobody_reads_is_refused_with_the_right_one(
    cast: Cast, path: str, body: dict[str, Any], said: str
) -> None:
    browser = cast.browser(cast.owner)
    browser.post(
        "/api/listings/", {"slug": "remote", "name": "R", "task": "text-generation"}, "application/json"
    )
    fitting = {"name": "n", "scopes": ["inference"]} if "keys" in path else {
        "base_url": "https://models.example.com/v1", "model": "m", "context_length": 8, "max_output_tokens": 8,
    }  # fmt: skip
    answer = browser.post(path, json.dumps(fitting | body), "application/json")
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "invalid")
    assert answer.json()["error"]["message"].startswith(said)
    assert answer.json()["error"]["fields"].keys() == body.keys()


def test_fields_of_forms_and_of_what_lies_deeper_are_known_too(cast: Cast) -> None:
    browser = cast.browser(cast.owner)
    form = {"slug": "formed", "name": "F", "csrfmiddlewaretoken": "x"}
    assert browser.post("/api/organisations/", form | {"kin": "company"}).json()["error"][
        "fields"
    ].keys() == {"kin"}
    assert browser.post("/api/organisations/", form).status_code == 201
    browser.post("/api/listings/", {"slug": "l", "name": "L", "task": "text-generation"}, "application/json")
    plan = {
        "slug": "p",
        "name": "P",
        "kind": "paid",
        "terms": {"components": [{"meter": "requests", "price": 1}]},
    }
    answer = browser.post("/api/listings/acme/l/plans/", plan, "application/json").json()
    assert answer["error"]["message"].startswith("terms.components[0].price: There is no such field.")


@pytest.mark.parametrize(
    ("path", "hint"),
    [
        ("/api/listings/?licens=mit", "Did you mean 'licence'?"), ("/api/listings/?cursor=x", "There are: q, task"),
        ("/api/requests/?after=x", "There are: listing_id"), ("/api/keys/?limits=5", "Did you mean 'limit'?"),
        ("/api/requests/?model=x", "There are: listing_id"), ("/api/usage/?from=2026-01-01", "There are: start, end"),
        ("/api/keys/?format=csv", "There are: limit, cursor"), ("/api/organisations/acme/?limit=1", ""),
    ],
)  # fmt: skip
def test_a_parameter_that_nobody_reads_is_refused_with_the_right_one(
    cast: Cast, path: str, hint: str
) -> None:
    answer = cast.browser(cast.owner).get(path)
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "unknown_parameter")
    assert hint in answer.json()["error"]["message"]


@pytest.mark.parametrize("path", ["/api/keys/", "/api/requests/", "/api/subscriptions/", "/api/listings/"])
def test_pages_have_a_size_that_is_a_number(cast: Cast, path: str) -> None:
    browser = cast.browser(cast.owner)
    assert browser.get(path, {"limit": "1"}).status_code == 200
    for wrong in ("0", "-1", "many", "1e2", "9" * 30, "²", "201"):
        refused = browser.get(path, {"limit": wrong})
        assert (refused.status_code, refused.json()["error"]["param"]) == (400, "limit"), wrong
    refused = browser.get(path, {"after" if "listings" in path else "cursor": "cD1hYmM="})
    assert (refused.status_code, refused.json()["error"]["code"]) == (400, "invalid_request")


def test_an_organisation_is_a_company_unless_it_says_so(cast: Cast) -> None:
    browser = cast.browser(cast.owner)
    made = browser.post("/api/organisations/", {"slug": "plain", "name": "Plain"}, "application/json")
    assert (made.status_code, made.json()["kind"]) == (201, "company")
