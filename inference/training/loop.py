"""The training loop: steps, schedule, clipping, validation, early stop, time cap, progress and cancel."""

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, TypeVar

import torch
from torch import nn

from inference.training.optimisers import Kind, build_optimisers, scale_rates, warm_then_cosine
from inference.training.progress import Cancelled, Progress, Report, check_cancelled

Batch = TypeVar("Batch")
Metrics = Mapping[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How long and how to learn.

    `seconds` caps the run; the schedule then follows whichever of steps and time is further on, so that a
    slow machine still ends with a low learning rate. `warmup` is a share of the run. `patience` is how many
    validations without a better loss end the run, None for never.
    """

    steps: int
    learning_rate: float
    seconds: float | None = None
    optimiser: Kind = "adamw"
    weight_decay: float = 0.01
    warmup: float = 0.05
    clip_norm: float = 1.0
    validate_every: int = 100
    report_every: int = 10
    patience: int | None = None
    bfloat16: bool = False


@dataclass(slots=True, kw_only=True)
class History:
    """What happened: training losses and validation metrics by step."""

    curve: list[dict[str, float]] = field(default_factory=list)
    validations: list[dict[str, float]] = field(default_factory=list)
    steps: int = 0
    seconds: float = 0.0

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def train(
    model: nn.Module,
    batches: Iterator[Batch],
    loss_of: Callable[[nn.Module, Batch], torch.Tensor],
    *,
    settings: Settings,
    validate: Callable[[], Metrics],
    progress: Report,
    cancelled: Cancelled,
) -> History:
    """Fit `model` in place; with patience, it ends with the weights of its best validation.

    `loss_of` gives the mean loss of a batch; `validate` gives metrics, among them "loss". Raises
    `TrainingCancelled` within a step of `cancelled` answering True.
    """
    run = _Run(model, settings=settings, validate=validate, progress=progress)
    while not run.is_over:
        check_cancelled(cancelled)
        run.step(loss_of, next(batches))
    return run.finish()


class _Run:
    """The moving parts of one call of `train`."""

    def __init__(
        self, model: nn.Module, *, settings: Settings, validate: Callable[[], Metrics], progress: Report
    ) -> None:
        self.model = model
        self.settings = settings
        self.validate = validate
        self.progress = progress
        self.history = History()
        self.optimisers = build_optimisers(
            model,
            kind=settings.optimiser,
            learning_rate=settings.learning_rate,
            weight_decay=settings.weight_decay,
        )
        self.started = time.monotonic()
        self.recent: list[torch.Tensor] = []
        self.best_loss = float("inf")
        self.best_weights: dict[str, torch.Tensor] | None = None
        self.worse = 0

    @property
    def fraction(self) -> float:
        by_steps = self.history.steps / self.settings.steps
        if self.settings.seconds is None:
            return by_steps
        return max(by_steps, (time.monotonic() - self.started) / self.settings.seconds)

    @property
    def is_over(self) -> bool:
        patience = self.settings.patience
        return self.fraction >= 1 or (patience is not None and self.worse > patience)

    def step(self, loss_of: Callable[[nn.Module, Batch], torch.Tensor], batch: Batch) -> None:
        """One update, with what is due after it."""
        self.model.train()
        factor = warm_then_cosine(self.fraction, warmup=self.settings.warmup)
        scale_rates(self.optimisers, factor)
        with self._precision():
            loss = loss_of(self.model, batch)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.model.parameters(), self.settings.clip_norm)
        for optimiser in self.optimisers:
            optimiser.step()
            optimiser.zero_grad(set_to_none=True)
        self.recent.append(loss.detach())
        self.history.steps += 1
        if self.history.steps % self.settings.report_every == 0:
            self._report(factor)
        if self.history.steps % self.settings.validate_every == 0:
            self._validate()

    def _precision(self) -> contextlib.AbstractContextManager[Any]:
        if self.settings.bfloat16:
            return torch.autocast("cpu", dtype=torch.bfloat16)
        return contextlib.nullcontext()

    def _report(self, factor: float) -> None:
        loss = float(torch.stack(self.recent).mean())
        self.recent.clear()
        self.history.curve.append(
            {
                "step": self.history.steps,
                "loss": round(loss, 5),
                "learning_rate": round(self.settings.learning_rate * factor, 8),
                "seconds": round(time.monotonic() - self.started, 2),
            }
        )
        self._tell(loss, {})

    def _tell(self, loss: float | None, metrics: Metrics) -> None:
        steps = self.history.steps
        total = max(steps, round(steps / max(self.fraction, 1e-6)))
        self.progress(Progress(stage="training", step=steps, total=total, loss=loss, metrics=metrics))

    def _validate(self) -> None:
        self.model.eval()
        with torch.inference_mode(), self._precision():
            metrics = dict(self.validate())
        self.history.validations.append({"step": self.history.steps, **metrics})
        self._tell(None, metrics)
        if metrics["loss"] < self.best_loss:
            self.best_loss, self.worse = metrics["loss"], 0
            if self.settings.patience is not None:
                self.best_weights = {name: value.clone() for name, value in self.model.state_dict().items()}
        else:
            self.worse += 1

    def finish(self) -> History:
        if not self.history.validations or self.history.validations[-1]["step"] != self.history.steps:
            self._validate()
        if self.best_weights is not None:
            self.model.load_state_dict(self.best_weights)
        self.model.eval()
        self.history.seconds = round(time.monotonic() - self.started, 2)
        return self.history


@contextlib.contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Make weights and dropout repeatable inside, and leave the process's random state as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield
