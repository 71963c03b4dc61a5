"""Where a consumer starts: what is next, what runs, what it costs."""

from django.conf import settings
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from billing import invoicing
from billing import usage as metered
from portal.accounts.models import ApiKey
from portal.dashboard import reports
from portal.dashboard.acting import actor
from portal.kit import clock


@login_required
@require_safe
def overview(request: HttpRequest) -> HttpResponse:
    organisation = actor(request).organisation
    span = reports.chosen_range(request.GET, default="month")
    live = organisation.subscriptions.filter(ended_at=None, own_use=False).select_related(
        "listing__organisation", "plan_version__plan"
    )
    report = reports.usage_report(organisation, span, by="model")
    context = {
        "span": span,
        "subscriptions": live.order_by("-started_at")[:6],
        "has_key": ApiKey.objects.filter(organisation=organisation, revoked_at=None).exists(),
        "totals": report.totals,
        "draft": invoicing.draft(organisation, clock.now()),
        "charts": report.charts,
        "latest": metered.request_log(organisation, limit=6).rows,
        "base_url": f"{settings.PUBLIC_URL}/v1",
    }
    return render(request, "console/overview.html", context)
