"""A group's new rows take the place of its old ones, and the page says what was missed."""

import json
from pathlib import Path

import pytest

from benchmarks import publishing
from benchmarks.results import at_least, row


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MERCATO_HOME", str(tmp_path))
    monkeypatch.setattr(publishing, "PAGE", tmp_path / "benchmarks.md")


def test_a_group_replaces_its_own_rows_alone(tmp_path: Path) -> None:
    publishing.publish("batch", [row("batch.old", 1, "s", command="c"), row("batch.a", 1, "s", command="c")])
    publishing.publish("engine", [row("engine.a", 2, "s", command="c")])
    publishing.publish("batch", [row("batch.a", 3, "s", command="c")])
    rows = json.loads((tmp_path / "bench.json").read_text())
    assert {(each["name"], each["value"]) for each in rows} == {("engine.a", 2), ("batch.a", 3)}


def test_another_home_keeps_what_the_page_says_of_other_groups(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for group in ("engine", "batch"):
        publishing.publish(group, [row(f"{group}.a", 1, "s", command="c")])
    _, kept = (tmp_path / "benchmarks.md").read_text().split("## engine")
    monkeypatch.setenv("MERCATO_HOME", str(tmp_path / "fresh"))
    publishing.publish("batch", [row("batch.a", 1, "s", command="c")])
    assert (tmp_path / "benchmarks.md").read_text().endswith(f"## engine{kept}")


def test_the_page_shows_method_figures_and_misses(tmp_path: Path) -> None:
    missed = row("batch.a", 1.5, "texts/s", command="make x", peer="p", peer_value=3, goal=at_least(2))
    publishing.publish("batch", [missed])
    text = (tmp_path / "benchmarks.md").read_text()
    assert "Micro-batching" in text
    assert "| `batch.a` | 1.5 texts/s | p: 3 | 0.50 | value >= 2 | **no** |" in text
    assert "`make x`" in text
