"""One run: open the site, load it, kill its processes, let it come to rest, compare."""

import threading
import time
from collections import Counter
from dataclasses import dataclass

from benchmarks.chaos import comparing, market
from benchmarks.chaos.calling import Load
from benchmarks.chaos.comparing import Verdict
from benchmarks.chaos.killing import Killer

# The load goes on for so long after the last kill: the system has to serve again, not only to stand.
AFTER_SECONDS = 10.0


@dataclass(frozen=True)
class Outcome:
    """What one storm came to. `served_after` counts answers after the last kill."""

    kills: Counter[str]
    calls: int
    served_after: int
    verdict: Verdict


def run(*, seconds: float, seed: int, kills: int) -> Outcome:
    """Raises if the site cannot start, or if a killed process stays away."""
    with market.opened() as site:
        load = Load(site.stack.url, site.consumers, seed)
        thread = threading.Thread(target=load.run, name="load", daemon=True)
        thread.start()
        killer = Killer(site.stack, seed=seed, kills=kills, seconds=seconds)
        try:
            killer.run()
            site.stack.await_ready()
            before = len(load.received)
            time.sleep(AFTER_SECONDS)
            served = sum(one.how == "answered" for one in load.received[before:])
        finally:
            load.stop.set()
            thread.join(120)
        if not load.is_ended:
            raise RuntimeError("the load failed, or its last calls do not end")
        verdict = comparing.compare(site, load.received)
        if not served:
            verdict.leaked.append("after the last kill nothing was answered any more")
        return Outcome(killer.done, len(load.received), served, verdict)
