"""How much memory there is: the machine's, or what the container that we run in may use of it."""

from pathlib import Path

import psutil

# Of control groups, version 2 and 1; without a limit they say "max", or more than any machine has.
_LIMITS = (
    Path("/sys/fs/cgroup/memory.max"),
    Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"),
)


def find_memory_bytes() -> int:
    """All of it, used or not."""
    limits = [path.read_text().strip() for path in _LIMITS if path.is_file()]
    return min([psutil.virtual_memory().total, *(int(limit) for limit in limits if limit.isdecimal())])
