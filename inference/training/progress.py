"""How a training run tells where it stands, and how it is stopped."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """A moment of a run. `step` counts from 1; `total` is planned, and a time cap may end the run before it.

    `loss` is the mean training loss since the last report (nats), None while there is none; `metrics` holds
    what was measured on held-out data, empty between measurements.
    """

    stage: str
    step: int
    total: int
    loss: float | None = None
    metrics: Mapping[str, float] = field(default_factory=dict)


Report = Callable[[Progress], None]
Cancelled = Callable[[], bool]


class TrainingCancelled(Exception):
    """The caller asked to stop; nothing was written."""


def check_cancelled(cancelled: Cancelled) -> None:
    """Raises `TrainingCancelled` if `cancelled` says so."""
    if cancelled():
        raise TrainingCancelled
