"""A gateway of the demo's own, in its own process: the same application, whose calls are marked as demo.

The calls are parsed, admitted, run by a worker and metered like any other. Only their ids are minted for
past instants, and that is where the pages show them, with the mark.
"""

import random
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from uuid import UUID

from billing.credit.facts import CallFacts
from inference.gateway.process import GatewayProcess
from portal.kit import clock, ids

DAYS = 9
# Calls of an application whose users sleep: weights of the hours of a day in UTC.
HOURS = (1, 1, 1, 1, 1, 2, 3, 5, 8, 9, 9, 8, 7, 8, 9, 9, 8, 6, 5, 4, 4, 3, 2, 1)


class DemoProcess(GatewayProcess):
    """Marks its calls, and dates them with the next of `moments`."""

    def __init__(self, moments: Iterator[datetime]) -> None:
        super().__init__()
        self._moments = moments

    def begin_call(self, facts: CallFacts) -> tuple[UUID, CallFacts]:
        return mint_at(next(self._moments)), replace(facts, demo=True)


def mint_at(moment: datetime) -> UUID:
    """A UUIDv7 as it would have been minted at that moment."""
    # Version and variant bits are those of any UUIDv7, the rest is chance.
    return UUID(int=ids.first_at(moment).int | ids.uuid7().int & ((1 << 80) - 1))


def spread_moments(chooser: random.Random) -> Iterator[datetime]:
    """Endless moments within the last days, busier by day, a little more every day, none in the future."""
    today = clock.now().replace(minute=0, second=0, microsecond=0)
    while True:
        days_ago = chooser.choices(range(DAYS), weights=range(2 * DAYS, DAYS, -1))[0]
        hour = chooser.choices(range(24), weights=HOURS)[0]
        moment = (today - timedelta(days=days_ago)).replace(hour=hour)
        moment += timedelta(seconds=chooser.uniform(0, 3599))
        if moment < today:
            yield moment
