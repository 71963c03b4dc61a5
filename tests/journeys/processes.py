"""Finding the running site's processes from outside, by their command lines."""

import psutil

from tests.stack import Stack


def find(stack: Stack, *words: str) -> list[psutil.Process]:
    """Every descendant of the supervisor whose command line holds all the words, oldest first."""
    assert stack.process is not None
    found = []
    for process in psutil.Process(stack.process.pid).children(recursive=True):
        try:
            line = process.cmdline()
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
        if all(any(word in part for part in line) for word in words):
            found.append(process)
    return sorted(found, key=lambda process: process.create_time())


def find_worker(stack: Stack) -> psutil.Process:
    """The engine-hosting worker's own process: the topmost with that command."""
    return find(stack, "manage.py", "worker")[0]
