"""The whole system, killed at random under load: what callers were told is what the books say, and nothing is left.

`make chaos` is the same for longer.
"""

import pytest

from benchmarks.chaos import storm
from benchmarks.chaos.killing import KINDS

pytestmark = pytest.mark.stack


@pytest.mark.timeout(280)
def test_no_process_can_be_killed_at_a_moment_that_loses_or_doubles_usage() -> None:
    outcome = storm.run(seconds=24, seed=11, kills=2 * len(KINDS))
    assert outcome.kills == dict.fromkeys(KINDS, 2)
    assert outcome.verdict.is_good, outcome.verdict
    assert outcome.verdict.counts["received: answered"] > 50
    assert outcome.served_after > 10
