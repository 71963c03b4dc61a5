"""Redis drops every connection in mid-stream: nothing is lost, and the worker goes on."""

from collections.abc import Callable
from itertools import pairwise

from billing.credit import keys
from portal.kit import redis
from tests.inference.worker.conftest import Offer
from tests.inference.worker.worker_process import RunningWorker


def test_calls_survive_the_loss_of_every_connection_and_are_recorded_once(
    offer: Callable[..., Offer], workers: Callable[..., RunningWorker]
) -> None:
    offered = offer()
    worker = workers()
    caller = offered.caller()
    requests = caller.generate_many(offered.version, 8, max_tokens=500)
    caller.read(until=lambda: all(caller.outcomes[request].chunks > 3 for request in requests))
    for _ in range(3):
        redis.client().execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
    caller.read()
    later = caller.generate(offered.version)
    caller.read()

    for request in [*requests, later]:
        ended = caller.outcomes[request]
        assert ended.outcome == "succeeded", worker.log
        assert all(after - before == 1 for before, after in pairwise([-1, *ended.indices])), (
            "no chunk is missing"
        )
    whole = {caller.outcomes[request].text for request in requests}
    assert len(whole) == 1, "greedy answers to one prompt are the same, so none has lost or doubled a piece"
    assert redis.client().xlen(keys.USAGE_STREAM) == 9
