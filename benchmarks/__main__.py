"""Run the benchmarks, print their table, and write `bench.json` into the home.

Each module's `run(quick)` returns rows {"name", "value", "unit", "peer", "peer_value", "ratio", "command"}.
"""

import argparse
import importlib
import json
import os
import platform
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

GROUPS = ("engine", "batch", "gateway")
ROOT = Path(__file__).resolve().parent.parent


def main() -> int:
    """Exit status 1 if a group failed; the others' rows are kept."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--only", default=os.environ.get("ONLY", ""), help=f"one of {', '.join(GROUPS)}")
    parser.add_argument("--quick", action="store_true", help="smaller runs, for a first look")
    chosen = parser.parse_args()
    groups = [group for group in GROUPS if chosen.only in ("", group)]
    if not groups:
        parser.error(f"there is no group {chosen.only!r}; choose one of {', '.join(GROUPS)}")
    rows, failed = [], []
    for group in groups:
        print(f"== {group}", flush=True)
        try:
            rows += importlib.import_module(f"benchmarks.{group}").run(chosen.quick)
        except Exception as error:
            failed.append(group)
            print(f"{group} failed: {error!r}", file=sys.stderr)
    print_table(rows)
    print(f"written to {write(rows)}")
    return 1 if failed else 0


def print_table(rows: list[dict[str, Any]]) -> None:
    """One line per peer."""
    for row in rows:
        peer = f"{row['peer']}: {row['peer_value']:,.4g}" if row.get("peer") else "(no peer)"
        ratio = f"{row['ratio']:.2f}x" if row.get("ratio") else ""
        print(f"{row['name']:<42} {row['value']:>12,.4g} {row['unit']:<12} {peer:<52} {ratio}")


def write(rows: list[dict[str, Any]]) -> Path:
    """Merge into `bench.json` by name and peer, so that groups can run one by one."""
    path = Path(os.environ.get("MERCATO_HOME") or ROOT / "var") / "bench.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    known = json.loads(path.read_text()) if path.exists() else []
    merged = {(row["name"], row.get("peer")): row for row in known}
    stamp = {
        "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": platform.processor() or "cpu",
    }
    merged |= {(row["name"], row.get("peer")): row | stamp for row in rows}
    path.write_text(json.dumps(list(merged.values()), indent=1) + "\n")
    return path


if __name__ == "__main__":
    sys.exit(main())
