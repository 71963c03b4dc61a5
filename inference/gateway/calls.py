"""From a parsed request to a dispatched call: identify, prepare, admit, dispatch or relay."""

import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from billing.errors import StaleFacts
from inference.gateway import ending, visitors
from inference.gateway.call import Call
from inference.gateway.errors import CallError, ServiceUnavailable, VersionQuarantined
from inference.gateway.lookup import Route
from inference.gateway.prompting import TokenizerMissing
from inference.gateway.remote.asking import RemoteWork
from inference.gateway.watch import RUN_SECONDS
from inference.protocol import HOLD_LEASE_SECONDS
from portal.kit.errors import PortalError
from portal.kit.figures import size_text

if TYPE_CHECKING:
    from inference.gateway.process import GatewayProcess

# Facts may change again while they are loaded; a third time in a row is somebody's mistake.
ATTEMPTS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """What a worker is to do, and the most it can come to, by meter."""

    kind: Literal["generate", "batch"]
    body: dict[str, Any]
    worst: Mapping[str, int]


Prepare = Callable[[Route], Awaitable[Work | RemoteWork]]


async def begin(
    process: "GatewayProcess", authorization: str | None, model: str, *, prepare: Prepare, endpoint: str,
    streamed: bool = False,
) -> Call:  # fmt: skip
    """A call that is admitted and on its way.

    `prepare` makes the work for the version that the name reaches now; it runs again if that has changed
    meanwhile. Raises whatever refuses the call; a refusal has consumed nothing.
    """
    outdated: PortalError = StaleFacts(reason="they change all the time")
    is_counted = False
    for _ in range(ATTEMPTS):
        caller = await process.identifier.caller(authorization)
        try:
            route = await process.identifier.route(caller, model)
            if caller.visitor is not None and not is_counted:
                await visitors.count(process.redis, caller.visitor)
                is_counted = True
            work = await prepare(route)
            if isinstance(work, RemoteWork):
                return await _relay(process, route, work, endpoint=endpoint)
            await _refuse_hopeless(process, route)
            call = await _admit(process, route, work, endpoint=endpoint, streamed=streamed)
        except (StaleFacts, TokenizerMissing) as error:
            process.identifier.forget(caller, model)
            outdated = error
            continue
        await _dispatch(process, call, work, whole=not streamed)
        return call
    raise outdated


async def _refuse_hopeless(process: "GatewayProcess", route: Route) -> None:
    """503 where the version is left alone, or no worker that lives could ever run it."""
    await process.roster.ready()
    if _hopeless(process, route) is None:
        return
    # A worker may have come since the last look.
    await process.roster.refresh()
    refusal = _hopeless(process, route)
    if refusal is not None:
        raise refusal


def _hopeless(process: "GatewayProcess", route: Route) -> ServiceUnavailable | None:
    found = process.roster.quarantine_of(route.version)
    if found is not None:
        return VersionQuarantined(model=route.model, why=found.reason, retry_after=found.until - time.time())
    if process.roster.serves(route.version):
        return None
    largest = process.roster.largest_bytes()
    if largest is None:
        reason = "No worker is alive at the moment. Please try again shortly."
        return ServiceUnavailable(reason=reason, retry_after=5)
    if largest < route.memory_bytes:
        reason = (
            f"The model `{route.model}` needs {size_text(route.memory_bytes)} on one device; the largest "
            f"worker has {size_text(largest)}."
        )
        return ServiceUnavailable(reason=reason, retry_after=60)
    return None


async def _admit(
    process: "GatewayProcess", route: Route, work: Work | RemoteWork, *, endpoint: str, streamed: bool
) -> Call:
    request_id, facts = process.begin_call(route.facts)
    worst = dict(work.worst)
    if any(component.meter == "compute_ms" for component in facts.components):
        worst["compute_ms"] = int(RUN_SECONDS * 1000)
    admitted = await process.admission.admit(
        facts, request_id=request_id, worst=worst, endpoint=endpoint, streamed=streamed,
        hold_seconds=HOLD_LEASE_SECONDS,
    )  # fmt: skip
    return Call(
        id=request_id, version=route.version, facts=facts, admitted=admitted, caller=route.caller,
        endpoint=endpoint, streamed=streamed,
    )  # fmt: skip


async def _relay(process: "GatewayProcess", route: Route, work: RemoteWork, *, endpoint: str) -> Call:
    """A slot first, then the hold: who is turned away by a busy server has consumed nothing."""
    upstream = process.upstreams.enter(route)
    try:
        call = await _admit(process, route, work, endpoint=endpoint, streamed=work.streamed)
    except BaseException:
        upstream.leave(route.facts.organisation_id.hex)
        raise
    process.upstreams.start(call, work, upstream)
    return call


async def _dispatch(process: "GatewayProcess", call: Call, work: Work, *, whole: bool) -> None:
    process.relay.calls[call.hex] = call
    try:
        await process.dispatcher.send(call, kind=work.kind, body=work.body, whole=whole)
    except CallError as failure:
        # A full queue leaves nothing behind: no worker is to be told of each call that it turns away.
        failure.request_id = call.public_id
        await ending.turn_away(process, call)
        raise
    except BaseException:
        # Whatever went wrong, a hold must not outlive the call that it was for.
        ending.refuse(process, call)
        raise
