"""One caller's slow prompts are its own affair: others wait for one of them at most, whoever's version it is."""

import asyncio
import resource
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from inference import quarantine
from inference.gateway.errors import PromptTooExpensive
from inference.gateway.process import GatewayProcess
from inference.gateway.prompting import PromptBudgetSpent, Prompter, budgets, child, line
from inference.gateway.prompting.budgets import Budgets
from inference.gateway.prompting.line import Job, Line
from portal.kit import redis
from tests.inference.gateway import templates_of_the_hub as hub
from tests.inference.gateway.test_broken_loops import Panic
from tests.inference.gateway.test_prompting import CONVERSATIONS, ENDLESS, byte_level

HELLO = CONVERSATIONS[0]
# Some tenths of a second of processor time.
SLOW = "{% for a in range(3000) %}{% for b in range(3000) %}{% endfor %}{% endfor %}x"


@pytest_asyncio.fixture
async def prompting() -> AsyncIterator[Prompter]:
    """With time for slow templates, and budgets that they do not use up."""
    running = Prompter(quick_seconds=30, cpu_seconds=60, most_children=3)
    yield running
    await running.close()


@pytest.fixture
def lavish(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OF_BOTH", "OF_CALLER", "OF_VERSION"):
        monkeypatch.setattr(budgets, name, budgets.Budget(whose=name, most=1e9, rate=1.0))


@pytest.mark.usefixtures("lavish")
async def test_a_flood_of_slow_prompts_delays_others_by_one_at_most(
    prompting: Prompter, tmp_path: Path
) -> None:
    """Also one whose version nobody has asked for before, and whose speed is not known."""
    slow = byte_level(tmp_path / "slow", template=SLOW)
    quick = byte_level(tmp_path / "quick", template=hub.CHATML)
    new = byte_level(tmp_path / "new", template=hub.CHATML)
    await prompting.chat(quick, HELLO, caller="modest")
    await prompting.chat(slow, HELLO, caller="flood")
    ended: list[str] = []

    async def ask(directory: Path, caller: str, name: str) -> None:
        await prompting.chat(directory, HELLO, caller=caller)
        ended.append(name)

    flood = [asyncio.ensure_future(ask(slow, "flood", "slow")) for _ in range(12)]
    await asyncio.sleep(0)
    others = [ask(quick, "modest", "quick") for _ in range(20)] + [ask(new, "another", "new")]
    await asyncio.gather(*others)
    assert ended.count("slow") <= 4, "the flood was served before the others"
    assert len(prompting._children) <= 3
    for waiting in flood:
        waiting.cancel()
    await asyncio.gather(*flood, return_exceptions=True)
    # Nobody prepares what nobody waits for.
    assert await prompting.chat(quick, HELLO, caller="modest")
    async with asyncio.timeout(30):
        while any(each.jobs for each in prompting._children):
            await asyncio.sleep(0.01)
    assert len(prompting._line) == 0


async def test_a_loaded_template_has_far_less_time_than_loading(tmp_path: Path) -> None:
    running = Prompter(cpu_seconds=20)
    bad = byte_level(tmp_path, template=ENDLESS)
    before = sum(resource.getrusage(resource.RUSAGE_CHILDREN)[:2])
    with pytest.raises(PromptTooExpensive):
        await running.chat(bad, HELLO)
    await running.close()
    assert sum(resource.getrusage(resource.RUSAGE_CHILDREN)[:2]) - before < 10


async def test_a_version_that_is_slow_without_reason_is_reported_once(tmp_path: Path) -> None:
    faults: list[tuple[Path, int]] = []
    running = Prompter(quick_seconds=0.1, on_fault=lambda directory, times: faults.append((directory, times)))
    bad = byte_level(tmp_path, template=ENDLESS)
    ends = await asyncio.gather(
        *(running.chat(bad, HELLO, caller=f"caller{n}") for n in range(budgets.FAULTS_ALLOWED)),
        return_exceptions=True,
    )
    assert {type(end) for end in ends} == {PromptTooExpensive}
    assert faults == [(bad, budgets.FAULTS_ALLOWED)]
    await running.close()


def test_what_is_spent_comes_back_with_time(monkeypatch: pytest.MonkeyPatch) -> None:
    spent, now = Budgets(), [1000.0]
    monkeypatch.setattr(budgets.time, "monotonic", lambda: now[0])
    spent.check("caller", "version")
    spent.charge("caller", "version", budgets.OF_BOTH.most + 0.1)
    with pytest.raises(PromptBudgetSpent) as refused:
        spent.check("caller", "version")
    spent.check("caller", "other")
    spent.check("another", "version")
    now[0] += refused.value.data["seconds"] + 0.1
    spent.check("caller", "version")


def test_a_budget_holds_over_versions_and_over_callers() -> None:
    spent = Budgets()
    for number in range(4):
        spent.charge("caller", f"version{number}", 1.9)
    with pytest.raises(PromptBudgetSpent, match="your organisation's prompts has"):
        spent.check("caller", "new")
    for number in range(4):
        spent.charge(f"caller{number}", "version", 1.9)
    with pytest.raises(PromptBudgetSpent, match="prompts for this model"):
        spent.check("new", "version")
    spent.check("new", "new")


def test_a_long_prompt_may_take_long() -> None:
    assert budgets.excess(1.5, size=2**20) == 0
    assert budgets.excess(1.5, size=1000) > 1.4


async def test_turns_go_by_time_taken_and_being_away_saves_up_none() -> None:
    waiting = Line()

    def enter(caller: str) -> None:
        answer = asyncio.get_running_loop().create_future()
        waiting.enter(Job(directory="d", caller=caller, kind="chat", frame=b"x", answer=answer))

    def served() -> str:
        job = waiting.take(lambda _: True)
        assert job is not None
        waiting.charge(job.caller, 1.0 if job.caller == "slow" else 0.1)
        return job.caller

    for _ in range(30):
        enter("slow")
        enter("quick")
    turns = [served() for _ in range(22)]
    assert turns.count("slow") == 2
    enter("late")
    enter("late")
    assert "late" in [served() for _ in range(3)]
    assert len(waiting) == 37


async def test_the_line_remembers_a_bounded_number_of_callers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(line, "CALLERS_KEPT", 10)
    waiting = Line()
    for number in range(100):
        answer = asyncio.get_running_loop().create_future()
        waiting.enter(Job(directory="d", caller=f"c{number}", kind="chat", frame=b"x", answer=answer))
        job = waiting.take(lambda _: True)
        assert job is not None
        waiting.charge(job.caller, 0.1)
    assert len(waiting._seconds) <= 101


async def test_children_that_nobody_needs_end(prompting: Prompter, tmp_path: Path) -> None:
    quick = byte_level(tmp_path, template=hub.CHATML)
    await prompting.chat(quick, HELLO)
    (first,) = prompting._children
    first.let_go()
    assert await prompting.chat(quick, HELLO), "another one takes its place"
    async with asyncio.timeout(30):
        while first in prompting._children:
            await asyncio.sleep(0.01)


def test_a_panic_of_a_tokenizer_ends_its_job_alone(tmp_path: Path) -> None:
    def panic(*_: object) -> None:
        raise Panic("index out of bounds")

    directory = byte_level(tmp_path, template=None)
    answer = child._answer(child.Codecs(), {"directory": str(directory)}, panic)
    assert answer == {"error": "unreadable", "reason": "index out of bounds"}


@pytest.mark.usefixtures("clean_redis")
async def test_a_version_with_slow_prompts_is_quarantined(tmp_path: Path) -> None:
    process = GatewayProcess()
    process._quarantine(Path("/cache/versions") / f"{'a' * 32}-0123456789abcdef", 5)
    async with asyncio.timeout(10):
        while not (found := quarantine.find(redis.client(), ["a" * 32])):
            await asyncio.sleep(0.01)
    assert found["a" * 32].kind == "template_slow"
    await process.close()
