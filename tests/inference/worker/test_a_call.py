"""One call through a real worker process."""

from collections.abc import Callable

import pytest

from billing.credit import keys
from billing.events import read
from portal.kit import ids, redis
from tests.inference.worker.conftest import Offer
from tests.inference.worker.worker_process import RunningWorker, await_that


def test_a_cold_version_is_loaded_and_the_call_streams_and_settles(
    offer: Callable[..., Offer], workers: Callable[..., RunningWorker]
) -> None:
    offered = offer()
    worker = workers()
    caller = offered.caller()
    request = caller.generate(offered.version, max_tokens=16)
    caller.read()

    ended = caller.outcomes[request]
    assert (ended.outcome, ended.finish_reason) == ("succeeded", "length"), worker.log
    assert ended.quantities["output_tokens"] == 16
    assert ended.chunks > 3
    assert ended.text
    assert ended.worker == worker.state().id  # type: ignore[union-attr]
    assert redis.client().xlen(keys.USAGE_STREAM) == 1
    assert redis.client().zcard(keys.HOLDS) == 0


def test_a_cancelled_call_stops_and_reports_what_was_generated(
    offer: Callable[..., Offer], workers: Callable[..., RunningWorker]
) -> None:
    offered = offer()
    worker = workers()
    caller = offered.caller()
    request = caller.generate(offered.version, max_tokens=900)
    caller.read(until=lambda: caller.outcomes[request].chunks > 5)
    at_cancel = caller.outcomes[request].chunks
    caller.cancel(request)
    caller.read()

    ended = caller.outcomes[request]
    assert ended.outcome == "cancelled", worker.log
    assert at_cancel <= ended.quantities["output_tokens"] < 600
    await_that(lambda: worker.state().replicas[0].busy == 0)  # type: ignore[union-attr]


@pytest.mark.parametrize(("prompt", "reason"), [([10, 11], "length"), ([10**6], "refused")])
def test_the_record_tells_a_request_that_no_worker_could_run(
    offer: Callable[..., Offer], workers: Callable[..., RunningWorker], prompt: list[int], reason: str
) -> None:
    offered = offer()
    workers()
    caller, request = offered.caller(), ids.uuid7()
    caller.admit(offered.version, [request], worst={"input_tokens": 2, "output_tokens": 1})
    body = {"prompt_ids": prompt, "cache_scope": "caller", "sampling": {"max_tokens": 1, "temperature": 0.0}}
    caller.send(request, offered.version, kind="generate", body=body)
    caller.read()
    ((_entry, fields),) = redis.client().xrange(keys.USAGE_STREAM)
    assert read(fields).extra["finish_reason"] == reason


def test_an_answer_that_is_wanted_whole_comes_in_one_piece(
    offer: Callable[..., Offer], workers: Callable[..., RunningWorker]
) -> None:
    """Chunks on the way would only cost: the text, its log-probabilities and the times are the same."""
    offered = offer()
    workers()
    caller = offered.caller()
    streamed = caller.generate(offered.version, max_tokens=16)
    whole = caller.generate(offered.version, max_tokens=16, whole=True)
    caller.read()
    first, second = caller.outcomes[streamed], caller.outcomes[whole]
    assert (second.outcome, second.finish_reason) == ("succeeded", "length")
    assert second.text == first.text
    assert second.quantities["output_tokens"] == 16
    assert second.chunks <= 1 < first.chunks
