"""What was used, call by call and in sums, and what it will cost."""

from collections.abc import Iterable
from operator import itemgetter
from uuid import UUID

from django.contrib.auth.decorators import login_required
from django.db.models import Q
from django.http import HttpRequest, HttpResponse, QueryDict
from django.shortcuts import render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_safe

from billing import invoicing
from billing import usage as metered
from billing.invoicing import DraftSection
from billing.models import Outcome
from billing.usage import Point
from portal.accounts.models import ApiKey, Organisation
from portal.dashboard import log_cells, reports
from portal.dashboard.acting import actor
from portal.dashboard.reports import By
from portal.dashboard.vocabulary import translated
from portal.kit import clock, ids
from portal.kit.exports import csv_of, csv_rows
from portal.kit.sheets import Sheet
from portal.kit.tables import Choice, Column, Table

NO_REQUEST = UUID(int=0)
# Of models and of keys, the latest, among which the log can be narrowed to one.
_MOST_OFFERED = 100


@login_required
@require_safe
def usage(request: HttpRequest) -> HttpResponse:
    """Totals, charts and a row per model or key; the page polls itself."""
    organisation = actor(request).organisation
    span = reports.chosen_range(request.GET)
    by: By = "key" if request.GET.get("by") == "key" else "model"
    report = reports.usage_report(organisation, span, by=by)
    groups = _group_sheet(report.groups, request.GET, by=by)
    if request.GET.get("format") == "csv":
        head = ["group", "requests", "failed", "input_tokens", "output_tokens", "charge"]
        return csv_rows(head, groups.cells(), name=f"usage-by-{by}")
    context = {
        "span": span,
        "ranges": reports.RANGES,
        "by": by,
        "groups": groups,
        "totals": report.totals,
        "charts": report.charts,
    }
    return render(request, "console/usage.html", context)


@login_required
@require_safe
def requests(request: HttpRequest) -> HttpResponse:
    """The log: every admitted call with its tokens, times and cost."""
    organisation = actor(request).organisation
    columns = [
        Column("finished_at", _("Time"), kind="time", sort="id"),
        Column("public_id", _("Request"), draw=log_cells.request_id),
        Column("listing.path", _("Model"), draw=log_cells.model),
        Column("api_key.name", _("Key"), draw=log_cells.key, export=log_cells.key_name),
        Column("outcome", _("Outcome"), draw=log_cells.outcome, export=log_cells.outcome_name),
        Column("input_tokens", _("In"), kind="number"),
        Column("output_tokens", _("Out"), kind="number"),
        Column("ttft_ms", _("First token"), kind="duration"),
        Column("latency_ms", _("Whole"), kind="duration"),
        Column("charge", _("Cost"), kind="number", draw=log_cells.cost, export=log_cells.charge),
    ]
    is_csv = request.GET.get("format") == "csv"
    if is_csv:
        columns.insert(5, Column("why", _("Reason")))
    table = Table(
        metered.requests(organisation), columns, query=request.GET, order="-id", search=_by_request_id,
        choices=_log_choices(organisation), size=50, near=metered.near,
    )  # fmt: skip
    if is_csv:
        return csv_of(table, name="requests")
    return render(request, "console/requests.html", {"table": table})


@login_required
@require_safe
def invoice(request: HttpRequest) -> HttpResponse:
    """What the running periods would cost if they ended now."""
    draft = invoicing.draft(actor(request).organisation, clock.now())
    sections = [(section, _line_sheet(section, request.GET)) for section in draft.sections]
    if request.GET.get("format") == "csv":
        head = [
            "listing",
            "plan",
            "from",
            "until",
            "line",
            "quantity",
            "included",
            "unit_price",
            "per",
            "amount",
        ]
        rows = (
            [s.listing, s.plan, s.starts, s.ends, line.label, line.quantity, line.included, line.unit_price, line.per,
             line.amount]
            for s, sheet in sections for line in sheet.page
        )  # fmt: skip
        return csv_rows(head, rows, name="draft-invoice")
    return render(request, "console/invoice.html", {"draft": draft, "sections": sections})


def _group_sheet(groups: Iterable[Point], asked: QueryDict, *, by: By) -> Sheet:
    columns = [
        Column("group", _("Key") if by == "key" else _("Model"), sort="group", template="console/cells/group.html"),
        Column("totals.requests", _("Requests"), kind="number", sort="requests"),
        Column("totals.failed", _("Failed"), kind="number", sort="failed"),
        Column("totals.input_tokens", _("Input tokens"), kind="number", sort="input"),
        Column("totals.output_tokens", _("Output tokens"), kind="number", sort="output"),
        Column("totals.charge", _("Spend"), kind="money", sort="spend"),
    ]  # fmt: skip
    return Sheet(groups, columns, query=asked, order="-spend", identity="group_id", search="group")


def _line_sheet(section: DraftSection, asked: QueryDict) -> Sheet:
    """A section has a line for the fee and each meter, so all are on its one page."""
    columns = [
        Column("label", _("Line"), sort="line", template="console/cells/invoice_line.html"),
        Column("quantity", _("Quantity"), kind="number", sort="quantity"),
        Column(
            "included", _("Included"), kind="number", sort="included", template="console/cells/included.html"
        ),
        Column(
            "rate", _("Unit price"), kind="number", sort="price", template="console/cells/line_price.html"
        ),
        Column("amount", _("Amount"), kind="money", sort="amount"),
    ]
    return Sheet(section.lines, columns, query=asked)


def _by_request_id(text: str) -> Q:
    """Only a whole id finds a call: a part of one would have to look at every call there ever was."""
    try:
        return Q(pk=ids.parse("req", text))
    except ValueError:
        return Q(pk=NO_REQUEST)


def _log_choices(organisation: Organisation) -> list[Choice]:
    subscribed = organisation.subscriptions.order_by("-started_at")
    named = subscribed.values_list("listing_id", "listing__organisation__slug", "listing__slug")
    listings = {str(listing_id): f"{owner}/{slug}" for listing_id, owner, slug in named[:_MOST_OFFERED]}
    keys = ApiKey.objects.filter(organisation=organisation).order_by("-created_at").values_list("pk", "name")
    return [
        Choice("model", _("Model"), "listing_id", sorted(listings.items(), key=itemgetter(1))),
        Choice("key", _("Key"), "api_key_id", [(str(pk), name) for pk, name in keys[:_MOST_OFFERED]]),
        Choice("outcome", _("Outcome"), "outcome", translated(Outcome.choices)),
    ]
