"""Operators' view of workers: the record from Postgres beside what they say of themselves right now."""

from typing import ClassVar
from uuid import UUID

import redis
from django.contrib import admin
from django.db.models import Model
from django.http import HttpRequest
from django.utils.timesince import timesince
from unfold.admin import ModelAdmin, TabularInline

from inference.models import Replica, Worker
from inference.protocol import WorkerState, read_worker_state, worker_key
from portal.kit.redis import client


class Untouchable:
    """Nothing to add, change or delete: workers write this themselves."""

    def has_add_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False


class ReplicaInline(Untouchable, TabularInline):  # type: ignore[misc]
    model = Replica
    extra = 0
    fields: ClassVar = [
        "version",
        "state",
        "memory_bytes",
        "load_seconds",
        "last_used_at",
        "unloaded_at",
        "error",
    ]


@admin.register(Worker)
class WorkerAdmin(Untouchable, ModelAdmin):  # type: ignore[misc]
    list_display: ClassVar = [
        "name",
        "live_state",
        "device",
        "memory",
        "busy",
        "serves",
        "seen",
        "stop_reason",
    ]
    list_filter: ClassVar = ["device", "host"]
    inlines: ClassVar = [ReplicaInline]
    readonly_fields: ClassVar = ["live_state", "memory", "busy", "serves"]

    @admin.display(description="worker")
    def name(self, worker: Worker) -> str:
        return f"{worker.host}:{worker.pid}"

    @admin.display(description="now")
    def live_state(self, worker: Worker) -> str:
        state = _read(worker)
        if state is None:
            return "stopped" if worker.stopped_at else "silent"
        return "stopping" if state.stopping else "serving"

    @admin.display(description="memory in use")
    def memory(self, worker: Worker) -> str:
        state = _read(worker)
        used = state.memory_bytes - state.free_bytes if state else 0
        return f"{used / 2**20:,.0f} of {worker.memory_bytes / 2**20:,.0f} MiB"

    @admin.display(description="calls")
    def busy(self, worker: Worker) -> str:
        state = _read(worker)
        return str(sum(replica.busy for replica in state.replicas)) if state else "-"

    @admin.display(description="versions")
    def serves(self, worker: Worker) -> str:
        state = _read(worker)
        return (
            ", ".join(f"{replica.state} ({replica.busy}/{replica.slots})" for replica in state.replicas)
            if state
            else "-"
        )

    @admin.display(description="last seen")
    def seen(self, worker: Worker) -> str:
        return f"{timesince(worker.last_seen_at)} ago"


@admin.register(Replica)
class ReplicaAdmin(Untouchable, ModelAdmin):  # type: ignore[misc]
    list_display: ClassVar = [
        "version",
        "worker",
        "state",
        "load_seconds",
        "created_at",
        "last_used_at",
        "unloaded_at",
        "error",
    ]
    list_filter: ClassVar = ["state"]
    list_select_related: ClassVar = ["worker", "version__listing__organisation"]


def _read(worker: Worker) -> WorkerState | None:
    """What the worker's lease says; None if it has lapsed or Redis is away."""
    try:
        lease = client().get(worker_key(UUID(str(worker.pk)).hex))
    except redis.RedisError:
        return None
    return read_worker_state(lease) if isinstance(lease, bytes) else None
