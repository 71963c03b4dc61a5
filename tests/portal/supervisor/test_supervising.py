"""One terminal for all processes: labelled, restarted, stopped in order, and nothing left behind."""

import re
import signal
import time
from collections.abc import Callable

import psutil
import pytest

from portal.embedded.server import runs
from tests.portal.supervisor.conftest import Run

Supervise = Callable[..., Run]


def test_each_line_says_whose_it_is(supervise: Supervise) -> None:
    run = supervise({"web": [], "worker": []})
    for name in ("web   ", "worker"):
        assert run.await_line(rf"^\d\d:\d\d:\d\d {name} \| hello from \d+$")


def test_a_killed_program_is_back_at_once_under_a_new_id(supervise: Supervise) -> None:
    run = supervise({"web": [], "worker": []})
    first = int(run.await_line(r"worker \| hello from (\d+)")[1])
    psutil.Process(first).kill()
    began = time.monotonic()
    second = int(run.await_line(r"worker \| hello from (\d+)", times=2)[1])
    assert second != first
    assert time.monotonic() - began < 2
    assert run.await_line(r"system \| worker ended \(killed by SIGKILL\); restarting$")
    assert len([line for line in run.lines if "web    | hello" in line]) == 1


def test_children_of_a_killed_program_go_with_it(supervise: Supervise) -> None:
    run = supervise({"jobs": ["child"]})
    grandchild = psutil.Process(int(run.await_line(r"child (\d+)")[1]))
    psutil.Process(int(run.await_line(r"hello from (\d+)")[1])).kill()
    run.await_line("hello from", times=2)
    assert not runs(grandchild)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_one_signal_stops_all_in_order_and_leaves_nothing(
    supervise: Supervise, number: signal.Signals
) -> None:
    run = supervise({"web": [], "worker": ["child"], "meter": [], "beat": []})
    run.await_line("hello", times=4)
    assert run.stop(number) == 0
    # SIGTERM each, even where the terminal sent SIGINT to its whole foreground group.
    goodbyes = [match[1] for line in run.lines if (match := re.search(r"(\w+) +\| bye on SIGTERM", line))]
    assert goodbyes == ["web", "worker", "meter", "beat"]
    assert not [line for line in run.lines if "bye on SIGINT" in line]
    assert not run.leftovers()


def test_a_rank_waits_for_the_one_before(supervise: Supervise) -> None:
    run = supervise({"web": ["stubborn"], "meter": []}, web={"grace_s": 1.5})
    run.await_line("hello", times=2)
    run.stop()
    ends = [match[1] for line in run.lines if (match := re.search(r"system \| (\w+) stopped", line))]
    assert ends == ["web", "meter"]
    assert run.await_line(r"web did not stop in 1.5 s; killing it")


def test_a_second_interrupt_kills(supervise: Supervise) -> None:
    run = supervise({"web": ["stubborn"]}, web={"grace_s": 60})
    run.await_line("hello")
    run.process.send_signal(signal.SIGINT)
    run.await_line("stopping")
    time.sleep(1.2)
    began = time.monotonic()
    run.stop(signal.SIGINT)
    assert time.monotonic() - began < 5
    assert not run.leftovers()


def test_a_killed_supervisor_leaves_nothing(supervise: Supervise) -> None:
    run = supervise({"web": ["stubborn"], "jobs": ["stubborn", "child"]})
    run.await_line("hello", times=2)
    # Itself, two programs, one child of a program, the guardian.
    assert len(run.find_processes()) == 5
    run.process.kill()
    run.process.wait()
    assert not run.leftovers()


def test_a_killed_guardian_is_replaced(supervise: Supervise) -> None:
    run = supervise({"jobs": ["stubborn", "child"]})
    program = int(run.await_line(r"hello from (\d+)")[1])
    (guardian,) = [child for child in psutil.Process(run.process.pid).children() if child.pid != program]
    guardian.kill()
    deadline = time.monotonic() + 10
    while len(run.find_processes()) < 4 or runs(guardian):
        assert time.monotonic() < deadline
    time.sleep(0.2)  # until it has been told what runs
    run.process.kill()
    run.process.wait()
    assert not run.leftovers()


def test_a_program_that_cannot_start_is_named_and_the_rest_goes_on(supervise: Supervise) -> None:
    run = supervise({"web": [], "worker": ["fail"]})
    run.await_line(r"worker ended \(exit code 3\); restarting in 0.5 s")
    run.await_line(r"worker ended \(exit code 3\), 7 times in a row: it cannot start\. .* every 30 s")
    assert len([line for line in run.lines if "web    | hello" in line]) == 1
    assert run.stop() == 0


def test_a_finished_task_is_not_started_again(supervise: Supervise) -> None:
    run = supervise({"web": [], "demo": ["done"]}, demo={"once": True})
    run.await_line(r"system \| demo finished")
    time.sleep(0.5)
    assert len([line for line in run.lines if "demo   | hello" in line]) == 1


def test_a_failed_task_is_tried_twice_more(supervise: Supervise) -> None:
    run = supervise({"web": [], "demo": ["fail"]}, demo={"once": True})
    run.await_line(r"demo failed \(exit code 3\) and is left; the rest keeps running")
    assert len([line for line in run.lines if "demo   | hello" in line]) == 3
