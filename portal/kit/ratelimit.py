"""How often something may be done. Counted in the cache, which survives Redis being full or away: each process then
counts by itself. Windows are fixed: at their border twice as much may pass, which no limit here minds.
"""

import hashlib
import time
from dataclasses import dataclass

from django.core.cache import cache


@dataclass(frozen=True, slots=True)
class Rate:
    """So much in so many seconds; `most` of 0 is no limit."""

    most: int
    seconds: int


def take(what: str, who: str, rate: Rate) -> float:
    """Count once more. Answers 0.0, or the seconds to wait where it is too often; then nothing is counted."""
    if not rate.most:
        return 0.0
    key, left = _window(what, who, rate)
    if _count(key, rate.seconds) <= rate.most:
        return 0.0
    _uncount(key)
    return left


def give_back(what: str, who: str, rate: Rate) -> None:
    """Undo a `take` of the running window."""
    if rate.most:
        _uncount(_window(what, who, rate)[0])


def clear(what: str, who: str, rate: Rate) -> None:
    """Forget what was counted."""
    cache.delete(_window(what, who, rate)[0])


def _window(what: str, who: str, rate: Rate) -> tuple[str, float]:
    now = time.time()
    number = int(now // rate.seconds)
    # A hash: names that people give are long, and no one's business.
    named = hashlib.sha256(who.encode()).hexdigest()[:32]
    return f"rate:{what}:{named}:{number}", (number + 1) * rate.seconds - now


def _count(key: str, seconds: int) -> int:
    cache.add(key, 0, timeout=seconds)
    try:
        return int(cache.incr(key))
    except ValueError:
        # It lapsed, or the cache changed its place, between the two.
        cache.add(key, 1, timeout=seconds)
        return 1


def _uncount(key: str) -> None:
    try:
        cache.decr(key)
    except ValueError:
        return
