"""A provider's own server as a version: added after a trial, and its key replaced."""

from typing import Any
from uuid import UUID

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from marketplace import endpoints, examinations
from portal.dashboard import finding
from portal.dashboard.acting import actor
from portal.dashboard.forms import attempt
from portal.dashboard.remote_form import EndpointForm
from portal.kit.errors import NotFound


@login_required
@require_http_methods(["GET", "HEAD", "POST"])
def new(request: HttpRequest, slug: str) -> HttpResponse:
    """The form; its second button only tries what was typed, and shows what came back."""
    acting = actor(request, "publish")
    listing = finding.owned(slug, by=acting.organisation)
    form = EndpointForm(request.POST or None, task=listing.task)
    context: dict[str, Any] = {
        "form": form,
        "listing": listing,
        "can_be_remote": listing.task in endpoints.TASKS,
    }
    if request.method == "POST" and "try" in request.POST:
        if form.is_valid():
            context["trial"] = attempt(
                form, lambda: endpoints.begin_trial(listing, by=acting.user, wanted=form.wanted())
            )
        template = "studio/tried.html" if request.headers.get("HX-Request") else "studio/remote.html"
        return render(request, template, context)
    if request.method == "POST" and form.is_valid():
        notes = form.cleaned_data["notes"]
        made = attempt(
            form, lambda: endpoints.add_version(listing, by=acting.user, wanted=form.wanted(), notes=notes)
        )
        if made:
            return redirect("studio_version", slug, made.number)
    return render(request, "studio/remote.html", context)


@login_required
@require_safe
def trial(request: HttpRequest, slug: str, trial_id: UUID) -> HttpResponse:
    """What came back of one tiny call; asked again and again until it is made."""
    listing = finding.owned(slug, by=actor(request, "publish").organisation)
    found = listing.endpoint_trials.filter(pk=trial_id).first()
    if found is None:
        raise NotFound(what="trial")
    context = {"listing": listing, "trial": found, "progress": examinations.progress_of(found)}
    template = "studio/tried.html" if request.headers.get("HX-Request") else "studio/trial.html"
    return render(request, template, context)


@login_required
@require_POST
def replace_key(request: HttpRequest, slug: str, number: int) -> HttpResponse:
    acting = actor(request, "publish")
    listing = finding.owned(slug, by=acting.organisation)
    version = listing.versions.filter(number=number).first()
    if version is None:
        raise NotFound(what="version")
    endpoints.replace_key(version, by=acting.user, api_key=request.POST.get("api_key", ""))
    messages.success(request, _("The next call is made with the new key."))
    return redirect("studio_version", slug, number)
