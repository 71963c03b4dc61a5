"""Operators read the books; nobody edits them."""

import pytest
from django.urls import reverse

from billing import recording
from billing.events import Rated
from billing.models import BillingPeriod, LedgerTransaction
from tests.billing.events import make_event
from tests.billing.shop import open_shop
from tests.conftest import Cast

MODELS = [
    "usageevent", "heldearning", "usagerollup", "billingperiod", "lease", "ledgeraccount", "ledgertransaction",
]  # fmt: skip


@pytest.fixture
def sold(books: None) -> None:
    shop = open_shop(components={"output_tokens": (0, 30, 1)})
    units = {"requests": 1, "output_tokens": 5}
    recording.record(
        [make_event(shop, units=units, charge=150, rated=(Rated("output_tokens", 0, 5, 150),))], shard=0
    )


@pytest.mark.parametrize("model", MODELS)
def test_operators_list_the_books_and_cannot_add(sold: None, cast: Cast, model: str) -> None:
    client = cast.browser(cast.operator)
    assert client.get(reverse(f"admin:billing_{model}_changelist")).status_code == 200
    assert client.get(reverse(f"admin:billing_{model}_add")).status_code == 403


def test_operators_read_one_and_cannot_change_it(sold: None, cast: Cast) -> None:
    client = cast.browser(cast.operator)
    for model, row in (
        ("billingperiod", BillingPeriod.objects.get()),
        ("ledgertransaction", LedgerTransaction.objects.get()),
    ):
        address = reverse(f"admin:billing_{model}_change", args=[row.pk])
        assert client.get(address).status_code == 200
        assert client.post(address, {}).status_code == 403
