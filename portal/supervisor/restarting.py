"""When to start a program again. Pure rules, no processes.

A death after a healthy while is answered at once. Deaths in quick succession are answered more and more
slowly, and then at a steady, slow pace: it is never given up, for its cause may be repaired meanwhile.
"""

HEALTHY_S = 10.0
DELAYS_S = (0.0, 0.0, 0.5, 1.0, 2.0, 4.0)
SLOW_S = 30.0
TASK_RETRIES = 2
TASK_DELAY_S = 3.0


def count_failures(already: int, *, ran_s: float) -> int:
    """Deaths in a row, this one included."""
    return 1 if ran_s >= HEALTHY_S else already + 1


def choose_delay_s(failures: int) -> float:
    """How long to wait after the n-th death in a row, n from 1."""
    return DELAYS_S[failures - 1] if failures <= len(DELAYS_S) else SLOW_S


def is_crash_loop(failures: int) -> bool:
    """Whether it has become unlikely that another try helps."""
    return failures > len(DELAYS_S)
