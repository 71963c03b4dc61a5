"""Kill processes of the running system under load, and exit with 1 unless every account agrees afterwards."""

import argparse
import sys
from typing import Any

from benchmarks import publishing
from benchmarks.chaos import storm
from benchmarks.chaos.comparing import FAULTS
from benchmarks.chaos.storm import Outcome
from benchmarks.results import at_least, at_most, row

COMMAND = "make chaos"
KILLS_PER_MINUTE = 12


def main() -> int:
    """Exit status 1 if anything was lost, doubled, overspent, leaked, charged undelivered or answered dishonestly."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.chaos", description=__doc__)
    parser.add_argument(
        "--minutes", type=float, default=5.0, help="how long processes are killed (default: 5)"
    )
    parser.add_argument("--seed", type=int, default=1, help="the same seed plans the same kills (default: 1)")
    parser.add_argument("--kills", type=int, default=None, help=f"default: {KILLS_PER_MINUTE} a minute")
    chosen = parser.parse_args()
    kills = round(chosen.minutes * KILLS_PER_MINUTE) if chosen.kills is None else chosen.kills
    outcome = storm.run(seconds=chosen.minutes * 60, seed=chosen.seed, kills=kills)
    describe(outcome)
    command = f'{COMMAND} CHAOS_ARGS="--minutes {chosen.minutes:g} --seed {chosen.seed} --kills {kills}"'
    print(f"written to {publishing.publish('chaos', rows_of(outcome, command=command))}")
    return 0 if outcome.verdict.is_good else 1


def run(quick: bool) -> list[dict[str, Any]]:
    """The rows of one storm."""
    minutes = 1.0 if quick else 5.0
    kills = round(minutes * KILLS_PER_MINUTE)
    return rows_of(storm.run(seconds=minutes * 60, seed=1, kills=kills), command=COMMAND)


def describe(outcome: Outcome) -> None:
    """What happened, and every disagreement in a sentence."""
    killed = ", ".join(f"{kind} {count}" for kind, count in sorted(outcome.kills.items()))
    print(f"killed: {killed}; {outcome.calls} calls; {outcome.served_after} answered after the last kill")
    for what, count in sorted(outcome.verdict.counts.items()):
        print(f"  {what:<24} {count:>8,}")
    for kind in FAULTS:
        for sentence in getattr(outcome.verdict, kind)[:20]:
            print(f"  {kind}: {sentence}")


def rows_of(outcome: Outcome, *, command: str) -> list[dict[str, Any]]:
    """The kills, and the counts that have to be zero."""
    verdict = outcome.verdict
    total = sum(outcome.kills.values())
    rows = [row("chaos.kills", total, "kills", command=command, goal=at_least(1))]
    for kind in FAULTS:
        count = len(getattr(verdict, kind))
        rows.append(row(f"chaos.{kind}", count, kind, command=command, better="lower", goal=at_most(0)))
    return rows


if __name__ == "__main__":
    sys.exit(main())
