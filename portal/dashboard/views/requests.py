"""One call, by its id: what it was, how it ended and why, what it used and cost."""

from dataclasses import dataclass

from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from billing import usage as metered
from billing.events import METERS
from billing.models import HeldEarning, UsageEvent
from billing.reversals import reversal_of
from marketplace.models import Meter, PriceComponent
from portal.dashboard import log_cells
from portal.dashboard.acting import actor
from portal.dashboard.reasons import TOLD
from portal.kit import ids
from portal.kit.errors import NotFound


@dataclass(frozen=True, slots=True)
class Counted:
    """A meter of the call: units counted, the price that its plan has for them, and their charge."""

    meter: str
    units: int
    price: PriceComponent | None
    charge: int


@login_required
@require_safe
def page(request: HttpRequest, request_id: str) -> HttpResponse:
    """A call of any organisation of the reader's, so that its address can be passed on inside one. Raises `NotFound`."""
    acting = actor(request)
    try:
        wanted = ids.parse("req", request_id)
    except ValueError as error:
        raise NotFound(what="request") from error
    mine = acting.user.memberships.values_list("organisation_id", flat=True)
    call = metered.find(wanted, of=mine)
    if call is None:
        raise NotFound(what="request")
    context = {
        "call": call,
        "begun_at": ids.born(wanted),
        "path": f"/v1/{call.endpoint}",
        "told": TOLD[call.why] if call.why else None,
        "counted": _counted(call),
        "report": log_cells.server_report(call.report) if call.report else None,
        "decision": HeldEarning.objects.filter(pk=wanted).exclude(state="held").first()
        if call.report
        else None,
        "reversal": UsageEvent.objects.filter(pk=reversal_of(wanted)).first(),
        "is_elsewhere": call.organisation_id != acting.organisation.pk,
    }
    return render(request, "console/request.html", context)


def _counted(call: UsageEvent) -> list[Counted]:
    prices = {each.meter: each for each in call.plan_version.components.all()}
    meters = [Meter(meter) for meter in METERS if getattr(call, meter) or meter in call.rated]
    return [Counted(meter, getattr(call, meter), prices.get(meter), _charge(call, meter)) for meter in meters]


def _charge(call: UsageEvent, meter: str) -> int:
    _position, _units, charge = call.rated.get(meter, (0, 0, 0))
    return int(charge)
