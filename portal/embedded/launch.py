"""Starting a child that stops with us, whatever happens to us."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import IO, cast

from portal.embedded.account import Account

# Of a server's log; as much again is kept of what came before.
LOG_LIMIT_BYTES = 10 * 2**20
BECOME = Path(__file__).with_name("become.py")


def bind_to_us(
    command: list[str], *, death_signal: signal.Signals, account: Account | None = None
) -> list[str]:
    """`command` wrapped so that the kernel sends it `death_signal` when the calling process is gone.

    The kernel watches the thread that starts the child, not the process: start it from a thread that lives
    as long as the child shall. The process id stays that of the command, for the wrapper execs it.
    """
    terms: dict[str, int | None] = {"parent": os.getpid(), "death_signal": int(death_signal)}
    if account:
        terms |= {"uid": account.uid, "gid": account.gid, "capability": account.capability}
    return [sys.executable, "-I", "-S", str(BECOME), json.dumps(terms), *command]


def open_log(path: Path) -> IO[bytes]:
    """A log file to append to."""
    path.parent.mkdir(parents=True, exist_ok=True)
    return path.open("ab")


def rotate_log(path: Path) -> None:
    """A log that has grown past the limit becomes `NAME.1`, and goes on empty.

    Copied and then emptied, since its server holds it open: it appends, and so goes on at the new end.
    """
    with contextlib.suppress(OSError):  # gone, or no room for the copy: then it is emptied the next time
        if path.stat().st_size > LOG_LIMIT_BYTES:
            shutil.copy2(path, path.with_name(path.name + ".1"))
            os.truncate(path, 0)


def start_server(
    command: list[str],
    *,
    death_signal: signal.Signals,
    account: Account | None,
    log: Path,
    directory: Path,
    given: str = "",
) -> subprocess.Popen[bytes]:
    """A server in its own session, so that Ctrl-C in the terminal reaches only us, who stop it in order.

    `given` is written to its standard input, which is then closed.
    """
    with open_log(log) as output:
        process = subprocess.Popen(
            bind_to_us(command, death_signal=death_signal, account=account),
            cwd=directory,
            env={"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C.UTF-8", "TZ": "UTC"},
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    # A server that died at once takes no input; whoever waits for it to be ready reports that.
    with contextlib.suppress(BrokenPipeError), cast(IO[bytes], process.stdin) as stdin:
        stdin.write(given.encode())
    return process
