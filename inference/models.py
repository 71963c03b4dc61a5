"""Workers and what they hosted: the record behind the live state that workers keep in Redis."""

from typing import ClassVar

from django.db import models
from django.db.models import Q

from portal.kit import clock


class Worker(models.Model):
    """A worker process on one device. Its id is its own, minted at start; stopped once, never restarted."""

    id = models.UUIDField(primary_key=True, editable=False)
    host = models.CharField(max_length=255)
    pid = models.PositiveIntegerField()
    device = models.CharField(max_length=64)
    memory_bytes = models.BigIntegerField(help_text="What its replicas together may use on the device.")
    started_at = models.DateTimeField(default=clock.now)
    last_seen_at = models.DateTimeField(default=clock.now)
    stopped_at = models.DateTimeField(null=True, blank=True)
    stop_reason = models.CharField(max_length=120, blank=True)

    class Meta:
        ordering: ClassVar[list[str]] = ["-started_at"]

    def __str__(self) -> str:
        return f"{self.host}:{self.pid} ({self.device})"


class Replica(models.Model):
    """One version's stay on one worker, from the start of loading to its unloading or failure."""

    class State(models.TextChoices):
        LOADING = "loading"
        READY = "ready"
        DRAINING = "draining"
        UNLOADED = "unloaded"
        FAILED = "failed"

    GONE: ClassVar[tuple[str, ...]] = (State.UNLOADED, State.FAILED)

    id = models.UUIDField(primary_key=True, editable=False)
    worker = models.ForeignKey(Worker, on_delete=models.CASCADE, related_name="replicas")
    version = models.ForeignKey("marketplace.Version", on_delete=models.CASCADE, related_name="replicas")
    state = models.CharField(max_length=16, choices=State.choices)
    memory_bytes = models.BigIntegerField()
    created_at = models.DateTimeField(default=clock.now, editable=False)
    loaded_at = models.DateTimeField(null=True, blank=True)
    load_seconds = models.FloatField(null=True, blank=True)
    last_used_at = models.DateTimeField(null=True, blank=True)
    unloaded_at = models.DateTimeField(null=True, blank=True)
    error = models.TextField(blank=True)

    class Meta:
        ordering: ClassVar[list[str]] = ["-created_at"]
        constraints = [
            models.UniqueConstraint(
                fields=["worker", "version"],
                condition=Q(state__in=["loading", "ready", "draining"]),
                name="one_replica_per_worker",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.version} on {self.worker}: {self.state}"
