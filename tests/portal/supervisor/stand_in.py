"""A program to supervise. Arguments: how it behaves, in words.

`child`: have a child of its own. `stubborn`: ignore SIGTERM. `fail`: exit with 3. `done`: exit with 0.
"""

import os
import signal
import subprocess
import sys
import time


def stop(number: int, _: object) -> None:
    print(f"bye on {signal.Signals(number).name}", flush=True)
    sys.exit(0)


words = sys.argv[1:]
for number in (signal.SIGTERM, signal.SIGINT):
    signal.signal(number, signal.SIG_IGN if "stubborn" in words else stop)
if "child" in words:
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    print(f"child {child.pid}", flush=True)
print(f"hello from {os.getpid()}", flush=True)
if "fail" in words:
    sys.exit(3)
if "done" not in words:
    time.sleep(600)
