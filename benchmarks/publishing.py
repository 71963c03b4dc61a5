"""Where results go: the terminal, `bench.json` in the home, and the page `docs/benchmarks.md`."""

import importlib.util
import inspect
import json
import os
import platform
import re
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from itertools import groupby
from pathlib import Path
from typing import Any

import psutil

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "benchmarks.md"
PACKAGES = ("django", "uvicorn", "celery", "redis", "psycopg", "torch", "transformers")
Rows = list[dict[str, Any]]
_HEAD = """\
# Benchmarks

Written by `make bench` and `make chaos`; change the programs in `benchmarks/`, not this page. Peers ran in the
same run on the same cores, each in an environment of its own. A ratio above 1 means that Mercato's figure is the
better one. The machine is small and shared: compare ratios, not figures of different days.
"""


def publish(group: str, rows: Rows) -> Path:
    """Print a group's rows and put them in the place of its earlier ones. Answers where `bench.json` lies."""
    rows = [{"goal": None, "met": None} | each for each in rows]
    print_table(rows)
    path = Path(os.environ.get("MERCATO_HOME") or ROOT / "var") / "bench.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    known = json.loads(path.read_text()) if path.exists() else []
    stamp = {
        "group": group,
        "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
        **_surroundings(),
    }
    kept = [row for row in known if row.get("group") not in (None, group)]
    path.write_text(json.dumps(kept + [row | stamp for row in rows], indent=1) + "\n")
    PAGE.write_text(page(json.loads(path.read_text()), before=PAGE.read_text() if PAGE.exists() else ""))
    return path


def print_table(rows: Iterable[Mapping[str, Any]]) -> None:
    """One line per peer."""
    for row in rows:
        peer = f"{row['peer']}: {row['peer_value']:,.4g}" if row["peer"] else "(no peer)"
        ratio = f"{row['ratio']:.2f}x" if row["ratio"] else ""
        goal = f"{row['goal']} {'met' if row['met'] else 'MISSED'}" if row["goal"] else ""
        print(f"{row['name']:<34} {row['value']:>11,.5g} {row['unit']:<10} {peer:<50} {ratio:>8} {goal}")


def page(rows: Iterable[Mapping[str, Any]], *, before: str = "") -> str:
    """The text of the page: for each group what its module says of itself, its table and its surroundings. Of groups
    without rows it keeps the sections that it had `before`: they were measured from another home.
    """
    ordered = sorted(rows, key=_group)
    sections = _sections(before) | {
        group: _section(group, list(rows)) for group, rows in groupby(ordered, _group)
    }
    return "\n".join([_HEAD, *(sections[group] for group in sorted(sections))])


def _sections(text: str) -> dict[str, str]:
    _, *sections = re.split(r"^## ", text, flags=re.MULTILINE)
    found = {section.split("\n", 1)[0]: f"## {section.rstrip()}\n" for section in sections}
    return {group: text for group, text in found.items() if importlib.util.find_spec(f"benchmarks.{group}")}


def _group(row: Mapping[str, Any]) -> str:
    return str(row["group"])


def _section(group: str, rows: list[Mapping[str, Any]]) -> str:
    method = inspect.getdoc(importlib.import_module(f"benchmarks.{group}")) or ""
    table = "\n".join(
        ["| what | value | peer | ratio | goal | met |", "|---|---|---|---|---|---|", *map(_line, rows)]
    )
    first = rows[0]
    where = f"{first['machine']}; {first['versions']}; revision {first['revision']}"
    commands = ", ".join(sorted({f"`{row['command']}`" for row in rows}))
    return f"## {group}\n\n{method}\n\n{table}\n\n{first['measured_at'][:10]}, {commands}. {where}.\n"


def _line(row: Mapping[str, Any]) -> str:
    peer = f"{row['peer']}: {row['peer_value']:,.5g}" if row["peer"] else ""
    ratio = f"{row['ratio']:.2f}" if row["ratio"] else ""
    met = {None: "", True: "yes", False: "**no**"}[row["met"]]
    value = f"{row['value']:,.5g} {row['unit']}"
    return f"| `{row['name']}` | {value} | {peer} | {ratio} | {row['goal'] or ''} | {met} |"


def _surroundings() -> dict[str, str]:
    return {"machine": _machine(), "versions": _versions(), "revision": _revision()}


def _machine() -> str:
    models = [line for line in _cpu_lines() if line.startswith("model name")]
    model = models[0].partition(":")[2].strip() if models else platform.machine()
    memory = psutil.virtual_memory().total / 2**30
    cores = f"{psutil.cpu_count()} cores of {model}, {memory:.0f} GiB"
    python = f"Python {platform.python_version()} at {_additions_per_s() / 1e6:.0f} million additions/s"
    return ", ".join([cores, *_gpus(), python])


def _additions_per_s(count: int = 10**6) -> float:
    """How fast this machine is at what most of this is made of: figures of different days differ by it."""

    def add() -> float:
        started, total = time.perf_counter(), 0
        for number in range(count):
            total += number
        return time.perf_counter() - started

    return count / min(add() for _ in range(5))


def _gpus() -> list[str]:
    # A group that used one has loaded torch.
    torch = sys.modules.get("torch")
    if torch is None:
        return []
    return [torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count())]


def _cpu_lines() -> list[str]:
    facts = Path("/proc/cpuinfo")
    return facts.read_text().splitlines() if facts.exists() else []


def _versions() -> str:
    found = []
    for name in PACKAGES:
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            continue
    return ", ".join(found)


def _revision() -> str:
    asked = ["git", "rev-parse", "--short", "HEAD"]
    done = subprocess.run(asked, cwd=ROOT, capture_output=True, text=True, check=False)
    return done.stdout.strip() or "unknown"
