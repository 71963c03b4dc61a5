"""Keep programs running until told to stop; then stop them in order.

honcho gives the labelled, coloured output. Its own manager stops everything when one program dies, which is
right for a developer's Procfile and wrong for a service; so the loop is ours.
"""

import datetime
import itertools
import queue
import signal
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TextIO

from honcho.colour import get_colours
from honcho.printer import Message, Printer

from portal.supervisor import restarting
from portal.supervisor.child import Child, describe_exit
from portal.supervisor.guarding import Guardian
from portal.supervisor.processes import Program

TURN_S = 0.05
# A terminal and `make` may both pass one Ctrl-C on; a second one this much later is meant.
SECOND_INTERRUPT_S = 1.0
SYSTEM = "system"


class Supervisor:
    """Runs `programs` with `environment` in `directory`, and prints what they say to `output`.

    `on_stop` is called when stopping begins.
    """

    def __init__(
        self,
        programs: list[Program],
        *,
        environment: Mapping[str, str],
        directory: Path,
        on_stop: Callable[[], None] = lambda: None,
        output: TextIO = sys.stdout,
    ) -> None:
        self.environment, self.directory, self.on_stop = environment, directory, on_stop
        self._messages: queue.SimpleQueue[Message] = queue.SimpleQueue()
        self._printer = Printer(output, width=max(len(SYSTEM), *(len(program.name) for program in programs)))
        colours = get_colours()
        self.children = [self._make_child(program, next(colours)) for program in programs]
        self._stop_requested_at: float | None = None
        self._in_a_hurry = False
        self._guardian = Guardian()

    def say(self, text: str) -> None:
        """Print a line of our own. Safe from any thread."""
        self._put(SYSTEM, None, text)

    def run(self) -> None:
        """Start everything; return when a signal has stopped it all. Call it from the main thread."""
        signals = [signal.SIGINT, signal.SIGTERM]
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # as under nohup
            signals.append(signal.SIGHUP)
        for number in signals:
            signal.signal(number, self._on_signal)
        try:
            while self._stop_requested_at is None:
                self._start_due()
                self._turn()
            self.on_stop()
            self.say("stopping; once more Ctrl-C kills")
            self._stop_in_order()
        finally:
            self._kill_all()
            self._guardian.dismiss()
            self._print_pending(wait_s=0)

    def request_stop(self) -> None:
        """As SIGTERM does."""
        self._stop_requested_at = self._stop_requested_at or time.monotonic()

    def _make_child(self, program: Program, colour: str) -> Child:
        return Child(program, on_line=lambda line: self._put(program.name, colour, line))

    def _put(self, name: str, colour: str | None, data: str | bytes) -> None:
        now = datetime.datetime.now()
        self._messages.put(Message(type="line", data=data, time=now, name=name, colour=colour))

    def _on_signal(self, number: int, _: object) -> None:
        asked_at = self._stop_requested_at
        if number == signal.SIGINT and asked_at and time.monotonic() - asked_at > SECOND_INTERRUPT_S:
            self._in_a_hurry = True
        self.request_stop()

    def _start_due(self) -> None:
        for child in self.children:
            if child.is_due():
                group = child.start(self.environment, directory=self.directory)
                self._guardian.add(group)
                self.say(f"{child.program.name} started (process {group})")

    def _turn(self) -> None:
        """Print what was said, and see who has ended."""
        self._print_pending(wait_s=TURN_S)
        self._guardian.keep()
        for child in self.children:
            group = child.process.pid if child.process else 0
            status = child.take_exit()
            if status is not None:
                self._guardian.discard(group)
                self._answer_exit(child, status)

    def _print_pending(self, *, wait_s: float) -> None:
        try:
            self._printer.write(self._messages.get(timeout=wait_s) if wait_s else self._messages.get_nowait())
            while True:
                self._printer.write(self._messages.get_nowait())
        except queue.Empty:
            return

    def _answer_exit(self, child: Child, status: int) -> None:
        ran_s = time.monotonic() - child.started_at
        child.failures = restarting.count_failures(child.failures, ran_s=ran_s)
        if self._stop_requested_at is not None:
            as_asked = status in (0, -signal.SIGTERM)
            self.say(f"{child.program.name} stopped" + ("" if as_asked else f" ({describe_exit(status)})"))
        elif child.program.once:
            self._answer_task_exit(child, status)
        else:
            self._schedule_restart(child, status)

    def _answer_task_exit(self, child: Child, status: int) -> None:
        name = child.program.name
        if status == 0:
            self.say(f"{name} finished")
        elif child.failures <= restarting.TASK_RETRIES:
            child.due_at = time.monotonic() + restarting.TASK_DELAY_S
            tries = f"{child.failures} of {restarting.TASK_RETRIES}"
            self.say(f"{name} failed ({describe_exit(status)}); trying again ({tries})")
        else:
            self.say(f"{name} failed ({describe_exit(status)}) and is left; the rest keeps running")

    def _schedule_restart(self, child: Child, status: int) -> None:
        delay_s = restarting.choose_delay_s(child.failures)
        child.due_at = time.monotonic() + delay_s
        ended = f"{child.program.name} ended ({describe_exit(status)})"
        if restarting.is_crash_loop(child.failures):
            self.say(
                f"{ended}, {child.failures} times in a row: it cannot start. The rest keeps running; "
                f"trying again every {delay_s:.0f} s"
            )
        else:
            self.say(f"{ended}; restarting" + (f" in {delay_s:g} s" if delay_s else ""))

    def _stop_in_order(self) -> None:
        by_rank = sorted(self.children, key=lambda child: child.program.stop_rank)
        for _, rank in itertools.groupby(by_rank, key=lambda child: child.program.stop_rank):
            self._stop_together(list(rank))

    def _stop_together(self, children: list[Child]) -> None:
        asked_at, killed = time.monotonic(), set[str]()
        for child in children:
            child.ask_to_stop()
        while (running := [child for child in children if child.process]) and not self._in_a_hurry:
            for child in running:
                late = time.monotonic() - asked_at > child.program.grace_s
                if late and child.program.name not in killed:
                    killed.add(child.program.name)
                    self.say(f"{child.program.name} did not stop in {child.program.grace_s:g} s; killing it")
                    child.kill()
            self._turn()

    def _kill_all(self) -> None:
        for child in self.children:
            child.kill()
        for child in self.children:
            if child.process:
                child.process.wait()
