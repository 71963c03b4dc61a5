"""The Redis scripts of this package, bound to one run of the Redis server.

Every script text starts with the server's run id as a constant. A restarted server has forgotten all
scripts, so each process meets NOSCRIPT, learns the new run id and loads the texts anew; leases opened
for the old run are then refused as missing. Nobody can use a lease that a restart may have rolled back.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import redis
import redis.asyncio
from redis.asyncio.client import Pipeline as AsyncPipeline
from redis.client import Pipeline
from redis.exceptions import NoScriptError

_TEXTS = Path(__file__).with_name("scripts")
_PARTS: Mapping[str, tuple[str, ...]] = {
    "admission": ("rating", "lease", "admission"),
    "settlement": ("rating", "lease", "settlement"),
    "opening": ("opening",),
    "granting": ("lease", "granting"),
    "fencing": ("fencing",),
    "renewing": ("lease", "renewing"),
    "attaching": ("attaching",),
    "identity": ("identity",),
}
# A key that nobody writes: watching it pins a pipeline to one connection, hence to one run of the server.
_PIN = "billing:pin"


@dataclass(frozen=True, slots=True)
class Loaded:
    """The scripts' digests on the server whose run id is `run`."""

    run: str
    digests: Mapping[str, str]


class LoadedCache:
    """What this process has loaded last; replaced as a whole when the server has forgotten it."""

    def __init__(self) -> None:
        self.loaded: Loaded | None = None

    def digest(self, name: str) -> str:
        """Raises `NoScriptError` if nothing was loaded yet, just as a forgetful server would."""
        if self.loaded is None:
            raise NoScriptError("The credit scripts are not loaded yet.")
        return self.loaded.digests[name]


_cache = LoadedCache()


@cache
def body(name: str) -> str:
    """A script's text without its run id."""
    return "\n".join((_TEXTS / f"{part}.lua").read_text() for part in _PARTS[name])


def _bind(name: str, run: str) -> str:
    return f"local RUN = '{run}'\n{body(name)}"


def load(client: "redis.Redis") -> Loaded:
    """Load all scripts and learn the run id, on one connection. Raises `redis.ConnectionError`."""
    with client.pipeline() as pinned:
        pinned.watch(_PIN)  # type: ignore[no-untyped-call]
        run = str(_mapping(pinned.info("server"))["run_id"])
        digests = {name: str(pinned.script_load(_bind(name, run))) for name in _PARTS}
    _cache.loaded = Loaded(run, digests)
    return _cache.loaded


async def load_async(client: "redis.asyncio.Redis") -> Loaded:
    """`load` for an event loop."""
    async with client.pipeline() as pinned:
        await pinned.watch(_PIN)
        run = str(_mapping(await _awaited(pinned.info("server")))["run_id"])
        digests = {name: str(await _awaited(pinned.script_load(_bind(name, run)))) for name in _PARTS}
    _cache.loaded = Loaded(run, digests)
    return _cache.loaded


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
    return client.evalsha(_cache.digest(name), len(keys), *keys, *args)


def send(client: Any, name: str, keys: Sequence[str], args: Sequence[Any]) -> Any:
    """By pipeline: queue. By an asyncio client: an awaitable. By a blocking client: the answer."""
    if isinstance(client, Pipeline | AsyncPipeline):
        return queue(client, name, keys, args)
    if isinstance(client, redis.asyncio.Redis):
        return run_async(client, name, keys, args)
    return run(client, name, keys, args)


def run_id(client: "redis.Redis") -> str:
    """The run of the server that the scripts are bound to now: asks a script, so that it cannot be outdated."""
    return str(run(client, "identity", [], []).decode())


def _mapping(value: Any) -> Mapping[str, Any]:
    assert isinstance(value, Mapping)
    return value


async def _awaited(value: Any) -> Any:
    return await value
