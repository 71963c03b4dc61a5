"""Predictions at once, later, cancelled; and nobody else's."""

import base64
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from benchmarks.stand_in import StandIn
from inference import protocol
from inference.gateway.records import Records
from portal.accounts import api_keys
from portal.kit import redis
from tests.conftest import Cast
from tests.inference.gateway.conftest import Offer, await_that
from tests.inference.gateway.test_absent_services import lose_once

PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
LABELS = [[{"label": "7", "score": 0.9}, {"label": "1", "score": 0.1}]]
Http = Callable[..., httpx.Response]


@pytest.fixture
def digits(offer: Callable[..., Offer]) -> Offer:
    return offer("digits", task="image-classification")


@pytest.fixture
def call(gateway: str, digits: Offer) -> Http:
    """Call a path of the data plane as the subscriber, or with another key."""

    def send(method: str, path: str, *, key: str = "", **arguments: Any) -> httpx.Response:
        headers = {"Authorization": f"Bearer {key or digits.key_text}", **arguments.pop("headers", {})}
        return httpx.request(method, f"{gateway}{path}", headers=headers, timeout=20, **arguments)

    return send


def image_input() -> dict[str, Any]:
    return {"image": "data:image/png;base64," + base64.b64encode(PNG).decode()}


def labelled(payload: dict[str, Any]) -> dict[str, Any]:
    return {"labels": LABELS * len(payload["body"]["items"])}


def test_prefer_wait_answers_with_the_finished_prediction(
    digits: Offer, call: Http, worker: Callable[..., StandIn]
) -> None:
    hands = worker(digits, pieces=[""], output=labelled)
    answer = call(
        "POST", "/predictions", json={"model": digits.name, "input": image_input() | {"top_k": 2}},
        headers={"Prefer": "wait"},
    )  # fmt: skip
    assert answer.status_code == 201, answer.text
    body = answer.json()
    assert (body["status"], body["output"]) == ("succeeded", LABELS[0])
    assert body["metrics"]["cost_micro"] == 1000
    assert "x-mercato-cost" in answer.headers
    assert hands.payloads[0]["body"] == {"items": [PNG], "parameters": {"top_k": 2}}
    assert "base64" not in answer.text


def test_several_images_have_several_answers(
    digits: Offer, call: Http, worker: Callable[..., StandIn]
) -> None:
    worker(digits, pieces=[""], output=labelled)
    many = {"image": [image_input()["image"]] * 3}
    answer = call(
        "POST",
        "/predictions",
        json={"version": f"{digits.name}:1", "input": many},
        headers={"Prefer": "wait=5"},
    )
    assert answer.json()["output"] == LABELS * 3
    assert answer.json()["metrics"]["usage"]["images"] == 3


def test_without_prefer_the_result_is_fetched_later(
    digits: Offer, call: Http, worker: Callable[..., StandIn]
) -> None:
    hands = worker(digits, pieces=None, output=labelled)
    answer = call("POST", "/predictions", json={"model": digits.name, "input": image_input()})
    assert (answer.status_code, answer.json()["status"]) == (202, "processing")
    path = f"/predictions/{answer.json()['id']}"
    assert answer.json()["urls"]["get"].endswith("/v1" + path)
    await_that(lambda: hands.open_calls)
    hands.finish(next(iter(hands.open_calls)))
    await_that(lambda: call("GET", path).json()["status"] == "succeeded")
    assert call("GET", path).json()["output"] == LABELS[0]


def test_only_its_organisation_sees_a_prediction(
    digits: Offer, call: Http, worker: Callable[..., StandIn], cast: Cast
) -> None:
    worker(digits, pieces=[""], output=labelled)
    made = call("POST", "/predictions", json={"model": digits.name, "input": image_input()}).json()
    _, other = api_keys.issue(cast.acme, by=cast.owner, name="other", scopes=["inference"])
    for method, path in (
        ("GET", f"/predictions/{made['id']}"),
        ("POST", f"/predictions/{made['id']}/cancel"),
    ):
        refused = call(method, path, key=other)
        assert (refused.status_code, refused.json()["error"]["code"]) == (404, "prediction_not_found")
    assert call("GET", "/predictions/pred_nonsense").status_code == 404


def test_a_prediction_can_be_cancelled(digits: Offer, call: Http, worker: Callable[..., StandIn]) -> None:
    hands = worker(digits, pieces=None)
    made = call("POST", "/predictions", json={"model": digits.name, "input": image_input()}).json()
    await_that(lambda: hands.open_calls)
    assert call("POST", f"/predictions/{made['id']}/cancel").status_code == 202
    await_that(lambda: call("GET", f"/predictions/{made['id']}").json()["status"] == "canceled")
    assert len(hands.cancelled) == 1


def test_an_image_that_the_model_refuses_is_a_failed_prediction(
    digits: Offer, call: Http, worker: Callable[..., StandIn]
) -> None:
    hands = worker(digits, pieces=None)
    made = call("POST", "/predictions", json={"model": digits.name, "input": image_input()}).json()
    await_that(lambda: hands.open_calls)
    hands.finish(next(iter(hands.open_calls)), reason="error", error="It is broken", refused=True)
    await_that(lambda: call("GET", f"/predictions/{made['id']}").json()["status"] == "failed")
    told = call("GET", f"/predictions/{made['id']}").json()["error"]
    assert told == "It is broken. You were not charged for this call."


def test_a_prediction_whose_web_process_died_has_failed(
    digits: Offer, call: Http, worker: Callable[..., StandIn]
) -> None:
    worker(digits, loading=True)
    made = call("POST", "/predictions", json={"model": digits.name, "input": image_input()}).json()
    (key,) = redis.client().keys("inference:prediction:*")
    record = protocol.unpack(redis.client().get(key))
    redis.client().set(key, protocol.pack(record | {"reply": "inference:reply:dead"}))
    body = call("GET", f"/predictions/{made['id']}").json()
    assert (body["status"], "interrupted" in body["error"]) == ("failed", True)


@pytest.mark.parametrize(
    ("wrong", "param"),
    [
        ({"image": "http://127.0.0.1/x.png"}, "input.image"), ({"image": []}, "input.image"), ({}, "input"),
        ({"image": "aGk=", "size": 3}, "input.size"), ({"image": "é"}, "input.image"), ({"text": "x"}, "input.text"),
    ],
)  # fmt: skip
def test_wrong_inputs_are_named(
    digits: Offer, call: Http, worker: Callable[..., StandIn], wrong: dict[str, Any], param: str
) -> None:
    worker(digits, pieces=[""])
    answer = call("POST", "/predictions", json={"model": digits.name, "input": wrong})
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, param), answer.text


def test_the_end_of_a_prediction_is_kept_though_redis_was_away(
    digits: Offer, call: Http, worker: Callable[..., StandIn], monkeypatch: pytest.MonkeyPatch
) -> None:
    hands = worker(digits, pieces=None, output=labelled)
    made = call("POST", "/predictions", json={"model": digits.name, "input": image_input()})
    await_that(lambda: hands.open_calls)
    lose_once(monkeypatch, Records, "keep")
    hands.finish(next(iter(hands.open_calls)))
    await_that(lambda: call("GET", f"/predictions/{made.json()['id']}").json()["status"] == "succeeded")
