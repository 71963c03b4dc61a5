"""Every route, every method, as owner, team-mate, outsider and anonymous.

An outsider and an anonymous visitor read nothing of acme's and change nothing, on any route that exists now
or later; the owner and the developer reach what is theirs.
"""

import hashlib
from collections.abc import Iterator

import pytest
from django.apps import apps
from django.core import serializers
from django.test import Client

from portal.accounts import api_keys
from tests.conftest import Cast
from tests.tenancy import world as worlds
from tests.tenancy.routes import Route, walk
from tests.tenancy.world import SECRET, World

METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
ROUTES = list(walk())
PUBLIC = {"", "api/listings/", "demo/progress/", "playground/refusal/", "status/"}
BODY = {
    "name": "taken over", "slug": "taken-over", "reason": "because", "number": 1, "role": "owner",
    "email": "outsider@example.com", "spend_cap": 1, "kind": "company", "scopes": ["inference"],
    "confirm": "hidden", "task": "text-generation",
}  # fmt: skip


@pytest.fixture
def world(cast: Cast, clean_redis: None) -> World:
    return worlds.build(cast)


def state() -> str:
    """A digest of every row that belongs to somebody."""
    digest = hashlib.sha256()
    for model in apps.get_models():
        if model._meta.app_label in {"accounts", "marketplace"} and model._meta.managed:
            digest.update(serializers.serialize("json", model._default_manager.order_by("pk")).encode())
    return digest.hexdigest()


def visit(client: Client, route: Route, world: World) -> Iterator[tuple[str, int, str]]:
    """Status and body of each method."""
    client.raise_request_exception = False
    for method in METHODS:
        answer = client.generic(
            method, route.path(world.arguments), data=body_of(method), content_type="application/json"
        )
        body = b"".join(answer.streaming_content) if answer.streaming else answer.content
        yield method, answer.status_code, body.decode(errors="replace")


def body_of(method: str) -> bytes:
    import orjson

    return b"" if method == "GET" else orjson.dumps(BODY)


def assert_blind(route: Route, method: str, status: int, body: str, world: World) -> None:
    assert status < 500, f"{method} {route} answers {status}: {body[:300]}"
    assert SECRET not in body, f"{method} {route} tells the secret"
    shown = [str(identity) for identity in worlds.identities(world) if str(identity) in body]
    assert not shown or status in {302, 404}, f"{method} {route} shows {shown}"


@pytest.mark.parametrize("route", ROUTES, ids=str)
def test_anonymous_visitors_neither_read_nor_change(route: Route, world: World) -> None:
    before = state()
    for method, status, body in visit(Client(), route, world):
        assert_blind(route, method, status, body, world)
        if route.pattern not in PUBLIC:
            assert status in {302, 401, 403, 404, 405}, f"{method} {route} answers {status}"
    assert state() == before


@pytest.mark.parametrize("route", ROUTES, ids=str)
def test_outsiders_neither_read_nor_change(route: Route, world: World) -> None:
    objects = route.path(world.arguments) != "/" + route.pattern.replace("^", "").replace("$", "")
    client = world.cast.browser(world.cast.outsider)
    before = state()
    for method, status, body in visit(client, route, world):
        assert_blind(route, method, status, body, world)
        if objects:
            assert status in {403, 404, 405}, f"{method} {route} answers {status}"
    if objects:
        assert state() == before


@pytest.mark.parametrize("route", ROUTES, ids=str)
def test_an_outsiders_key_is_no_better(route: Route, world: World) -> None:
    if not route.pattern.startswith("api/"):
        pytest.skip("pages take no keys")
    outsider = world.cast.outsider
    _, text = api_keys.issue(outsider.personal_organisation, by=outsider, name="k", scopes=["manage"])
    client = Client(headers={"authorization": f"Bearer {text}"})
    for method, status, body in visit(client, route, world):
        assert_blind(route, method, status, body, world)


@pytest.mark.parametrize("who", ["owner", "mate"])
@pytest.mark.parametrize("route", ROUTES, ids=str)
def test_members_reach_their_own(route: Route, who: str, world: World) -> None:
    client = world.cast.browser(getattr(world.cast, who))
    client.raise_request_exception = False
    answer = client.get(route.path(world.arguments))
    assert answer.status_code in {200, 302, 405}, f"{who}: {route} answers {answer.status_code}"
    if answer.status_code == 302:
        assert "login" not in answer["Location"]


@pytest.mark.parametrize("route", ROUTES, ids=str)
def test_no_input_of_a_member_breaks_a_route(route: Route, world: World) -> None:
    for method, status, body in visit(world.cast.browser(world.cast.mate), route, world):
        assert status < 500, f"{method} {route} answers {status}: {body[:300]}"


def test_a_key_without_the_manage_scope_reaches_no_control_route(world: World) -> None:
    _, text = api_keys.issue(world.cast.acme, by=world.cast.owner, name="k", scopes=["inference"])
    client = Client(headers={"authorization": f"Bearer {text}"})
    for route in ROUTES:
        if route.pattern.startswith("api/"):
            assert client.get(route.path(world.arguments)).status_code in {403, 405}, str(route)
