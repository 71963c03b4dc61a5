"""The Redis scripts of this package: their texts, and how to run them by any client."""

import hashlib
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import redis
import redis.asyncio
from redis.asyncio.client import Pipeline as AsyncPipeline
from redis.client import Pipeline
from redis.exceptions import NoScriptError

from portal.kit.redis import EVEN_IF_FULL

_TEXTS = Path(__file__).with_name("scripts")
_PARTS: Mapping[str, tuple[str, ...]] = {
    "admission": ("run", "rating", "lease", "admission"),
    "settlement": ("run", "rating", "lease", "settlement"),
    "opening": ("run", "lease", "opening"),
    "granting": ("run", "lease", "granting"),
    "budget_opening": ("run", "lease", "budget_opening"),
    "budget_granting": ("run", "budget_granting"),
    "budget_closing": ("run", "lease", "budget_closing"),
    "fencing": ("fencing",),
    "returning": ("run", "lease", "returning"),
    "renewing": ("run", "lease", "renewing"),
    "attaching": ("attaching",),
    "forgetting": ("run", "lease", "forgetting"),
    "delivering": ("run", "lease", "delivering"),
    "reversing": ("run", "rating", "lease", "reversing"),
    "departing": ("run", "lease", "departing"),
    "leaving": ("leaving",),
}
# They end calls and keep them alive. Admission is refused by a Redis that is full, before it wrote anything;
# what opens and closes leases passes there, as it deletes before it writes.
_EVEN_IF_FULL = frozenset({"settlement", "renewing", "attaching", "forgetting", "delivering", "reversing"})


@cache
def text(name: str) -> str:
    """A script with the parts that it builds on."""
    parts = "\n".join((_TEXTS / f"{part}.lua").read_text() for part in _PARTS[name])
    return EVEN_IF_FULL + parts if name in _EVEN_IF_FULL else parts


@cache
def digest(name: str) -> str:
    """By which Redis knows a loaded script."""
    return hashlib.sha1(text(name).encode(), usedforsecurity=False).hexdigest()


def load(client: "redis.Redis") -> None:
    """Make the server know all scripts. Raises `redis.ConnectionError`."""
    for name in _PARTS:
        client.script_load(text(name))


async def load_async(client: "redis.asyncio.Redis") -> None:
    """`load` for an event loop."""
    for name in _PARTS:
        await client.script_load(text(name))


def run(client: "redis.Redis", name: str, keys: Sequence[str], args: Sequence[Any]) -> Any:
    """Run a script, loading it first where the server does not know it."""
    try:
        return queue(client, name, keys, args)
    except NoScriptError:
        load(client)
        return queue(client, name, keys, args)


async def run_async(
    client: "redis.asyncio.Redis", name: str, keys: Sequence[str], args: Sequence[Any]
) -> Any:
    """`run` for an event loop."""
    try:
        return await queue(client, name, keys, args)
    except NoScriptError:
        await load_async(client)
        return await queue(client, name, keys, args)


def queue(client: Any, name: str, keys: Sequence[str], args: Sequence[Any]) -> Any:
    """Send a script's digest by any client or pipeline, whatever that returns. Raises `NoScriptError`."""
    return client.evalsha(digest(name), len(keys), *keys, *args)


def send(client: Any, name: str, keys: Sequence[str], args: Sequence[Any]) -> Any:
    """By pipeline: queue. By a blocking client: the answer. By any of an event loop: an awaitable."""
    if isinstance(client, Pipeline | AsyncPipeline):
        return queue(client, name, keys, args)
    if isinstance(client, redis.Redis):
        return run(client, name, keys, args)
    return run_async(client, name, keys, args)


def run_id(client: "redis.Redis") -> str:
    """Which run of the server answers now."""
    answer: Any = client.info("server")
    return str(answer["run_id"])
