"""A table as CSV says what its page says: words, money and times, never a value of ours."""

import csv
import io
import re
from datetime import timedelta
from typing import Any

import pytest
from django.utils.html import strip_tags

from portal.accounts import api_keys, key_limits
from portal.accounts.key_limits import KeyLimits
from portal.kit import clock
from portal.kit.exports import plain
from portal.kit.money import Money
from tests.conftest import Cast
from tests.tenancy import world as worlds

PAGES = ["/console/keys/", "/console/subscriptions/", "/studio/", "/organisation/", "/console/requests/",
         "/console/usage/", "/console/invoice/", "/studio/earnings/"]  # fmt: skip
OURS = re.compile(r"True|False|None|\[.*\]|\{.*\}|<.*>|Decimal\(|datetime")


@pytest.fixture
def browser(cast: Cast, clean_redis: None) -> Any:
    world = worlds.build(cast)
    limits = KeyLimits(requests_per_minute=5, daily_budget=25_000_000)
    key_limits.change(cast.acme, by=cast.owner, key_id=world.key.pk, limits=limits)
    api_keys.issue(cast.acme, by=cast.owner, name="=cmd()", scopes=["inference", "manage"])
    return cast.browser(cast.owner)


def rows_of(browser: Any, path: str) -> list[dict[str, str]]:
    file = browser.get(path, {"format": "csv"}).content.decode()
    return list(csv.DictReader(io.StringIO(file)))


@pytest.mark.parametrize("path", PAGES)
def test_no_export_holds_a_value_of_ours(browser: Any, path: str) -> None:
    for row in rows_of(browser, path):
        for head, value in row.items():
            assert not OURS.fullmatch(value), (head, value)


@pytest.mark.parametrize(
    ("path", "heads"),
    [
        ("/console/keys/", ["May", "Limits", "State"]), ("/console/subscriptions/", ["State"]),
        ("/studio/", ["Task", "State"]), ("/organisation/", ["Role"]),
    ],
)  # fmt: skip
def test_an_export_has_the_words_of_the_page(browser: Any, path: str, heads: list[str]) -> None:
    page = " ".join(strip_tags(browser.get(path).content.decode()).split())
    rows = rows_of(browser, path)
    assert rows
    for row in rows:
        for head in heads:
            assert row[head], (row, head)
            assert row[head] in page, (row, head)


def test_money_has_its_currency_and_names_are_disarmed(browser: Any) -> None:
    assert {row["Usage limit a month"] for row in rows_of(browser, "/console/subscriptions/")} == {
        "USD 10.00"
    }
    names = {row["Name"]: row for row in rows_of(browser, "/console/keys/")}
    assert names["'=cmd()"]["May"] == "call manage"
    assert (
        "0.25 of 0.25 USD left" in names["zanzibar key"]["Limits"]
        or "0.25" in names["zanzibar key"]["Limits"]
    )
    assert "5 requests a minute" in names["zanzibar key"]["Limits"]


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (True, "yes"), (False, "no"), (None, ""), (["a", "b"], "a, b"), ([], ""), (["=1", "b"], "'=1, b"),
        (-5, "-5"), (1.5, "1.5"), (Money(5, "USD"), "USD 0.00000005"), ("-x", "'-x"), ("\n=1", "'\n=1"), ("＝1", "'＝1"),
    ],
)  # fmt: skip
def test_every_kind_of_value_is_plain(value: Any, said: str) -> None:
    assert plain(value) == said


def test_a_time_names_its_zone() -> None:
    assert plain(clock.now() - timedelta(days=1)).endswith("+00:00")
