"""Arrivals keep their rate whatever the server does, and every fate is counted."""

import socket
import threading
from collections.abc import Iterator

import pytest

from benchmarks import arrivals
from benchmarks.arrivals import Storm, Stream

ANSWERS = {
    b"good": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
    b"later": b"HTTP/1.1 429 Too Many Requests\r\nRetry-After: 2\r\nContent-Length: 0\r\n\r\n",
    b"rude": b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n",
}


@pytest.fixture
def port() -> Iterator[int]:
    """A server that answers as the key says, or never."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        held: list[socket.socket] = []

        def serve() -> None:
            while True:
                try:
                    client, _ = server.accept()
                except OSError:
                    return
                asked = client.recv(65_536)
                answer = next((text for key, text in ANSWERS.items() if b"Bearer " + key in asked), None)
                if answer is None:
                    held.append(client)
                    continue
                client.sendall(answer)
                client.close()

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield server.getsockname()[1]
        for client in held:
            client.close()


def test_every_fate_is_counted(port: int) -> None:
    streams = [Stream(key, 40.0) for key in ("good", "later", "rude", "never")]
    arrivals.run(Storm("127.0.0.1", port, "/x", b"{}", seconds=0.5, patience=0.3), streams)
    good, later, rude, never = streams
    assert good.statuses == {200: 20}
    assert good.latency_ms(0.5) < 1000
    assert (later.statuses, later.silent) == ({429: 20}, 0)
    assert (rude.statuses, rude.silent) == ({503: 20}, 20)
    assert never.arrived == 20, "they wait for no answer"
    assert never.answered == 0
