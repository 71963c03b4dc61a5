"""Every route of /v1, every method, as everybody whom acme's things are not for."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import UUID

import httpx
import pytest
from starlette.routing import Route

from inference import protocol
from inference.gateway.app import create
from marketplace.models import Listing
from portal.accounts import api_keys
from portal.accounts.models import Organisation, User
from portal.kit import clock, ids, redis
from tests.conftest import Cast
from tests.tenancy import world as worlds
from tests.tenancy.world import SECRET, World

METHODS = ("GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE")
MODEL = "acme/taken"
REQUEST = UUID(int=7)
PREDICTION = ids.public("pred", REQUEST)
# A valid body for each route that takes one: what is wrong is the caller alone.
BODIES: dict[str, dict[str, object]] = {
    "/chat/completions": {"model": MODEL, "messages": [{"role": "user", "content": "hello"}]},
    "/completions": {"model": MODEL, "prompt": "hello"},
    "/embeddings": {"model": MODEL, "input": "hello"},
    "/predictions": {"model": MODEL, "input": {"text": "hello"}},
}
WITHOUT_BODY = {"/predictions/{id}", "/predictions/{id}/cancel", "/models", "/models/{model:path}"}
RECORD_KEY = f"inference:prediction:{REQUEST.hex}"


@pytest.fixture(autouse=True)
def _services(transactional_db: None, clean_redis: None) -> None:
    """Committed rows, since the gateway reads them on threads of its own."""


@pytest.fixture
def world(cast: Cast) -> World:
    """Acme sells `acme/taken`, subscribes to it, and has made a prediction with it."""
    world = worlds.build(cast)
    listing = world.subscription.listing
    Listing.objects.filter(pk=listing.pk).update(
        published_at=clock.now(), current_version=listing.versions.get()
    )
    record = {
        "request": REQUEST.hex, "organisation": cast.acme.pk.hex, "listing": listing.pk.hex, "version": "1",
        "model": MODEL, "reply": "nobody", "status": "succeeded", "output": SECRET,
    }  # fmt: skip
    redis.client().set(RECORD_KEY, protocol.pack(record))
    return world


@asynccontextmanager
async def data_plane(key: str | None) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the application, with its own lifespan."""
    app = create()
    headers = {"authorization": f"Bearer {key}"} if key else {}
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://v1", headers=headers) as client,
    ):
        yield client


async def walk(key: str | None) -> dict[tuple[str, str], httpx.Response]:
    """The answers of all routes to all methods, by method and path as routed."""
    answers = {}
    async with data_plane(key) as client:
        for route in create().routes:
            assert isinstance(route, Route), f"teach this test what {route} is"
            assert route.path in BODIES or route.path in WITHOUT_BODY, f"teach this test {route.path}"
            path = route.path.replace("{id}", PREDICTION).replace("{model:path}", MODEL)
            for method in METHODS:
                body = BODIES.get(route.path) if method not in {"GET", "HEAD", "OPTIONS"} else None
                answers[method, route.path] = await client.request(method, path, json=body)
    return answers


def assert_blind(answers: dict[tuple[str, str], httpx.Response], *, statuses: set[int]) -> None:
    for (method, path), answer in answers.items():
        assert answer.status_code in statuses, f"{method} {path} answers {answer.status_code}: {answer.text}"
        assert SECRET not in answer.text, f"{method} {path} tells the secret"


def key_of(organisation: Organisation, by: User, scope: str) -> str:
    return api_keys.issue(organisation, by=by, name="k", scopes=[scope])[1]


def test_without_a_key_nothing_is_said(world: World) -> None:
    assert_blind(asyncio.run(walk(None)), statuses={401, 405})


@pytest.fixture
def manage_only(cast: Cast, world: World) -> str:
    return key_of(cast.acme, cast.owner, "manage")


@pytest.fixture
def outsiders(cast: Cast, world: World) -> str:
    return key_of(cast.outsider.personal_organisation, cast.outsider, "inference")


@pytest.fixture
def owners_elsewhere(cast: Cast, world: World) -> str:
    """Acme's owner's, of their personal organisation: keys speak for organisations, not for people."""
    return key_of(cast.owner.personal_organisation, cast.owner, "inference")


@pytest.fixture
def acmes(cast: Cast, world: World) -> str:
    return key_of(cast.acme, cast.owner, "inference")


def test_a_key_for_managing_calls_nothing_even_of_its_own(manage_only: str) -> None:
    assert_blind(asyncio.run(walk(manage_only)), statuses={403, 405})


@pytest.mark.parametrize("whose", ["outsiders", "owners_elsewhere"])
def test_keys_of_other_organisations_reach_nothing_of_acmes(
    whose: str, request: pytest.FixtureRequest, world: World
) -> None:
    key, kept = request.getfixturevalue(whose), redis.client().get(RECORD_KEY)
    answers = asyncio.run(walk(key))
    for method in ("GET", "HEAD"):
        # The list of what the caller may call, which is nothing.
        assert answers.pop((method, "/models")).status_code == 200
    assert_blind(answers, statuses={403, 404, 405})
    assert redis.client().get(RECORD_KEY) == kept
    assert not redis.client().keys("inference:payload:*")


def test_acme_reaches_its_own(acmes: str) -> None:
    answers = asyncio.run(walk(acmes))
    assert SECRET in answers["GET", "/predictions/{id}"].json()["output"]
    assert answers["POST", "/predictions/{id}/cancel"].status_code == 202
    assert [model["id"] for model in answers["GET", "/models"].json()["data"]] == [MODEL]
    assert answers["GET", "/models/{model:path}"].status_code == 200
    assert not {answer.status_code for answer in answers.values()} & {401, 403}
