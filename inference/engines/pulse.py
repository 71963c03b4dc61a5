"""What others can see of an engine's thread: whether it lives, and how long it has been at the step under way."""

import time

from inference.engines.base import Health

# Steps that fail as a whole, one after the other, before the engine counts as broken.
FAILED_STEPS_ALLOWED = 3
# Requests at which native code panics, one after the other, before the engine counts as broken.
PANICS_ALLOWED = 3


def is_panic(error: BaseException) -> bool:
    """Whether it is what a panic of native code raises, such as that of the tokenizers library: no `Exception`."""
    return not isinstance(error, (Exception, KeyboardInterrupt, SystemExit, GeneratorExit))


class Pulse:
    """Written by the engine's thread, read by any other one."""

    def __init__(self) -> None:
        self._began: float | None = None
        self._failure: str | None = None

    def begin(self) -> None:
        """A step begins."""
        self._began = time.monotonic()

    def rest(self) -> None:
        """There is nothing to do."""
        self._began = None

    def fail(self, error: BaseException) -> None:
        """The thread ends for good."""
        self._began = None
        self._failure = f"{type(error).__name__}: {error}"

    @property
    def has_failed(self) -> bool:
        return self._failure is not None

    def health(self) -> Health:
        began = self._began  # the other thread may change it meanwhile
        return Health(failure=self._failure, step_seconds=0.0 if began is None else time.monotonic() - began)
