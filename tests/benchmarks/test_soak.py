"""The slope of a soak is that of the line through its samples."""

import pytest

from benchmarks.soak import find_slope


def test_the_slope_is_that_of_the_line() -> None:
    assert find_slope([(0, 10), (1, 12), (2, 14)]) == pytest.approx(2)
    assert find_slope([(0, 5), (1, 5), (2, 5)]) == 0
    assert find_slope([(0, 1), (1, 3), (2, 1), (3, 3)]) == pytest.approx(0.4)
