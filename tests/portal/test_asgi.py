"""Which of the two applications answers."""

from typing import Any

import pytest

from portal.asgi import beside


async def reached(scope: dict[str, Any]) -> tuple[str, str, str]:
    """The application's name with the path and the root path that it is given."""
    found = []

    def named(name: str) -> Any:
        async def application(scope: Any, receive: Any, send: Any) -> None:
            found.append((name, scope.get("path", ""), scope.get("root_path", "")))

        return application

    nothing: Any = None
    await beside(named("data plane"), named("pages"))(scope, nothing, nothing)
    (once,) = found
    return once


@pytest.mark.parametrize("path", ["/v1", "/v1/chat/completions"])
async def test_the_data_plane_answers_below_v1(path: str) -> None:
    assert await reached({"type": "http", "path": path}) == ("data plane", path, "/v1")


@pytest.mark.parametrize("path", ["/", "/v1x", "/v10/models", "/acme/v1/", "/console/"])
async def test_django_answers_the_rest(path: str) -> None:
    assert await reached({"type": "http", "path": path}) == ("pages", path, "")


@pytest.mark.parametrize(
    "path", ["//v1/models", "/v1//models", "/v1/models/", "/V1/models", "///v1///models//"]
)
async def test_a_slash_too_many_does_not_lead_astray(path: str) -> None:
    assert await reached({"type": "http", "path": path}) == ("data plane", "/v1/models", "/v1")
    assert (await reached({"type": "http", "path": path.replace("v1", "v1x").replace("V1", "V1X")}))[
        0
    ] == "pages"


async def test_a_prefix_of_a_proxy_is_kept() -> None:
    scope = {"type": "http", "path": "/shop/v1/models", "root_path": "/shop"}
    assert await reached(scope) == ("data plane", "/shop/v1/models", "/shop/v1")
    assert await reached({**scope, "path": "/shop//v1/models/"}) == (
        "data plane",
        "/shop/v1/models",
        "/shop/v1",
    )
    assert (await reached({**scope, "path": "/shop/console/"}))[0] == "pages"


async def test_the_lifespan_is_the_data_planes() -> None:
    assert (await reached({"type": "lifespan"}))[0] == "data plane"
