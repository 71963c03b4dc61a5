"""Whatever is sent to the control API is answered in JSON, never with a failure of ours, and by name."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import quote

import pytest
from django.db import transaction
from django.test import Client

from tests.conftest import Cast
from tests.portal.api.schema import WRONG, Operation, fitting, operations, spoilt
from tests.tenancy import world as worlds

ROOTS = [
    b"", b"[]", b'"x"', b"5", b"null", b"true", b"{", b'{"a": 1}{', b'{"a": NaN}', b"\xff\xfe{}", b"[" * 50_000,
    b'{"a": ' + b"9" * 5000 + b"}", b"--x\r\n",
]  # fmt: skip
KINDS = ["application/json", "application/json; charset=none", "text/plain", "application/x-www-form-urlencoded",
         "multipart/form-data", "multipart/form-data; boundary=x", "", "a/b/c"]  # fmt: skip


# There is no other version in this world.
WEIGHTS = "This version runs on weights"


@pytest.fixture
def arguments(cast: Cast, clean_redis: None) -> dict[str, Any]:
    return worlds.build(cast).arguments


@contextmanager
def undone() -> Iterator[None]:
    point = transaction.savepoint()
    yield
    transaction.savepoint_rollback(point)


def send(client: Client, operation: Operation, url: str, body: Any, kind: str = "application/json") -> Any:
    """The answer's body, checked for what all answers have in common."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    with undone():
        answer = client.generic(operation.method, url, data, content_type=kind)
    about = (str(operation), url[:200], kind, data[:200], answer.status_code, answer.content[:500])
    assert answer.status_code < 500, about
    if answer.status_code == 204 and not answer.content:
        return 204, {}
    assert answer.headers["content-type"] == "application/json", about
    told = answer.json()
    if answer.status_code >= 400:
        assert told["error"]["code"], about
        assert told["error"]["message"].endswith((".", "?")), about
        assert len(told["error"]["message"]) < 1000, about
    return answer.status_code, told


@pytest.mark.parametrize("operation", [each for each in operations() if each.body], ids=str)
def test_a_field_that_is_wrong_is_refused_by_name(
    cast: Cast, arguments: dict[str, Any], operation: Operation
) -> None:
    client = cast.browser(cast.owner)
    client.raise_request_exception = False
    assert operation.body
    url = operation.url(arguments)
    status, told = send(client, operation, url, fitting(operation.body))
    assert status != 400 or WEIGHTS in told["error"]["message"], told
    for name, body in spoilt(operation.body):
        status, told = send(client, operation, url, body)
        if status == 400 and WEIGHTS not in told["error"]["message"]:
            # A word of it may do: "includes" for `included`.
            assert name[:-1] in json.dumps(told), (str(operation), name, told)
        if name == "unknown_field":
            assert (status, "unknown_field" in told["error"]["message"]) == (400, True), (
                str(operation),
                told,
            )


@pytest.mark.parametrize("who", ["owner", "mate", "outsider", "operator", None])
def test_a_body_of_any_kind_is_answered_in_json(
    cast: Cast, arguments: dict[str, Any], who: str | None
) -> None:
    client = cast.browser(getattr(cast, who)) if who else Client()
    client.raise_request_exception = False
    for operation in operations():
        url = operation.url(arguments)
        bodies = [(root, KINDS[0]) for root in ROOTS] + [(b'{"a": 1}', kind) for kind in KINDS]
        bodies += [(fitting(operation.body), KINDS[0])] if operation.body else []
        every = who == "owner" and operation.method != "GET"
        for body, kind in bodies if every else bodies[::4]:
            send(client, operation, url, body, kind)


@pytest.mark.parametrize("who", ["owner", None])
def test_a_parameter_that_is_wrong_is_refused_by_name(
    cast: Cast, arguments: dict[str, Any], who: str | None
) -> None:
    client = cast.browser(getattr(cast, who)) if who else Client()
    client.raise_request_exception = False
    for operation in operations():
        if operation.path == "/api/schema/":
            continue
        url = operation.url(arguments)
        for parameter in operation.parameters:
            for wrong in [*WRONG, "9" * 5000, "2030-01-01T00:00:00Z", "0001-01-01T00:00:00Z"]:
                status, told = send(
                    client,
                    operation,
                    f"{url}?{parameter['name']}={quote(str(wrong)[:5000], errors='replace')}",
                    b"",
                )
                if status == 400:
                    assert "unknown_parameter" not in told["error"]["code"], (str(operation), parameter)
        status, told = send(client, operation, f"{url}?unknown_one=1", b"")
        if who:
            assert (status, told["error"]["code"]) == (400, "unknown_parameter"), str(operation)
            assert "'unknown_one'" in told["error"]["message"]
        else:
            assert status >= 400
