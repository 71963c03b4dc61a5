"""How soon a program that died is started again."""

from hypothesis import given
from hypothesis import strategies as st

from portal.supervisor import restarting


def test_a_death_after_a_healthy_while_is_answered_at_once() -> None:
    assert restarting.count_failures(12, ran_s=restarting.HEALTHY_S) == 1
    assert restarting.choose_delay_s(1) == 0


@given(st.integers(min_value=1, max_value=1000))
def test_it_never_gives_up_and_never_waits_less_for_more_deaths(failures: int) -> None:
    delay_s = restarting.choose_delay_s(failures)
    assert delay_s <= restarting.choose_delay_s(failures + 1) <= restarting.SLOW_S
    assert restarting.is_crash_loop(failures) == (delay_s == restarting.SLOW_S)
