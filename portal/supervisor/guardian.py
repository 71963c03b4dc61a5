"""Kill what a killed supervisor leaves behind.

Run as a script, `python -I -S guardian.py`, and never imported. Reads `+ID` and `-ID` lines, the process
groups that run and that are gone. The end of input means that the supervisor is gone: whatever group is left
is killed. The kernel kills each group's leader by itself (see portal/embedded/become.py); the leader's own
children are what needs this.
"""

import contextlib
import os
import signal
import sys


def main() -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    groups: set[int] = set()
    for line in sys.stdin:
        change = groups.add if line.startswith("+") else groups.discard
        change(int(line[1:]))
    for group in groups:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(group, signal.SIGKILL)


if __name__ == "__main__":
    main()
