"""The demo world that a first `make up` builds, and the README's own calls against it."""

import json
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

from tests.stack import Person, Stack

pytestmark = [pytest.mark.stack, pytest.mark.timeout(900)]
PATIENCE_S = 600


@pytest.fixture(scope="module")
def demo_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    # A language model trained for moments is as real as one trained for two minutes, only worse.
    environment = {"MERCATO_DEMO": "1", "DEMO_TRAINING_SECONDS": "15"}
    site = Stack(tmp_path_factory.mktemp("demo"), environment=environment).start()
    yield site
    site.stop()


@pytest.fixture(scope="module")
def demo(demo_stack: Stack) -> dict[str, Any]:
    file = demo_stack.home / "demo.json"
    deadline = time.monotonic() + PATIENCE_S
    while not file.exists():
        assert time.monotonic() < deadline, demo_stack.log[-4000:]
        assert httpx.get(f"{demo_stack.url}/healthz").status_code == 200, "the site is up meanwhile"
        time.sleep(1)
    content: dict[str, Any] = json.loads(file.read_text())
    return content


def sign_in(stack: Stack, user: dict[str, str]) -> Person:
    web = httpx.Client(base_url=stack.url, follow_redirects=True, timeout=60)
    token = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', web.get("/accounts/login/").text)
    assert token
    fields = {"login": user["email"], "password": user["password"], "csrfmiddlewaretoken": token[1]}
    web.post("/accounts/login/", data=fields, headers={"Referer": stack.url})
    assert "sessionid" in web.cookies
    return Person(stack, user["email"], web)


def test_its_file_has_the_promised_shape(demo: dict[str, Any], demo_stack: Stack) -> None:
    assert set(demo) == {"base_url", "api_key", "users", "models"}
    assert set(demo["users"]) == {"provider", "consumer", "operator"}
    assert set(demo["models"]) == {"text", "embedding", "image"}
    assert Path(demo_stack.home / "demo.json").stat().st_mode & 0o077 == 0


def test_the_readmes_calls_work(demo: dict[str, Any]) -> None:
    client = openai.OpenAI(base_url=demo["base_url"] + "/v1", api_key=demo["api_key"])
    stream = client.chat.completions.create(
        model=demo["models"]["text"],
        messages=[{"role": "user", "content": "Describe the json module."}],
        max_tokens=60,
        stream=True,
        stream_options={"include_usage": True},
    )
    chunks = list(stream)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices).strip()
    assert chunks[-1].usage.completion_tokens > 0
    near, far, odd = (
        item.embedding
        for item in client.embeddings.create(
            model=demo["models"]["embedding"],
            input=["a cat sleeps", "the kitten is asleep", "invoices are due in March"],
        ).data
    )
    assert sum(a * b for a, b in zip(near, far, strict=True)) > sum(
        a * b for a, b in zip(near, odd, strict=True)
    )


def test_a_digit_is_recognised(demo: dict[str, Any]) -> None:
    import base64
    import io

    from PIL import Image
    from sklearn.datasets import load_digits

    digits = load_digits()
    image = Image.fromarray((digits.images[5] * 15.9).astype("uint8"))
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    data = "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
    answer = httpx.post(
        f"{demo['base_url']}/v1/predictions",
        json={"model": demo["models"]["image"], "input": {"image": data}},
        headers={"Authorization": f"Bearer {demo['api_key']}", "Prefer": "wait"},
        timeout=60,
    ).json()
    assert answer["status"] == "succeeded", answer
    assert str(digits.target[5]) in json.dumps(answer["output"])


def test_the_classifier_shows_what_was_measured(demo: dict[str, Any], demo_stack: Stack) -> None:
    page = httpx.get(f"{demo_stack.url}/listings/{demo['models']['image']}/versions/").text
    assert "Confusion matrix" in page
    version = sign_in(demo_stack, demo["users"]["provider"]).call(
        "GET", f"/api/listings/{demo['models']['image']}/versions/1/"
    )
    measured = {row["metric"].lower(): row["value"] for row in version["evaluation"]}
    assert measured["accuracy"] >= 0.97
    assert {"precision", "recall"} <= set(measured)


def test_the_language_model_shows_its_loss_curve(demo: dict[str, Any], demo_stack: Stack) -> None:
    page = httpx.get(f"{demo_stack.url}/listings/{demo['models']['text']}/versions/").text
    assert "Loss while training" in page


def test_its_usage_is_real_marked_and_adds_up(demo: dict[str, Any], demo_stack: Stack) -> None:
    consumer = sign_in(demo_stack, demo["users"]["consumer"])
    log = consumer.call("GET", "/api/requests/", params={"limit": 200})["results"]
    marked = [entry for entry in log if entry["demo"]]
    assert len(marked) > 50
    assert len({entry["finished_at"][:10] for entry in marked}) >= 3, "some days"
    assert all(entry["worker"] for entry in marked if entry["outcome"] == "succeeded")
    kinds = {s["terms"]["monthly_fee"] > 0 or bool(s["spend_cap"]) for s in subscriptions(consumer)}
    assert kinds == {True, False}, "a mixed and a free subscription"
    assert "invariants hold" in demo_stack.manage("check_invariants")


def subscriptions(person: Person) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = person.call("GET", "/api/subscriptions/")["results"]
    return found


def test_the_operator_reaches_the_admin_and_nobody_else(demo: dict[str, Any], demo_stack: Stack) -> None:
    assert (
        sign_in(demo_stack, demo["users"]["operator"]).web.get("/admin/inference/worker/").status_code == 200
    )
    refused = sign_in(demo_stack, demo["users"]["consumer"]).web.get("/admin/inference/worker/")
    assert refused.url.path == "/admin/login/"
