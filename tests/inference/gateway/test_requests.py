"""What plain HTTP clients send: packed bodies, wrong addresses, other methods, pinned versions."""

import gzip
import json
import zlib
from collections.abc import Callable
from typing import Any

import httpx
import openai
import pytest

from inference.gateway.errors import BodyTooLarge, NotJson
from inference.gateway.reading import unpack
from marketplace import publishing
from marketplace.models import Version
from tests.conftest import Cast
from tests.inference.gateway.conftest import Offer
from tests.inference.gateway.test_calls import HELLO, Clients, Offers, Workers

Send = Callable[..., httpx.Response]


@pytest.fixture
def tiny(offer: Offers) -> Offer:
    return offer()


@pytest.fixture
def send(gateway: str, tiny: Offer) -> Send:
    headers = {"authorization": f"Bearer {tiny.key_text}", "content-type": "application/json"}

    def request(method: str, path: str, content: bytes = b"", **more: str) -> httpx.Response:
        extra = {name.replace("_", "-"): value for name, value in more.items()}
        url = gateway.removesuffix("/v1") + path
        return httpx.request(method, url, content=content, headers=headers | extra, timeout=60)

    return request


def test_packed_bodies_are_unpacked(tiny: Offer, send: Send, worker: Workers) -> None:
    worker(tiny, pieces=["x"])
    body = json.dumps({"model": tiny.name, "messages": HELLO, "max_tokens": 2}).encode()
    half = len(body) // 2
    for encoding, packed in (
        ("gzip", gzip.compress(body)),
        ("gzip", gzip.compress(body[:half]) + gzip.compress(body[half:])),
        ("deflate", zlib.compress(body)),
        ("identity", body),
    ):
        answer = send("POST", "/v1/chat/completions", packed, content_encoding=encoding)
        assert answer.status_code == 200, answer.text
    for key in ("one", "two"):
        answer = send(
            "POST", "/v1/chat/completions", gzip.compress(body), content_encoding="gzip", idempotency_key=key
        )
        assert answer.status_code == 200, answer.text


def test_packed_bodies_that_cannot_be_unpacked_are_told_why(send: Send) -> None:
    def refused(content: bytes, encoding: str) -> tuple[int, str, httpx.Response]:
        answer = send("POST", "/v1/chat/completions", content, content_encoding=encoding)
        return answer.status_code, answer.json()["error"]["code"], answer

    assert refused(gzip.compress(b" " * 5 * 2**20), "gzip")[:2] == (413, "request_too_large")
    assert refused(b"{}", "gzip")[:2] == (400, "invalid_json")
    assert refused(gzip.compress(b"{}")[:-4], "gzip")[:2] == (400, "invalid_json")
    status, code, answer = refused(b"{}", "br")
    assert (status, code) == (415, "unsupported_content_encoding")
    assert "'br'" in answer.json()["error"]["message"]
    assert answer.headers["accept-encoding"] == "gzip, deflate"


def test_no_packed_body_is_unpacked_beyond_the_limit() -> None:
    bomb = gzip.compress(bytes(2**26))
    with pytest.raises(BodyTooLarge):
        unpack(bomb, bits=31, limit=2**20)
    with pytest.raises(NotJson, match="members"):
        unpack(gzip.compress(b"") * 100_000, bits=31, limit=2**20)


@pytest.mark.parametrize(
    ("path", "meant"),
    [
        ("/v1/chat/completion", "/v1/chat/completions"), ("/v1/Models", "/v1/models"),
        ("/V1/EMBEDDINGS", "/v1/embeddings"), ("/v1/v1/models", "/v1/models"), ("/v1/model", "/v1/models"),
    ],
)  # fmt: skip
def test_a_wrong_address_is_answered_with_the_right_one(send: Send, path: str, meant: str) -> None:
    answer = send("GET", path)
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "unknown_url")
    assert f"Did you mean {meant}?" in answer.json()["error"]["message"]


@pytest.mark.parametrize("path", ["/v1", "/v1/", "/v1/nothing/like/it", "//v1//%00", "/v1/" + "x" * 5000])
def test_all_that_lies_below_v1_is_answered_in_json(send: Send, path: str) -> None:
    answer = send("GET", path)
    assert answer.status_code == 404
    assert "/v1/chat/completions" in answer.json()["error"]["message"]


def test_models_are_listed_however_the_address_is_joined(tiny: Offer, send: Send) -> None:
    for path in ("/v1/models", "/v1/models/", "//v1/models", "/v1//models/"):
        assert [model["id"] for model in send("GET", path).json()["data"]] == [tiny.name]
    head = send("HEAD", "/v1/models")
    assert (head.status_code, head.content) == (200, b"")
    wrong = send("POST", "/v1/models")
    assert (wrong.status_code, wrong.headers["allow"]) == (405, "GET, HEAD")
    assert "Use GET, HEAD." in wrong.json()["error"]["message"]


def test_a_pinned_version_is_described_by_its_own_facts(cast: Cast, tiny: Offer, client: Clients) -> None:
    fields: Any = {"task": "text-generation", "architecture": "llama", "weight_bytes": 1, "memory_bytes": 1}
    ready = {"state": Version.State.READY, "created_by": cast.owner, "digest": "1" * 64}
    newer = Version.objects.create(listing=tiny.listing, number=2, context_length=77, **ready, **fields)
    publishing.make_current(newer, by=cast.owner)
    Version.objects.create(
        listing=tiny.listing, number=3, created_by=cast.owner, digest="2" * 64,
        state=Version.State.REFUSED, **fields,
    )  # fmt: skip
    retrieve = client(tiny).models.retrieve
    facts = [(model.id, model.version, model.context_length) for model in map(retrieve, (  # type: ignore[attr-defined]
        tiny.name, f"{tiny.name}:1", f"{tiny.name}:2",
    ))]  # fmt: skip
    assert facts == [(tiny.name, 2, 77), (f"{tiny.name}:1", 1, 1024), (f"{tiny.name}:2", 2, 77)]
    for number in (0, 3, 99, 999999999):
        with pytest.raises(openai.NotFoundError) as missing:
            retrieve(f"{tiny.name}:{number}")
        assert missing.value.code == "model_not_found"
