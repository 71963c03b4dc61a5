"""Content goes once nothing names it, and never from under somebody who has just stored it."""

import hashlib
import os
import threading
from datetime import timedelta
from io import BytesIO
from pathlib import Path

import pytest
from django.db import connection

from marketplace import publishing, uploads, weights
from marketplace.models import Listing
from marketplace.weights import reclaiming
from marketplace.weights.storage import name_of, stored_alone
from portal.kit import clock
from tests.conftest import Cast
from tests.marketplace.conftest import keep

CONTENT = b"weights" * 100
SHA256 = hashlib.sha256(CONTENT).hexdigest()
TOMORROW = clock.now() + timedelta(days=2)

pytestmark = pytest.mark.django_db


def store() -> None:
    weights.store(BytesIO(CONTENT), size=len(CONTENT), sha256=SHA256)


def age(home: Path) -> None:
    os.utime(home / "weights" / name_of(SHA256), (0, 0))


def test_what_nothing_names_goes_after_a_day(home: Path) -> None:
    assert weights.reclaim(TOMORROW) == 0
    store()
    assert weights.reclaim(clock.now()) == 0
    assert weights.reclaim(TOMORROW) == 1
    assert not weights.exists(SHA256)


def test_what_is_named_stays(cast: Cast, listing: Listing, model: Path, home: Path) -> None:
    version = publishing.add_version(listing, by=cast.owner, files=keep(model))
    store()
    declared = uploads.Declared(path="README.md", size=len(CONTENT), sha256=SHA256)
    upload = uploads.begin(listing, by=cast.owner, files=[declared])
    uploads.append(upload, "README.md", offset=0, chunk=CONTENT[:10])
    assert weights.reclaim(TOMORROW) == 0
    upload.delete()
    assert weights.reclaim(TOMORROW) == 1
    assert all(weights.exists(file.sha256) for file in version.files.all())
    assert any((home / "weights" / "uploads").rglob("*")), "pieces are the uploads' own to sweep"


def test_storing_again_counts_as_stored_now(home: Path) -> None:
    store()
    age(home)
    store()
    assert weights.reclaim(clock.now()) == 0
    age(home)
    assert weights.reclaim(clock.now()) == 1


@pytest.mark.django_db(transaction=True)
def test_a_store_during_the_sweep_is_seen(home: Path) -> None:
    store()
    age(home)
    deleted: list[bool] = []

    def sweep() -> None:
        deleted.append(reclaiming._reclaim(SHA256, before=clock.now() - timedelta(days=1)))
        connection.close()

    with stored_alone(SHA256):
        sweeping = threading.Thread(target=sweep)
        sweeping.start()
        sweeping.join(0.5)
        assert sweeping.is_alive(), "a sweep waits for whoever stores"
        store()
    sweeping.join()
    assert deleted == [False]
    assert weights.exists(SHA256)
