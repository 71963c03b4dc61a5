"""A worker takes calls from its queues alone, which only the gateway fills: there is no port to knock at."""

from collections.abc import Callable

import psutil

from tests.inference.worker.conftest import Offer
from tests.inference.worker.worker_process import RunningWorker


def test_workers_accept_calls_from_the_gateway_alone(
    offer: Callable[..., Offer], workers: Callable[..., RunningWorker]
) -> None:
    """Also while it serves, and whatever children it has."""
    offered = offer()
    worker = workers()
    caller = offered.caller()
    caller.generate(offered.version, max_tokens=4)
    caller.read()
    process = psutil.Process(worker.process.pid)
    sockets = [
        socket
        for each in (process, *process.children(recursive=True))
        for socket in each.net_connections(kind="all")
    ]
    assert any(socket.status == psutil.CONN_ESTABLISHED for socket in sockets), "it talks to Redis"
    assert [socket for socket in sockets if socket.status == psutil.CONN_LISTEN] == []
    assert [socket for socket in sockets if socket.type.name == "SOCK_DGRAM" and socket.laddr] == []
