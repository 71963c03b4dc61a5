"""A provider's address and key are its own: no answer, page, log or error shows them to anyone else."""

import asyncio
import json
import logging
import socket
from typing import Any

import openai
import pytest
from cryptography.fernet import Fernet
from django.core.management import call_command
from django.test import Client

from inference import tasks
from inference.gateway import lookup
from inference.remote import dialling
from inference.remote.faults import UpstreamFault
from marketplace import endpoints, publishing
from marketplace.errors import EndpointExists, EndpointInvalid
from marketplace.models import Endpoint, Version
from portal.accounts.models import ApiKey
from portal.kit import outbound
from tests.conftest import Cast
from tests.inference.remote.conftest import Remotes, wanted
from tests.inference.remote.speaker import KEY, Asked, Speaker, send_json
from tests.inference.remote.test_relayed_calls import Clients, ask

NEW_KEY = "sk-upstream-madagascar-9876543210"


def test_no_answer_and_no_log_shows_the_key_or_the_address(
    remote: Remotes, client: Clients, speaker: Speaker, cast: Cast, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    far = remote()

    async def tell_all(server: Speaker, asked: Asked, writer: Any) -> None:
        await send_json(writer, {"error": dict(asked.headers)}, status="418 Teapot")

    answers = [ask(client(far), far).to_json()]
    speaker.behave = tell_all
    with pytest.raises(openai.APIStatusError) as refused:
        ask(client(far), far)
    answers += [str(refused.value), str(refused.value.response.headers)]
    path = f"/api/listings/{far.listing.path}/"
    for who in (cast.browser(cast.outsider), Client()):
        for address in (
            path,
            f"{path}versions/",
            f"{path}versions/1/",
            f"/listings/{far.listing.path}/versions/",
        ):
            answers.append(who.get(address).content.decode())
    answers.append(cast.browser(cast.mate).get(f"{path}versions/1/").content.decode())
    assert speaker.base_url in answers[-1], "its members see the address"
    assert all(KEY not in answer for answer in answers)
    assert all(f":{speaker.port}" not in answer for answer in answers[:-1])
    assert KEY not in caplog.text
    assert f":{speaker.port}" not in caplog.text
    facts = lookup.find_endpoint(far.version)
    assert KEY not in repr(facts)
    assert KEY not in repr(wanted(speaker.base_url))


def test_the_key_is_sealed_and_outlives_the_rotation_of_ours(
    remote: Remotes, client: Clients, speaker: Speaker, settings: Any
) -> None:
    far = remote()
    endpoint = Endpoint.objects.get(version=far.version)
    assert KEY not in json.dumps(list(Endpoint.objects.values("sealed_key")))
    settings.ENCRYPTION_KEYS = [Fernet.generate_key().decode(), *settings.ENCRYPTION_KEYS]
    call_command("reseal_keys")
    settings.ENCRYPTION_KEYS = settings.ENCRYPTION_KEYS[:1]
    endpoint.refresh_from_db()
    assert endpoints.reveal_key(endpoint) == KEY
    ask(client(far), far)
    assert speaker.asked[-1].headers["authorization"] == f"Bearer {KEY}"


def test_a_replaced_key_is_sent_from_the_next_call_on(
    remote: Remotes, client: Clients, speaker: Speaker, cast: Cast
) -> None:
    far = remote()
    stock = client(far)
    ask(stock, far)
    digest = far.version.digest
    browser = cast.browser(cast.owner)
    answer = browser.put(
        f"/api/listings/{far.listing.path}/versions/1/endpoint-key/", {"api_key": NEW_KEY}, "application/json"
    )
    assert answer.status_code == 200, answer.content
    assert NEW_KEY not in answer.content.decode()
    ask(stock, far)
    sent = [asked.headers["authorization"] for asked in speaker.asked]
    assert sent == [f"Bearer {KEY}", f"Bearer {NEW_KEY}"]
    far.version.refresh_from_db()
    assert far.version.digest == digest


def test_outsiders_and_viewers_replace_no_key(remote: Remotes, cast: Cast) -> None:
    far = remote()
    path = f"/api/listings/{far.listing.path}/versions/1/endpoint-key/"
    answer = cast.browser(cast.outsider).put(path, {"api_key": NEW_KEY}, "application/json")
    assert answer.status_code == 404
    assert endpoints.reveal_key(Endpoint.objects.get()) == KEY
    assert ApiKey.objects.count() == 1


def test_the_same_endpoint_is_no_second_version_and_another_limit_is(
    remote: Remotes, cast: Cast, speaker: Speaker
) -> None:
    far = remote()
    with pytest.raises(EndpointExists, match="as version 1"):
        endpoints.add_version(far.listing, by=cast.owner, wanted=wanted(f"{speaker.base_url}/", api_key="x"))
    second = endpoints.add_version(
        far.listing, by=cast.owner, wanted=wanted(speaker.base_url, max_output_tokens=50)
    )
    assert second.number == 2
    third = endpoints.add_version(
        far.listing, by=cast.owner, wanted=wanted(speaker.base_url, hidden_reasoning_tokens=100)
    )
    assert (third.number, third.endpoint.hidden_reasoning_tokens) == (3, 100)
    with pytest.raises(EndpointInvalid, match="reasoning not shown"):
        endpoints.check(wanted(speaker.base_url, hidden_reasoning_tokens=101), task="text-generation")


def test_an_endpoint_that_does_not_answer_is_refused_and_says_why(
    cast: Cast, speaker: Speaker, settings: Any
) -> None:
    async def refuse(server: Speaker, asked: Asked, writer: Any) -> None:
        await send_json(writer, {"error": KEY}, status="401 Unauthorized")

    speaker.behave = refuse
    listing = publishing.create_listing(
        cast.acme, by=cast.owner, slug="far", name="far", task="text-generation"
    )
    version = endpoints.add_version(listing, by=cast.owner, wanted=wanted(speaker.base_url))
    tasks.try_version(str(version.pk))
    version.refresh_from_db()
    (found,) = version.report["findings"]
    assert version.state == Version.State.REFUSED
    assert "status 401" in found["message"]
    assert KEY not in json.dumps(version.report)


@pytest.mark.parametrize(
    "url",
    ["ftp://models.example.com/v1", "https://", "https://user:pass@models.example.com/v1", "models.example.com/v1",
     "https://models.example.com/v1?key=1", "https://models.example.com/v1#x", "https://models.example.com:22/v1",
     "http://models.example.com/v1", "https://models.example.com/../v1", "https://models.example.com/v1\r\nX: y",
     "https://models.example.com:99999/v1"],
)  # fmt: skip
def test_an_address_that_nobody_should_be_sent_to_is_refused(url: str, settings: Any) -> None:
    settings.OUTBOUND = outbound.read({})
    with pytest.raises(EndpointInvalid):
        endpoints.canonical_url(url)


def test_a_name_that_leads_home_is_refused_on_connection(
    remote: Remotes, client: Clients, speaker: Speaker, settings: Any
) -> None:
    far = remote()
    settings.OUTBOUND = outbound.read({"REMOTE_ALLOW": "models.example.com"})
    with pytest.raises(openai.InternalServerError) as refused:
        ask(client(far), far)
    assert refused.value.status_code == 502
    assert speaker.asked == []


async def test_a_public_name_with_a_private_address_is_never_connected_to(
    monkeypatch: pytest.MonkeyPatch, speaker: Speaker
) -> None:
    answers = [["93.184.216.34", "127.0.0.1"], ["127.0.0.1"], ["::ffff:127.0.0.1"], ["169.254.169.254"]]

    async def resolve(host: str, port: int, **_: Any) -> list[Any]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in answers[0]]

    loop = asyncio.get_running_loop()
    monkeypatch.setattr(loop, "getaddrinfo", resolve)
    place = dialling.destination_of("https://models.example.com/v1")
    while answers:
        with pytest.raises(UpstreamFault) as refused:
            await dialling.dial(place, outbound.read({}))
        assert refused.value.kind == "forbidden"
        answers.pop(0)
    assert speaker.connections == 0
