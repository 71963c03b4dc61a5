"""Bring a version from storage into an engine on this worker's device."""

import threading
import time
from importlib import import_module
from typing import cast
from uuid import UUID

from django.db import connection

from inference.engines.base import Engine, Manifest, Sink, Task, UnloadableVersion
from inference.engines.pulse import is_panic
from inference.errors import VersionNotLoadable
from marketplace import weights
from marketplace.models import Version
from portal.kit.errors import PortalError

# transformers imports its parts lazily, and two threads that do so at once see half of it.
_IMPORTING = threading.Lock()


def warm_up() -> None:
    """Import what every load needs, so that the first caller does not wait for that too (seconds)."""
    from inference.engines import registry

    with _IMPORTING:
        for place in sorted(set(registry.ENGINES.values())):
            import_module(place.partition(":")[0])


def read_manifest(version_hex: str) -> Manifest:
    """The facts about a ready version. Raises `VersionNotLoadable` if there is none of that id."""
    try:
        version = Version.objects.get(pk=UUID(hex=version_hex))
    except Version.DoesNotExist as error:
        raise VersionNotLoadable(reason="it does not exist.") from error
    finally:
        connection.close()
    if version.state != Version.State.READY:
        raise VersionNotLoadable(reason=f"its state is {version.state}.")
    return manifest_of(version)


def manifest_of(version: Version) -> Manifest:
    return Manifest(
        task=cast(Task, version.task), architecture=version.architecture, context_length=version.context_length,
        weight_bytes=version.weight_bytes, memory_bytes=version.memory_bytes,
    )  # fmt: skip


def load(version_hex: str, *, manifest: Manifest, device: str, sink: Sink) -> tuple[Engine, float]:
    """The engine, and the seconds that loading took. Raises `VersionNotLoadable` with a sentence."""
    from inference.engines import registry

    warm_up()
    started = time.monotonic()
    try:
        version = Version.objects.get(pk=UUID(hex=version_hex))
        directory = weights.directory(version)
    except PortalError as error:
        raise VersionNotLoadable(reason=str(error)) from error
    finally:
        connection.close()
    try:
        engine = registry.load(directory, manifest=manifest, device=device, sink=sink)
    except UnloadableVersion as error:
        raise VersionNotLoadable(reason=str(error)) from error
    except BaseException as error:
        if not isinstance(error, (RuntimeError, OSError, MemoryError, ValueError)) and not is_panic(error):
            raise
        raise VersionNotLoadable(reason=f"{type(error).__name__}: {error}") from error
    return engine, time.monotonic() - started
