"""Operators' view of workers: the record from Postgres beside what they say of themselves right now."""

from collections.abc import Collection
from typing import Any, ClassVar

import redis
from django.contrib import admin
from django.http import HttpRequest
from django.utils.timesince import timesince
from unfold.admin import ModelAdmin, TabularInline
from unfold.views import ChangeList

from inference import roll_call
from inference.models import Replica, Worker
from inference.protocol import WorkerState
from marketplace.models import Version
from portal.kit.admin import ReadOnly
from portal.kit.redis import client


class ReplicaInline(ReadOnly, TabularInline):  # type: ignore[misc]
    model = Replica
    fields: ClassVar = [
        "version",
        "state",
        "memory_bytes",
        "load_seconds",
        "last_used_at",
        "unloaded_at",
        "error",
    ]


class WorkerList(ChangeList):  # type: ignore[misc]
    """A page of workers with what they say of themselves: one look at Redis for all of them."""

    def get_results(self, request: HttpRequest) -> None:
        super().get_results(request)
        self.result_list: list[Worker] = list(self.result_list)
        _attach(self.result_list)


@admin.register(Worker)
class WorkerAdmin(ReadOnly, ModelAdmin):  # type: ignore[misc]
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

    def get_changelist(self, request: HttpRequest, **options: Any) -> type[ChangeList]:
        return WorkerList

    def get_object(
        self, request: HttpRequest, object_id: str, from_field: str | None = None
    ) -> Worker | None:
        worker: Worker | None = super().get_object(request, object_id, from_field)
        if worker is not None:
            _attach([worker])
        return worker

    @admin.display(description="worker")
    def name(self, worker: Worker) -> str:
        return f"{worker.host}:{worker.pid}"

    @admin.display(description="now")
    def live_state(self, worker: Worker) -> str:
        state = _state(worker)
        if state is None:
            return "stopped" if worker.stopped_at else "silent"
        return "stopping" if state.stopping else "serving"

    @admin.display(description="memory in use")
    def memory(self, worker: Worker) -> str:
        state = _state(worker)
        used = state.memory_bytes - state.free_bytes if state else 0
        return f"{used / 2**20:,.0f} of {worker.memory_bytes / 2**20:,.0f} MiB"

    @admin.display(description="calls")
    def busy(self, worker: Worker) -> str:
        state = _state(worker)
        return str(sum(replica.busy for replica in state.replicas)) if state else "-"

    @admin.display(description="versions")
    def serves(self, worker: Worker) -> str:
        state = _state(worker)
        names: dict[str, str] = getattr(worker, "version_names", {})
        replicas = state.replicas if state else ()
        return (
            ", ".join(
                f"{names.get(each.version, each.version)}: {each.state} ({each.busy}/{each.slots})"
                for each in replicas
            )
            or "-"
        )

    @admin.display(description="last seen")
    def seen(self, worker: Worker) -> str:
        return f"{timesince(worker.last_seen_at)} ago"


@admin.register(Replica)
class ReplicaAdmin(ReadOnly, ModelAdmin):  # type: ignore[misc]
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


def _attach(workers: Collection[Worker]) -> None:
    """Give each worker its live state and the names (`owner/slug vN`) of what it holds."""
    try:
        states = {state.id: state for state in roll_call.present(client())}
    except redis.RedisError:
        states = {}
    resident = {replica.version for state in states.values() for replica in state.replicas}
    found = Version.objects.filter(pk__in=resident).select_related("listing__organisation")
    names = {version.pk.hex: f"{version.listing.path} v{version.number}" for version in found}
    for worker in workers:
        vars(worker).update(live=states.get(worker.pk.hex), version_names=names)


def _state(worker: Worker) -> WorkerState | None:
    """What the worker's lease says; None if it has lapsed or Redis is away."""
    return getattr(worker, "live", None)
