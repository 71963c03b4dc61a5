"""What a provider earned."""

from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_GET

from portal.dashboard import reports
from portal.dashboard.acting import actor
from portal.kit.exports import csv_rows


@login_required
@require_GET
def earnings(request: HttpRequest) -> HttpResponse:
    """Usage, fees, commission and net by listing; what the marketplace owes."""
    organisation = actor(request).organisation
    span = reports.chosen_range(request.GET, default="month")
    summary = reports.earnings_summary(organisation, span)
    if request.GET.get("format") == "csv":
        parts = ((part.listing, part.earned) for part in summary.listings)
        head = ["listing", "requests", "usage", "fees", "gross", "commission", "net"]
        rows = (
            [listing, each.requests, each.usage, each.fees, each.gross, each.commission, each.net]
            for listing, each in parts
        )
        return csv_rows(head, rows, name="earnings")
    context = {
        "span": span,
        "ranges": reports.RANGES,
        "summary": summary,
        "charts": reports.earnings_charts(organisation, span),
    }
    return render(request, "studio/earnings.html", context)
