"""A listing's plans: made, revised, archived, with a preview of what a month would cost."""

from typing import Any

from django.conf import settings
from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_http_methods, require_POST

from marketplace import pricing
from marketplace.models import Listing, Plan
from portal.dashboard import finding
from portal.dashboard.acting import actor
from portal.dashboard.forms import attempt
from portal.dashboard.plan_form import PlanForm
from portal.kit.errors import NotFound
from portal.kit.money import exponent


@login_required
@require_http_methods(["GET", "HEAD", "POST"])
def new(request: HttpRequest, slug: str) -> HttpResponse:
    acting = actor(request, "publish")
    listing = finding.owned(slug, by=acting.organisation)
    form = PlanForm(request.POST or None, task=listing.task)
    if request.method == "POST" and form.is_valid():
        kind, name = form.cleaned_data["kind"], form.cleaned_data["name"]
        made = attempt(form, lambda: pricing.create_plan(
            listing, by=acting.user, kind=kind, name=name, slug=form.slug, **form.terms()
        ))  # fmt: skip
        if made:
            messages.success(request, _("The plan %(name)s is open.") % {"name": made.name})
            return redirect("studio_listing", slug)
    return render(request, "studio/plan.html", _context(form, listing))


@login_required
@require_http_methods(["GET", "HEAD", "POST"])
def revise(request: HttpRequest, slug: str, plan_slug: str) -> HttpResponse:
    acting = actor(request, "publish")
    listing = finding.owned(slug, by=acting.organisation)
    plan = _plan(listing, plan_slug)
    form = PlanForm(request.POST or None, task=listing.task, revises=pricing.latest_version(plan))
    if request.method == "POST" and form.is_valid():
        revised = attempt(form, lambda: pricing.revise_plan(plan, by=acting.user, **form.terms()))
        if revised:
            messages.success(
                request,
                _("New subscribers get version %(n)s; the others keep theirs.") % {"n": revised.number},
            )
            return redirect("studio_listing", slug)
    return render(request, "studio/plan.html", _context(form, listing) | {"plan": plan})


@login_required
@require_POST
def archive(request: HttpRequest, slug: str, plan_slug: str) -> HttpResponse:
    acting = actor(request, "publish")
    plan = _plan(finding.owned(slug, by=acting.organisation), plan_slug)
    pricing.archive_plan(plan, by=acting.user)
    messages.success(
        request, _("%(name)s takes no new subscribers; those there are stay.") % {"name": plan.name}
    )
    return redirect("studio_listing", slug)


def _plan(listing: Listing, slug: str) -> Plan:
    plan = listing.plans.filter(slug=slug).first()
    if plan is None:
        raise NotFound(what="plan")
    return plan


def _context(form: PlanForm, listing: Listing) -> dict[str, Any]:
    return {
        "form": form,
        "listing": listing,
        "currency": settings.CURRENCY,
        "exponent": exponent(settings.CURRENCY),
        "commission_percent": settings.COMMISSION_BASIS_POINTS / 100,
    }
