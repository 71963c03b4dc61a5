"""What a provider earned."""

from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse, QueryDict
from django.shortcuts import render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_safe

from billing.earnings import Summary
from portal.dashboard import reports
from portal.dashboard.acting import actor
from portal.kit.exports import csv_rows
from portal.kit.sheets import Sheet
from portal.kit.tables import Column


@login_required
@require_safe
def earnings(request: HttpRequest) -> HttpResponse:
    """Usage, fees, commission and net by listing; what the marketplace owes."""
    organisation = actor(request).organisation
    span = reports.chosen_range(request.GET, default="month")
    summary = reports.earnings_summary(organisation, span)
    listings = _sheet(summary, request.GET)
    if request.GET.get("format") == "csv":
        head = ["listing", "requests", "usage", "fees", "gross", "commission", "net"]
        return csv_rows(head, listings.cells(), name="earnings")
    context = {
        "span": span,
        "ranges": reports.RANGES,
        "summary": summary,
        "listings": listings,
        "charts": reports.earnings_charts(summary, span),
    }
    return render(request, "studio/earnings.html", context)


def _sheet(summary: Summary, asked: QueryDict) -> Sheet:
    columns = [
        Column("listing", _("Listing"), sort="listing", template="studio/cells/earning_listing.html"),
        Column("earned.requests", _("Calls"), kind="number", sort="calls"),
        Column("earned.usage", _("Usage"), kind="money", sort="usage"),
        Column("earned.fees", _("Monthly fees"), kind="money", sort="fees"),
        Column("earned.gross", _("Gross"), kind="money", sort="gross"),
        Column("earned.commission", _("Commission"), kind="money", sort="commission"),
        Column("earned.net", _("Earned"), kind="money", sort="earned"),
    ]
    return Sheet(
        summary.listings, columns, query=asked, order="-gross", identity="listing_id", search="listing"
    )
