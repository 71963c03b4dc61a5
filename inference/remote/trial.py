"""Try an endpoint for real: one tiny call, and what came back in words for its provider."""

import asyncio
import time
from dataclasses import dataclass
from typing import Any

import orjson
from django.conf import settings

from inference.remote import texts
from inference.remote.exchange import Exchange
from inference.remote.faults import UpstreamFault, of_status
from inference.remote.upstream import EndpointFacts, Upstream
from marketplace.models import Task

ANSWER_SECONDS = 60.0
MOST_BYTES = 8 * 2**20
MOST_SHOWN = 200
TOKENS = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What one tiny call came to. `shown` is a little of the answer; `counts` what the server says it used."""

    ok: bool
    message: str
    latency_ms: int = 0
    shown: str = ""
    counts: str = ""


def run(facts: EndpointFacts, *, task: str) -> Seen:
    """Blocks for at most a minute and a little. What goes wrong is seen, not raised. Not for an event loop."""
    return asyncio.run(_run(facts, task=task))


async def _run(facts: EndpointFacts, *, task: str) -> Seen:
    upstream = Upstream(facts, settings.OUTBOUND)
    path, body = _request(facts.model, task=task)
    exchange = Exchange(
        whole=True, first=ANSWER_SECONDS, between=ANSWER_SECONDS, in_all=ANSWER_SECONDS, most_bytes=MOST_BYTES
    )
    started = time.monotonic()
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            await upstream.ask(path, orjson.dumps(body), exchange)
            data = await exchange.read()
        if exchange.status != 200:
            raise of_status(exchange.status)
        return _judge(data, task=task, latency_ms=round((time.monotonic() - started) * 1000))
    except TimeoutError:
        return Seen(ok=False, message=f"There was no answer after {ANSWER_SECONDS:.0f} s.")
    except UpstreamFault as fault:
        return Seen(ok=False, message=fault.detail)
    finally:
        upstream.release(exchange)
        upstream.close()


def _request(model: str, *, task: str) -> tuple[str, dict[str, Any]]:
    if task == Task.FEATURE_EXTRACTION:
        return "embeddings", {"model": model, "input": ["Hello"]}
    messages = [{"role": "user", "content": "Say hello."}]
    return "chat/completions", {"model": model, "messages": messages, "max_tokens": TOKENS}


def _judge(data: bytes, *, task: str, latency_ms: int) -> Seen:
    try:
        answer = orjson.loads(data)
        shown = _vector(answer) if task == Task.FEATURE_EXTRACTION else _text(answer)
        usage = answer.get("usage")
    except (orjson.JSONDecodeError, KeyError, IndexError, TypeError, ValueError, AttributeError):
        return Seen(ok=False, message="The answer is not what OpenAI's protocol says.", latency_ms=latency_ms)
    if isinstance(usage, dict) and type(usage.get("prompt_tokens")) is int:
        written = usage.get("completion_tokens")
        counts = f"{usage['prompt_tokens']} in, {written if type(written) is int else 0} out"
        message = f"It answered in {latency_ms} ms and reports its usage."
    else:
        counts = ""
        message = (
            f"It answered in {latency_ms} ms but reports no usage: calls will be billed by our own estimate."
        )
    return Seen(ok=True, message=message, latency_ms=latency_ms, shown=shown[:MOST_SHOWN], counts=counts)


def _text(answer: Any) -> str:
    text, beside = texts.read(answer["choices"][0]["message"])
    return text or texts.reasoning(beside)


def _vector(answer: Any) -> str:
    vector = answer["data"][0]["embedding"]
    return f"a vector of {len(vector)} numbers" if isinstance(vector, list) else "a vector"
