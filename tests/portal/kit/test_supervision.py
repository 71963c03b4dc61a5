"""A loop that a process cannot serve without begins again, and one that cannot is the end of the process."""

import asyncio
from collections.abc import Callable, Iterator

import pytest

from portal.kit import supervision


class Panic(BaseException):
    """As native code raises it: no `Exception`."""


class Gone(BaseException):
    """Stands for the end of the process."""


@pytest.fixture(autouse=True)
def downs(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    reasons: list[str] = []

    def bring_down(reason: str) -> None:
        reasons.append(reason)
        raise Gone

    monkeypatch.setattr(supervision, "PAUSE_SECONDS", 0.001)
    monkeypatch.setattr(supervision, "bring_down", bring_down)
    supervision._failed_at.clear()
    yield reasons
    supervision._failed_at.clear()


def failing_times(times: int) -> tuple[Callable[[], None], list[int]]:
    begun: list[int] = []

    def serve() -> None:
        begun.append(len(begun))
        if len(begun) <= times:
            raise Panic

    return serve, begun


def test_a_thread_begins_again_after_a_panic(downs: list[str]) -> None:
    serve, begun = failing_times(2)
    thread = supervision.thread(serve, name="reader")
    thread.start()
    thread.join(10)
    assert len(begun) == 3
    assert not downs
    assert supervision.failing() == ["reader"]


def test_a_thread_that_keeps_failing_brings_the_process_down(downs: list[str]) -> None:
    serve, begun = failing_times(100)
    with pytest.raises(Gone):
        supervision.run(serve, name="reader")
    assert len(begun) == supervision.FAILURES_ALLOWED
    assert downs == ["the service reader fails time after time"]


async def test_a_task_begins_again_after_a_panic_and_a_stray_cancellation() -> None:
    errors: list[BaseException] = [Panic(), asyncio.CancelledError(), RuntimeError()]

    async def serve() -> None:
        if errors:
            raise errors.pop()

    await supervision.keep(serve, name="relay")
    assert not errors


async def test_a_task_that_is_cancelled_ends(downs: list[str]) -> None:
    begun = asyncio.Event()

    async def serve() -> None:
        begun.set()
        await asyncio.sleep(3600)

    task = asyncio.create_task(supervision.keep(serve, name="relay"))
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not supervision.failing()


@pytest.mark.usefixtures("db", "clean_redis")
def test_a_process_whose_loop_fails_is_not_ready(client) -> None:  # type: ignore[no-untyped-def]
    supervision._Failures("Relay.read").note(Panic())
    answer = client.get("/readyz")
    assert answer.status_code == 503
    assert answer.json()["process"] == "fails at: Relay.read"
    supervision._failed_at["Relay.read"] -= supervision.WELL_AFTER_SECONDS
    assert client.get("/readyz").json()["process"] == "ok"


def test_the_process_is_really_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    """By a status that its supervisor takes for a failure."""
    monkeypatch.undo()
    import subprocess
    import sys

    code = "from portal.kit import supervision as s\ndef f(): raise SystemExit\ns.PAUSE_SECONDS=0\ns.run(f, name='x')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=60, text=True)
    assert done.returncode == 70
    assert "time after time" in done.stderr
