"""Bodies beyond the limit are refused before anyone stores them."""

from collections.abc import Iterator

import httpx
import pytest
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.types import Receive, Scope, Send

from portal.kit.bodies import LimitedBodies


async def count(scope: Scope, receive: Receive, send: Send) -> None:
    body = await Request(scope, receive).body()
    await PlainTextResponse(str(len(body)))(scope, receive, send)


@pytest.fixture
def client() -> httpx.AsyncClient:
    transport = httpx.ASGITransport(app=LimitedBodies(count, most=100))
    return httpx.AsyncClient(transport=transport, base_url="http://test")


async def test_a_body_within_the_limit_arrives_whole(client: httpx.AsyncClient) -> None:
    assert (await client.post("/", content=b"x" * 100)).text == "100"


async def test_a_declared_length_beyond_the_limit_is_refused(client: httpx.AsyncClient) -> None:
    assert (await client.post("/", content=b"x" * 101)).status_code == 413


async def test_an_undeclared_length_is_counted(client: httpx.AsyncClient) -> None:
    def pieces() -> Iterator[bytes]:
        yield from (b"x" * 50 for _ in range(3))

    async def stream():
        for piece in pieces():
            yield piece

    answer = await client.post("/", content=stream())
    assert "content-length" not in answer.request.headers
    assert answer.status_code == 413
