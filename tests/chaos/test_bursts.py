"""Fifty calls at the same instant spend no more than there is, and nobody is refused once there is more."""

import pytest

from benchmarks import bursts

pytestmark = pytest.mark.stack


def test_fifty_calls_at_once_spend_an_allowance_for_ten_exactly() -> None:
    burst = bursts.measure(50)
    assert (burst.admitted, burst.exhausted) == (bursts.ROOM, 50 - bursts.ROOM)
    assert (burst.overspent, burst.false_refusals) == (0, 0)
