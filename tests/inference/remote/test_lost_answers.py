"""A settlement whose answer is lost on the way was carried out all the same: the caller hears what was recorded."""

from typing import Any

import pytest
from redis.exceptions import ConnectionError

from billing import metering
from billing.credit import scripting
from inference.gateway.commands import SharedCommands
from tests.inference.gateway.test_calls import usage_events
from tests.inference.remote.conftest import Remotes
from tests.inference.remote.test_relayed_calls import CHARGE, Clients, ask, read


@pytest.fixture
def lossy(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Lose the next answers to settlements, each after what the list names was done; it is emptied so."""
    losses: list[str] = []
    run = SharedCommands.run

    async def lose(self: SharedCommands, *commands: Any) -> Any:
        answers = await run(self, *commands)
        if losses and commands[0][:2] == ("EVALSHA", scripting.digest("settlement")):
            if losses.pop() == "recorded":
                metering.join()
                await _in_thread(lambda: metering.drain(through=b"+"))
            raise ConnectionError("lost on the way")
        return answers

    monkeypatch.setattr(SharedCommands, "run", lose)
    return losses


async def _in_thread(work: Any) -> None:
    import asyncio

    from django.db import connection

    def act() -> None:
        try:
            work()
        finally:
            connection.close()

    await asyncio.to_thread(act)


@pytest.mark.parametrize("where", ["on the stream", "recorded"])
@pytest.mark.parametrize("streamed", [False, True])
def test_the_answer_is_delivered_and_charged_once(
    remote: Remotes, client: Clients, lossy: list[str], where: str, streamed: bool
) -> None:
    far = remote()
    lossy.append(where)
    if streamed:
        text, last = read(ask(client(far), far, stream=True, stream_options={"include_usage": True}))
        usage = last.usage
    else:
        answer = ask(client(far), far)
        text, usage = answer.choices[0].message.content, answer.usage
    assert lossy == []
    assert text
    assert usage.cost_micro == CHARGE
    metering.join()
    assert (where == "recorded") == (usage_events() == [])
    assert metering.drain(through=b"+") == (0 if where == "recorded" else 1)
