"""A provider's listings: described, uploaded, published, withdrawn."""

import json
from collections.abc import Iterable
from typing import Any

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.db.models import Count, Q
from django.http import HttpRequest, HttpResponse
from django.http.request import RawPostDataException
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_http_methods, require_POST

from inference import availability
from marketplace import examinations, publishing, subscribing
from marketplace.models import Listing, Task, Version
from marketplace.validation.report import Finding
from portal.dashboard import finding, modes, playground, serving, wording
from portal.dashboard.acting import Actor, actor
from portal.dashboard.forms import ListingForm, NewListingForm, attempt
from portal.dashboard.vocabulary import translated
from portal.kit.errors import Invalid, NotFound
from portal.kit.exports import csv_of
from portal.kit.tables import Choice, Column, Table, containing

MOST_FINDINGS = 100


@login_required
def listings(request: HttpRequest) -> HttpResponse:
    acting = actor(request)
    columns = [
        Column("name", _("Listing"), sort="name", template="studio/cells/listing.html"),
        Column("task", _("Task"), sort="task", template="studio/cells/task.html", export="words"),
        Column("current_version.number", _("Version"), template="studio/cells/version.html"),
        Column("subscriber_count", _("Subscribers"), kind="number", sort="subscriber_count"),
        Column("created_at", _("Made"), kind="time", sort="created_at"),
        Column("is_live", _("State"), template="studio/cells/state.html", export="words"),
    ]
    live = Count("subscriptions", filter=Q(subscriptions__ended_at=None, subscriptions__own_use=False))
    rows = Listing.objects.filter(organisation=acting.organisation).annotate(subscriber_count=live)
    table = Table(
        rows.select_related("organisation", "current_version"), columns, query=request.GET,
        search=containing("name", "slug", "summary"), choices=[Choice("task", _("Task"), "task", translated(Task.choices))],
    )  # fmt: skip
    if request.GET.get("format") == "csv":
        return csv_of(table, name="listings", prepare=_add_standings)
    _add_standings(table.page)
    return render(request, "studio/listings.html", {"table": table, "may_publish": acting.may("publish")})


@login_required
@require_http_methods(["GET", "HEAD", "POST"])
def new(request: HttpRequest) -> HttpResponse:
    acting = actor(request, "publish")
    form = NewListingForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        fields = form.cleaned_data
        made = attempt(form, lambda: publishing.create_listing(acting.organisation, by=acting.user, **fields))
        if made:
            return redirect("studio_listing", made.slug)
    return render(request, "studio/new.html", {"form": form, "organisation": acting.organisation})


@login_required
def listing(request: HttpRequest, slug: str) -> HttpResponse:
    """Where a listing stands on its way to the catalogue; polled while a version is being checked."""
    acting, found = _mine(request, slug, may="view")
    _add_standings([found])
    versions = found.versions.select_related("created_by").order_by("-number")
    shown = list(versions[:50])
    quarantines = availability.quarantines(each.pk for each in shown)
    for each in shown:
        vars(each).update(quarantine=quarantines.get(each.pk))
    context = _steps(acting, found) | {
        "versions": shown,
        "plans": _plans(found),
        "is_checking": versions.filter(state=Version.State.CHECKING).exists(),
        "subscriber_count": found.subscriptions.filter(ended_at=None, own_use=False).count(),
    }
    return render(request, "studio/listing.html", context)


@login_required
@require_http_methods(["GET", "HEAD", "POST"])
def edit(request: HttpRequest, slug: str) -> HttpResponse:
    acting, found = _mine(request, slug)
    form = ListingForm(request.POST or None, initial=_described(found))
    if request.method == "POST" and form.is_valid():
        saved = attempt(form, lambda: publishing.edit_listing(found, by=acting.user, **form.described()))
        if saved:
            messages.success(request, _("The page is up to date."))
            return redirect("studio_listing", slug)
    return render(request, "studio/edit.html", {"form": form, "listing": found})


@login_required
def upload(request: HttpRequest, slug: str) -> HttpResponse:
    """The page; the bytes go through the REST upload API."""
    _acting, found = _mine(request, slug)
    words = {
        "hashing": _("Computing digests"),
        "sending": _("Uploading"),
        "checking": _("Checking the files"),
        "paused": _("Paused; going on sends nothing twice"),
        "unreachable": _("The connection broke. Nothing is lost: upload again to go on where it stopped."),
    }
    return render(request, "studio/upload.html", {"listing": found, "upload_words": words})


