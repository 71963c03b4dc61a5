"""What `make up` runs: the whole of Mercato as a list of programs."""

import sys
from collections.abc import Mapping
from dataclasses import dataclass

from portal.kit.environment import (
    connections_per_address,
    drain_seconds,
    flag,
    web_processes,
)

# What a worker needs once its calls have ended or been cut off: closing queues and engines, last answers.
AFTER_DRAIN_S = 30


@dataclass(frozen=True)
class Program:
    """One process to keep running.

    `stop_rank`: lower ones are asked to stop first, and the next rank only when they are gone. `grace_s`: how
    long it may take before it is killed. `once`: it does a task and ends; a failure is tried again.
    `start_after_s`: lets others have the processor first when everything starts at once.
    """

    name: str
    command: tuple[str, ...]
    stop_rank: int
    grace_s: float
    once: bool = False
    start_after_s: float = 0.0


def list_programs(environment: Mapping[str, str]) -> list[Program]:
    """All programs, in the order of starting. Checks what they read from the environment first."""
    web_processes(environment=environment)
    connections_per_address(environment=environment)
    web = (sys.executable, "-m", "portal.server")
    programs = [
        # Web first, so that workers still finish what was admitted; the meter after everyone that writes usage.
        Program("web", web, stop_rank=0, grace_s=15),
        Program(
            "worker",
            manage("worker"),
            stop_rank=1,
            grace_s=drain_seconds(environment=environment) + AFTER_DRAIN_S,
        ),
        Program("jobs", manage("jobs"), stop_rank=1, grace_s=20, start_after_s=2),
        Program("meter", manage("meter"), stop_rank=2, grace_s=10),
        Program("beat", manage("beat"), stop_rank=3, grace_s=5, start_after_s=3),
    ]
    if flag("MERCATO_DEMO", default=True, environment=environment):
        programs.append(Program("demo", manage("demo"), stop_rank=0, grace_s=5, once=True, start_after_s=4))
    return programs


def manage(command: str) -> tuple[str, ...]:
    """A Django command as a program."""
    return (sys.executable, "manage.py", command)
