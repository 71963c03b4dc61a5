"""Sessions that have expired leave the database."""

from datetime import timedelta

import pytest
from django.contrib.sessions.models import Session
from django.utils import timezone

from inference.schedule import SCHEDULE
from portal.accounts.tasks import clear_sessions
from tests.conftest import Cast

pytestmark = [pytest.mark.usefixtures("clean_redis"), pytest.mark.django_db]


def test_an_expired_session_is_deleted_and_a_living_one_stays(cast: Cast) -> None:
    cast.browser(cast.owner)
    kept = Session.objects.get()
    Session.objects.create(
        session_key="gone", session_data="", expire_date=timezone.now() - timedelta(days=1)
    )
    clear_sessions()
    assert list(Session.objects.all()) == [kept]


def test_the_schedule_names_tasks_that_there_are() -> None:
    from portal.celery import app

    app.loader.import_default_modules()
    assert {entry["task"] for entry in SCHEDULE.values()} <= set(app.tasks)
