"""Django's cache in Redis, for pages that must come up although Redis is full, slow or away.

What Redis does not take is kept by this process instead, so limits such as those of sign-in still hold, in each
process by itself.
"""

import logging
import time
from collections.abc import Callable
from typing import Any, ClassVar, TypeVar

from django.core.cache.backends.base import DEFAULT_TIMEOUT, BaseCache
from django.core.cache.backends.locmem import LocMemCache
from django.core.cache.backends.redis import RedisCache

from portal.kit.redis import is_away, is_passing

log = logging.getLogger(__name__)

MOST_SPARE = 10_000
# A server that did not answer is left alone for so long: a page asks a cache several times.
REST_SECONDS = 5.0
_NOTHING = object()

Answer = TypeVar("Answer")


class SurvivingCache(RedisCache):
    """As `RedisCache`; what that cannot do at the moment is done in memory."""

    # Of each server, until when it is left alone. Django makes a cache for every thread that serves a request.
    away_until: ClassVar[dict[str, float]] = {}

    # Of many keys at once, one by one: each may be in another place.
    get_many, set_many, delete_many = BaseCache.get_many, BaseCache.set_many, BaseCache.delete_many

    def __init__(self, server: Any, params: dict[str, Any]) -> None:
        super().__init__(server, params)
        self._spare = LocMemCache("spare", {**params, "OPTIONS": {"MAX_ENTRIES": MOST_SPARE}})
        self._name = str(server)

    def get(self, key: Any, default: Any = None, version: int | None = None) -> Any:
        found = self._try(lambda: super(SurvivingCache, self).get(key, _NOTHING, version), _NOTHING)
        return self._spare.get(key, default, version) if found is _NOTHING else found

    def has_key(self, key: Any, version: int | None = None) -> bool:
        return self.get(key, _NOTHING, version) is not _NOTHING

    def add(self, key: Any, value: Any, timeout: Any = DEFAULT_TIMEOUT, version: int | None = None) -> bool:
        if self._spare.has_key(key, version):
            return False
        added = self._try(lambda: super(SurvivingCache, self).add(key, value, timeout, version), None)
        return self._spare.add(key, value, timeout, version) if added is None else bool(added)

    def set(self, key: Any, value: Any, timeout: Any = DEFAULT_TIMEOUT, version: int | None = None) -> None:
        if self._try(lambda: super(SurvivingCache, self).set(key, value, timeout, version), _NOTHING) is None:
            self._spare.delete(key, version)
            return
        # A full Redis still deletes: what it says of the key is old from here on.
        self._try(lambda: super(SurvivingCache, self).delete(key, version), False)
        self._spare.set(key, value, timeout, version)

    def touch(self, key: Any, timeout: Any = DEFAULT_TIMEOUT, version: int | None = None) -> bool:
        touched = self._try(lambda: super(SurvivingCache, self).touch(key, timeout, version), False)
        return bool(touched) or self._spare.touch(key, timeout, version)

    def delete(self, key: Any, version: int | None = None) -> bool:
        deleted = self._try(lambda: super(SurvivingCache, self).delete(key, version), False)
        return self._spare.delete(key, version) or bool(deleted)

    def incr(self, key: Any, delta: int = 1, version: int | None = None) -> int:
        if self._spare.has_key(key, version):
            return self._spare.incr(key, delta, version)
        counted = self._try(lambda: super(SurvivingCache, self).incr(key, delta, version), None)
        if counted is None:
            raise ValueError(f"Key '{key}' not found.")
        return int(counted)

    def clear(self) -> None:
        self._spare.clear()
        self._try(super().clear, None)

    def _try(self, act: Callable[[], Answer], otherwise: Answer) -> Answer:
        if time.monotonic() < self.away_until.get(self._name, 0.0):
            return otherwise
        try:
            return act()
        except Exception as error:
            if not is_passing(error):
                raise
            if is_away(error):
                self.away_until[self._name] = time.monotonic() + REST_SECONDS
            log.warning("the cache is kept in memory: %s", error)
            return otherwise