@login_required
@require_POST
def upload_refusal(request: HttpRequest, slug: str) -> HttpResponse:
    """What the API answered an upload, as the page shows it: the API itself speaks English."""
    _acting, found = _mine(request, slug)
    try:
        told = json.loads(request.body)
        findings = (told.get("findings") or [])[:MOST_FINDINGS]
        context = {
            "message": wording.retell(told),
            "findings": [Finding(**each).to_json() for each in findings],
        }
    except (ValueError, TypeError, AttributeError, KeyError, RecursionError, RawPostDataException) as error:
        raise Invalid(reason="The request cannot be carried out.") from error
    return render(request, "studio/refusal.html", context | {"listing": found})


@login_required
def version(request: HttpRequest, slug: str, number: int) -> HttpResponse:
    """What validation and the trial run found."""
    acting, found = _mine(request, slug, may="view")
    chosen = _version(found, number)
    context = {"listing": found, "version": chosen, "may_publish": acting.may("publish")}
    context["quarantine"] = availability.quarantines([chosen.pk]).get(chosen.pk)
    if chosen.state == Version.State.CHECKING:
        context["progress"] = examinations.progress_of(chosen)
    if chosen.is_remote:
        context["health"] = availability.healths([chosen.pk]).get(chosen.pk)
        context["standing"] = serving.standings([chosen])[chosen.pk]
    payer = playground.payer(found, acting.organisation, acting.user.pk)
    if payer and chosen.state == Version.State.READY:
        mode = modes.chosen(found, request.GET.get("mode", ""), chosen)
        context |= {
            "modes": modes.of(found, chosen),
            "mode": mode,
            "own_use": playground.own_use_limits(payer),
            "playground": playground.config(found, payer, acting.user.pk, mode=mode, version=chosen),
            "playground_template": f"marketplace/playground/{mode}.html",
        }
    return render(request, "studio/version.html", context)


@login_required
@require_POST
def make_current(request: HttpRequest, slug: str, number: int) -> HttpResponse:
    acting, found = _mine(request, slug)
    publishing.make_current(_version(found, number), by=acting.user)
    messages.success(
        request, _("Calls of %(path)s reach version %(number)s now.") % {"path": found.path, "number": number}
    )
    return redirect("studio_listing", slug)


@login_required
@require_POST
def publish(request: HttpRequest, slug: str) -> HttpResponse:
    acting, found = _mine(request, slug)
    publishing.publish(found, by=acting.user)
    messages.success(request, _("%(path)s is in the catalogue.") % {"path": found.path})
    return redirect("studio_listing", slug)


@login_required
@require_POST
def withdraw(request: HttpRequest, slug: str) -> HttpResponse:
    acting, found = _mine(request, slug)
    publishing.withdraw(found, by=acting.user, reason=request.POST.get("reason", ""))
    messages.success(
        request, _("%(path)s is withdrawn: calls are refused from now on.") % {"path": found.path}
    )
    return redirect("studio_listing", slug)


@login_required
@require_POST
def visitors(request: HttpRequest, slug: str) -> HttpResponse:
    """Let people try it without an account, or no longer."""
    acting, found = _mine(request, slug)
    change = subscribing.admit_visitors if request.POST.get("admit") else subscribing.dismiss_visitors
    change(found, by=acting.user)
    return redirect("studio_listing", slug)


def _mine(request: HttpRequest, slug: str, *, may: Any = "publish") -> tuple[Actor, Listing]:
    acting = actor(request, may)
    return acting, finding.owned(slug, by=acting.organisation)


def _add_standings(listings: Iterable[Listing]) -> None:
    """How each current version stands, for the cell that says whether it is published."""
    current = [each.current_version for each in listings if each.current_version]
    standings = serving.standings(current)
    for each in listings:
        vars(each).update(
            standing=standings.get(each.current_version_id) if each.current_version_id else None
        )


def _version(found: Listing, number: int) -> Version:
    chosen = found.versions.filter(number=number).prefetch_related("files").first()
    if chosen is None:
        raise NotFound(what="version")
    chosen.listing = found
    return chosen


def _plans(found: Listing) -> list[dict[str, Any]]:
    plans = found.plans.filter(archived_at=None).order_by("created_at")
    return [
        {"plan": plan, "version": plan.versions.prefetch_related("components").order_by("-number").first()}
        for plan in plans
    ]


def _steps(acting: Actor, found: Listing) -> dict[str, Any]:
    return {
        "listing": found,
        "has_version": found.current_version_id is not None,
        "has_plan": found.plans.filter(archived_at=None).exists(),
        "has_free_plan": found.plans.filter(archived_at=None, kind="free").exists(),
        "may_publish": acting.may("publish"),
    }


def _described(found: Listing) -> dict[str, Any]:
    return {
        "name": found.name, "summary": found.summary, "licence": found.licence, "card": found.card,
        "languages": ", ".join(found.languages), "tags": ", ".join(found.tags),
    }  # fmt: skip
