"""Run the benchmarks, print their tables, write `bench.json` into the home and the page `docs/benchmarks.md`."""

import argparse
import importlib
import os
import sys
import traceback

from benchmarks import publishing

# Each is a module whose `run(quick)` answers rows of `benchmarks.results`.
GROUPS = (
    "engine", "gpu", "batch", "cold", "gateway", "path", "meter", "pages", "bursts", "revocation", "overload",
    "soak",
)  # fmt: skip


def main() -> int:
    """Exit status 1 if a group failed; the others' rows are kept."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--only", default=os.environ.get("ONLY", ""), help=f"one of {', '.join(GROUPS)}")
    parser.add_argument("--quick", action="store_true", help="smaller runs, for a first look")
    chosen = parser.parse_args()
    groups = [group for group in GROUPS if chosen.only in ("", group)]
    if not groups:
        parser.error(f"there is no group {chosen.only!r}; choose one of {', '.join(GROUPS)}")
    failed = [group for group in groups if not _measure(group, quick=chosen.quick)]
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


def _measure(group: str, *, quick: bool) -> bool:
    print(f"== {group}", flush=True)
    try:
        rows = importlib.import_module(f"benchmarks.{group}").run(quick)
    except Exception:
        # One broken peer must not cost the figures of the other groups.
        traceback.print_exc()
        return False
    if rows:  # else the figures of another day stand
        print(f"written to {publishing.publish(group, rows)}", flush=True)
    return True


if __name__ == "__main__":
    sys.exit(main())
