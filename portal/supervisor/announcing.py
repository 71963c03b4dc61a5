"""Tell the person at the terminal when there is something to open."""

import http.client
import threading
import time
from collections.abc import Callable

POLL_S = 0.5
TIMEOUT_S = 5.0

Say = Callable[[str], None]


def announce_readiness(port: int, *, say: Say) -> None:
    """In the background: say where the site is when it answers, and again when it serves models."""
    threading.Thread(target=_announce, args=[port, say], name="announcer", daemon=True).start()


def _announce(port: int, say: Say) -> None:
    began = time.monotonic()
    _await_answer(port, "/healthz")
    address = f"  Mercato is up: http://127.0.0.1:{port}  "
    frame = "=" * len(address)
    say(f"{frame}\n{address}\n{frame}")
    _await_answer(port, "/readyz")
    say(f"ready to serve models after {time.monotonic() - began:.1f} s")


def _await_answer(port: int, path: str) -> None:
    while not _answers(port, path):
        time.sleep(POLL_S)


def _answers(port: int, path: str) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT_S)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
