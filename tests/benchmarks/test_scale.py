"""A made world of a thousandth: its books agree, every page opens in it, and meters are exact in it."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks import meter, pages
from benchmarks.processes import ROOT
from benchmarks.scale.home import World, opened, require_room
from benchmarks.scale.size import Size

THOUSANDTH = Size(listings=1_000, events=50_000, days=35)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with opened(THOUSANDTH, folder=tmp_path_factory.mktemp("scale")) as made:
        yield made


def check_books(world: World) -> str:
    command = [sys.executable, "manage.py", "check_invariants"]
    environment = os.environ | dict(world.environment)
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert not done.returncode, done.stdout + done.stderr
    return done.stdout


def test_its_books_agree(world: World) -> None:
    check_books(world)


def test_every_address_of_the_benchmark_answers(world: World) -> None:
    with pages.serving(world) as url:
        rows = {row["name"]: row for row in pages.measure(url, world, times=1)}
    assert {"page.usage_p95_ms", "page.log_p95_ms", "page.earnings_p95_ms", "search.p95_ms"} <= rows.keys()
    assert {"models_api.p95_ms", "listings_api.p95_ms"} <= rows.keys()


@pytest.mark.parametrize("how", ["direct", "stream"])
def test_two_meters_side_by_side_are_exact(world: World, how: str) -> None:
    meter.measure(world, how, 2_000, meters=2)  # raises if a table is off by a unit
    check_books(world)


def test_a_disk_without_room_is_told_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(
        RuntimeError, match=r"must leave 10 GiB; .* GiB free\. Free some, or set MERCATO_HOME"
    ):
        require_room(Size(listings=1, events=10**13), tmp_path)
