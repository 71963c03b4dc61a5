"""Sums of days know how many of their calls are sample history."""

from datetime import timedelta
from importlib import import_module
from typing import Any

import pytest
from django.db import connection

from billing import measuring, recording
from billing.models import DailyUsage
from marketplace.models import Figures
from portal.kit import clock
from tests.billing.events import make_event
from tests.billing.shop import open_shop

pytestmark = pytest.mark.usefixtures("books")


def test_calls_of_the_last_month_leave_sample_history_out_also_what_was_there_before() -> None:
    shop = open_shop()
    event = make_event(shop)
    sample = make_event(shop, known=event.known._replace(demo=True), id=make_event(shop).id)
    recording.record([event, sample, make_event(shop)], shard=0)
    Figures.objects.get_or_create(listing=shop.listing)
    counted = DailyUsage.objects.filter(day__gte=clock.now() - timedelta(days=2))
    assert [(day.requests, day.sample) for day in counted] == [(3, 1)]
    measuring.measure([shop.listing.pk])
    assert Figures.objects.get(listing=shop.listing).calls == 2
    counted.update(sample=0)
    migration: Any = import_module("billing.migrations.0016_sample_history")
    with connection.cursor() as cursor:
        cursor.execute(migration.FILL)
    assert [day.sample for day in counted.all()] == [1]
