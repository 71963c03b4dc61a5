"""Who calls which version on which terms: looked up in Postgres once, then cached with its epochs.

The cache hardly needs an expiry: admission compares every epoch, so a revoked key, a changed plan, a withdrawn
listing or a new version is refused as stale in the very next call, and looked up again.
"""

import asyncio
import contextlib
import hashlib
import threading
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Generic, TypeVar

from django.db import OperationalError, close_old_connections, connections

from inference.gateway import lookup
from inference.gateway.errors import MissingKey, WrongKey
from inference.gateway.lookup import Caller, Route
from inference.gateway.prompting import Prompter
from portal.kit import epochs
from portal.kit.errors import PortalError

CALLERS_KEPT = 20_000
ROUTES_KEPT = 20_000
LOOKUP_THREADS = 4
LOOKUP_SECONDS = 5.0
LET_GO_SECONDS = 2.0
# Wrong keys are remembered briefly, so that a client in a loop costs no database.
WRONG_KEY_SECONDS = 10.0

Value = TypeVar("Value")
Key = TypeVar("Key")


class Identifier:
    """Owned by one event loop. Postgres is asked in threads of its own."""

    def __init__(self, prompter: Prompter) -> None:
        self._prompter = prompter
        self._threads = ThreadPoolExecutor(LOOKUP_THREADS, thread_name_prefix="lookup")
        self._callers: Remembered[bytes, Caller] = Remembered(CALLERS_KEPT)
        self._routes: Remembered[tuple[bytes, str], Route] = Remembered(ROUTES_KEPT)
        self._wrong: OrderedDict[bytes, float] = OrderedDict()

    async def caller(self, authorization: str | None) -> Caller:
        """Who sends this header. Raises `MissingKey`, `WrongKey` or `KeyLacksScope`."""
        text = bearer(authorization)
        digest = hashlib.sha256(text.encode()).digest()
        if self._wrong.get(digest, 0.0) > time.monotonic():
            raise WrongKey(shown=shorten(text))
        caller = await self._callers.get(digest, lambda: self._look_up_caller(text, digest))
        if caller.expires_at <= time.time():
            self._callers.forget(digest)
            caller = await self._callers.get(digest, lambda: self._look_up_caller(text, digest))
        return caller

    async def fresh_caller(self, authorization: str | None) -> Caller:
        """The same, asked of Postgres now: for what no admission guards."""
        self._callers.forget(hashlib.sha256(bearer(authorization).encode()).digest())
        return await self.caller(authorization)

    async def route(self, caller: Caller, model: str) -> Route:
        """What the caller reaches by this name, and on which terms. Raises what `lookup.find_route` does."""
        return await self._routes.get((caller.digest, model), lambda: self._look_up_route(caller, model))

    async def current_route(self, caller: Caller, model: str) -> Route:
        """The same, as it is now: for what no admission guards."""
        route = await self.route(caller, model)
        names, values = zip(*route.facts.epochs, strict=True)
        if tuple(await self.in_thread(lambda: epochs.read(names))) != values:
            self.forget(caller, model)
            route = await self.route(caller, model)
        return route

    def forget(self, caller: Caller, model: str) -> None:
        """Look the caller and the route up again next time."""
        self._callers.forget(caller.digest)
        self._routes.forget((caller.digest, model))

    async def in_thread(self, work: Callable[[], Value]) -> Value:
        """Run a blocking lookup on a thread whose database connection is in order. Raises `OperationalError` also where
        it takes too long.
        """

        def run() -> Value:
            close_old_connections()
            try:
                return work()
            finally:
                close_old_connections()

        try:
            # What has not begun by then leaves the queue, which would else grow for as long as Postgres is away.
            async with asyncio.timeout(LOOKUP_SECONDS):
                return await asyncio.get_running_loop().run_in_executor(self._threads, run)
        except TimeoutError as error:
            raise OperationalError("no answer to a lookup in time") from error

    def close(self) -> None:
        """End the threads, each of which first lets go of its database connection. Blocks for moments."""
        everyone = threading.Barrier(LOOKUP_THREADS)
        for _ in range(LOOKUP_THREADS):
            self._threads.submit(_let_go, everyone)
        self._threads.shutdown(wait=True)

    async def _look_up_caller(self, text: str, digest: bytes) -> Caller:
        caller = await self.in_thread(lambda: lookup.find_caller(text, digest))
        if caller is None:
            self._wrong[digest] = time.monotonic() + WRONG_KEY_SECONDS
            if len(self._wrong) > CALLERS_KEPT:
                self._wrong.popitem(last=False)
            raise WrongKey(shown=shorten(text))
        return caller

    async def _look_up_route(self, caller: Caller, model: str) -> Route:
        route = await self.in_thread(lambda: lookup.find_route(caller, model))
        if route.directory is None:
            return route
        return route.with_tokenizer(
            await self._prompter.facts(route.directory, caller=caller.organisation_id.hex)
        )


class Remembered(Generic[Key, Value]):
    """A bounded cache that looks a missing key up once, however many ask at the same time; forgets before epochs do."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._kept: OrderedDict[Key, tuple[Value, float]] = OrderedDict()
        self._pending: dict[Key, asyncio.Future[Value]] = {}

    async def get(self, key: Key, look_up: Callable[[], Awaitable[Value]]) -> Value:
        kept = self._kept.get(key)
        if kept is not None and time.monotonic() < kept[1]:
            self._kept.move_to_end(key)
            return kept[0]
        pending = self._pending.get(key)
        if pending is None:
            pending = self._pending[key] = asyncio.ensure_future(self._fill(key, look_up))
            pending.add_done_callback(_retrieve)
        # A caller that goes away must not take the lookup from the others.
        return await asyncio.shield(pending)

    def forget(self, key: Key) -> None:
        self._kept.pop(key, None)
        # A lookup under way may have read what has changed since.
        self._pending.pop(key, None)

    async def _fill(self, key: Key, look_up: Callable[[], Awaitable[Value]]) -> Value:
        mine = asyncio.current_task()
        try:
            value = await look_up()
        finally:
            is_current = self._pending.get(key) is mine
            if is_current:
                del self._pending[key]
        if is_current:
            self._kept[key] = value, time.monotonic() + epochs.COPY_SECONDS
            if len(self._kept) > self._limit:
                self._kept.popitem(last=False)
        return value


def bearer(authorization: str | None) -> str:
    """The key in an Authorization header. Raises `MissingKey`."""
    scheme, _, text = (authorization or "").partition(" ")
    text = text.strip()
    if scheme.lower() != "bearer" or not text:
        raise MissingKey
    if not text.isascii() or len(text) > 2_000:
        raise WrongKey(shown=shorten(text))
    return text


def shorten(text: str) -> str:
    """A key as an error may show it: enough to recognise, too little to use."""
    return f"{text[:6]}...{text[-4:]}" if len(text) > 16 else "..."


def _let_go(everyone: threading.Barrier) -> None:
    # Waiting for the others makes sure that each thread takes one of these.
    with contextlib.suppress(threading.BrokenBarrierError):
        everyone.wait(LET_GO_SECONDS)
    connections.close_all()


def _retrieve(pending: "asyncio.Future[Any]") -> None:
    # Everybody may have gone away; an error that nobody fetches is no news.
    if not pending.cancelled() and isinstance(pending.exception(), PortalError):
        return
