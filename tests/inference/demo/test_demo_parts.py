"""The demo's own rules; that it builds a whole world is a journey's to show."""

import json
import random
import signal
import stat
from datetime import timedelta
from itertools import islice
from pathlib import Path
from types import SimpleNamespace

import pytest
from django.core.management import call_command

from inference.demo import building, keepsake, people
from inference.demo.gateway import DAYS, mint_at, spread_moments
from inference.demo.products import list_products
from inference.demo.progress import KEY, Teller
from inference.management.commands.demo import Command
from marketplace import pricing
from portal.accounts import api_keys
from portal.kit import clock, ids
from portal.kit.redis import client


def test_past_calls_lie_within_the_days_before_now_and_their_ids_say_when() -> None:
    moments = list(islice(spread_moments(random.Random(1)), 500))
    began = clock.now() - timedelta(days=DAYS)
    assert all(began <= moment < clock.now() for moment in moments)
    assert len({moment.date() for moment in moments}) >= DAYS - 1
    for moment in moments[:20]:
        minted = mint_at(moment)
        assert minted.version == 7
        assert abs(ids.born(minted) - moment) < timedelta(milliseconds=2)
    assert len({mint_at(moments[0]) for _ in range(100)}) == 100


def test_who_asks_for_the_demo_world_by_hand_gets_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MERCATO_DEMO", "0")
    built: list[str] = []
    monkeypatch.setattr(building, "build", lambda **_: built.append("all of it"))
    kept = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        call_command("demo")
    finally:
        for number, action in kept.items():
            signal.signal(number, action)
    assert built
    assert "MERCATO_DEMO" in Command.help


def test_every_plan_of_the_demo_is_one_that_a_provider_could_make() -> None:
    products = list_products()
    for product in products:
        for offer in product.offers:
            pricing.check(pricing.Terms(**offer.terms), kind=offer.kind, task=product.task)
        assert product.bought in {offer.slug for offer in product.offers}
    bought = {offer.kind for p in products for offer in p.offers if offer.slug == p.bought}
    assert bought == {"free", "mixed"}


@pytest.fixture
def home(tmp_path: Path, settings: SimpleNamespace) -> Path:
    settings.HOME = tmp_path
    return tmp_path


@pytest.mark.usefixtures("db", "clean_redis")
def test_a_second_run_finds_the_same_people_passwords_and_key(home: Path) -> None:
    kept = keepsake.load()
    cast = people.gather(kept)
    key = people.hand_key(cast, kept)
    again = keepsake.load()
    assert people.gather(again) == cast
    assert people.hand_key(cast, again) == key
    assert cast.consumer.check_password(again.passwords["consumer@example.com"])
    assert cast.operator.is_staff
    assert not cast.provider.is_staff
    # So that the pages begin with the company's listings and earnings.
    assert set(cast.provider.organisations.all()) == {cast.company}


@pytest.mark.usefixtures("db", "clean_redis")
def test_lost_passwords_and_a_revoked_key_are_replaced(home: Path) -> None:
    kept = keepsake.load()
    cast = people.gather(kept)
    key = people.hand_key(cast, kept)
    api_keys.revoke(cast.buyer, by=cast.consumer, key_id=key.pk)
    (home / "demo" / "keepsake.json").unlink()
    fresh = keepsake.load()
    cast = people.gather(fresh)
    assert people.hand_key(cast, fresh) != key
    assert cast.consumer.check_password(fresh.passwords["consumer@example.com"])


@pytest.mark.usefixtures("db", "clean_redis")
def test_the_demo_file_is_for_this_user_only(home: Path) -> None:
    kept = keepsake.load()
    cast = people.gather(kept)
    people.hand_key(cast, kept)
    building.write_demo_file(cast, kept, {})
    assert stat.S_IMODE(building.demo_file().stat().st_mode) == 0o600
    told = json.loads(building.demo_file().read_text())
    assert told.keys() == {"base_url", "api_key", "users", "models"}
    assert api_keys.find(told["api_key"]) is not None


@pytest.mark.usefixtures("clean_redis")
def test_progress_is_there_for_the_pages() -> None:
    lines: list[str] = []
    teller = Teller(total=2, say=lines.append)
    teller.begin("Training")
    teller.end_step()
    teller.begin("Calling")
    shown = json.loads(client().get(KEY))  # type: ignore[arg-type]
    assert shown == {"step": "Calling", "done": 1, "total": 2, "message": "", "finished": False}
    teller.end_step()
    teller.finish()
    assert json.loads(client().get(KEY))["finished"]  # type: ignore[arg-type]
    assert lines[0] == "[1/2] Training"
