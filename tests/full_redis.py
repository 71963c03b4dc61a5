"""A Redis at its memory limit, for as long as a block."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from portal.kit import redis


@contextmanager
def full() -> Iterator[None]:
    client = redis.client()
    said: Any = client.config_get("maxmemory")
    client.config_set("maxmemory", 1)
    try:
        yield
    finally:
        client.config_set("maxmemory", said["maxmemory"])


def contents() -> dict[bytes, Any]:
    """All that Redis keeps, by key."""
    client: Any = redis.client()
    return {key: client.dump(key) for key in client.scan_iter(count=1000)}
