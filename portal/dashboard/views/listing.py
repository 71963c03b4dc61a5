"""The product page: try it, its card, plans, code, versions and measured performance."""

from typing import Any
from uuid import UUID

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from billing import measuring
from marketplace import cards
from marketplace.models import Listing, Meter, Plan, Version
from marketplace.pricing import METERS
from portal.dashboard import finding, modes, performance, playground, results, serving, snippets
from portal.dashboard.acting import current
from portal.kit import addresses
from portal.kit.money import exponent


@require_safe
def overview(request: HttpRequest, owner: str, slug: str) -> HttpResponse:
    """The playground and the card."""
    context = _shared(request, owner, slug, tab="overview")
    listing, payer = context["listing"], context["payer"]
    if payer and listing.current_version:
        mode = modes.chosen(listing, request.GET.get("mode", ""))
        context |= {
            "modes": modes.of(listing),
            "own_use": playground.own_use_limits(payer),
            "mode": mode,
            "playground": playground.config(
                listing, payer, _user_id(request), mode=mode, visitor=addresses.of(request)
            ),
            "playground_template": f"marketplace/playground/{mode}.html",
        }
    context["card"] = cards.shown(listing)
    return render(request, "marketplace/listing/overview.html", context)


@require_safe
def plans(request: HttpRequest, owner: str, slug: str) -> HttpResponse:
    """The plans side by side, with what a month of use would cost on each."""
    context = _shared(request, owner, slug, tab="plans")
    meters = METERS[context["listing"].task] & {
        Meter.REQUESTS,
        Meter.INPUT_TOKENS,
        Meter.OUTPUT_TOKENS,
        Meter.IMAGES,
    }
    context["calculator"] = [_calculated(meter) for meter in Meter if meter in meters]
    return render(request, "marketplace/listing/plans.html", context)


@require_safe
def api(request: HttpRequest, owner: str, slug: str) -> HttpResponse:
    context = _shared(request, owner, slug, tab="api")
    base_url = f"{settings.PUBLIC_URL}/v1"
    context |= {"base_url": base_url, "snippets": snippets.for_listing(context["listing"], base_url=base_url)}
    return render(request, "marketplace/listing/api.html", context)


@require_safe
def versions(request: HttpRequest, owner: str, slug: str) -> HttpResponse:
    """Every ready version; how the current one was trained and evaluated."""
    context = _shared(request, owner, slug, tab="versions")
    ready = context["listing"].versions.filter(state=Version.State.READY)
    context["versions"] = ready.prefetch_related("files").order_by("-number")
    if version := context["listing"].current_version:
        context |= {
            "training_charts": results.training_charts(version),
            "evaluation": results.evaluation_rows(version),
            "confusion": results.confusion(version),
        }
    return render(request, "marketplace/listing/versions.html", context)


@require_safe
def measured(request: HttpRequest, owner: str, slug: str) -> HttpResponse:
    context = _shared(request, owner, slug, tab="performance")
    week = performance.week(context["listing"])
    found = week.measured or week.sample
    context |= {
        "is_sample": not week.measured,
        "charts": performance.charts(found),
        "call_count": sum(hour.calls for hour in found),
        "answered": performance.answered_share(found),
        "days": measuring.DAYS,
    }
    return render(request, "marketplace/listing/performance.html", context)


def _shared(request: HttpRequest, owner: str, slug: str, *, tab: str) -> dict[str, Any]:
    organisation = current(request)
    listing = finding.visible(owner, slug, to=organisation)
    version = listing.current_version
    own = None
    if organisation:
        own = (
            listing.subscriptions.filter(organisation=organisation, ended_at=None, own_use=False)
            .select_related("plan_version")
            .first()
        )
    return {
        "listing": listing,
        "version": version,
        "tab": tab,
        "section": "explore",
        "is_owner": bool(organisation and organisation.pk == listing.organisation_id),
        "own": own,
        "payer": playground.payer(listing, organisation, _user_id(request)),
        "plans": _plans(listing),
        "standing": serving.standings([version])[version.pk] if version else None,
    }


def _user_id(request: HttpRequest) -> UUID | None:
    return request.user.pk if request.user.is_authenticated else None


def _plans(listing: Listing) -> list[dict[str, Any]]:
    """Each open plan with its latest version and what the calculator needs to know."""
    found = []
    for plan in listing.plans.filter(archived_at=None).order_by("created_at"):
        version = plan.versions.prefetch_related("components").order_by("-number").first()
        if version is None:
            continue
        components = sorted(
            version.components.all(), key=lambda component: list(Meter).index(Meter(component.meter))
        )
        charges = {
            "flat": version.monthly_fee,
            "currency": {"code": version.currency, "exponent": exponent(version.currency)},
            "components": [
                {"meter": each.meter, "amount": each.amount, "per": each.per, "included": each.included}
                for each in components
            ],
        }
        found.append(
            {
                "plan": plan,
                "version": version,
                "components": components,
                "charges": charges,
                "is_free": plan.kind == Plan.Kind.FREE,
            }
        )
    return found


def _calculated(meter: Meter) -> dict[str, Any]:
    """A field of the calculator: tokens are typed in thousands."""
    in_thousands = meter.endswith("tokens")
    return {
        "meter": meter,
        "scale": 1000 if in_thousands else 1,
        "initial": 1000,
        "in_thousands": in_thousands,
    }
