"""What the playground of a listing is told: where to call, on whose account, at which prices."""

import contextlib
from typing import Any
from uuid import UUID

from django.conf import settings
from django.urls import reverse
from django.utils.translation import gettext as _

from marketplace import entitlement
from marketplace.models import Listing, PlanVersion, Subscription, Version
from portal.accounts import membership, playground
from portal.accounts.models import Organisation
from portal.dashboard import modes
from portal.dashboard.modes import Mode
from portal.kit.errors import PortalError
from portal.kit.money import exponent

VISITORS = "visitors"
# An answer of this length shows what a model can do; a short context is shared with the prompt.
USUAL_TOKENS = 200


def payer(listing: Listing, organisation: Organisation | None, user_id: UUID | None) -> Subscription | None:
    """The subscription that a try-out uses: the organisation's own if the user's role may make calls, else
    the visitors' where the provider allows it. None of a listing that is closed, but for its own organisation.
    """
    may_call = organisation and user_id and membership.allows(user_id, organisation.pk, "use")
    if organisation and may_call:
        # Whoever may not call it as a member may still look at it as a visitor does.
        with contextlib.suppress(PortalError):
            return entitlement.find(organisation.pk, listing)
    if listing.is_closed:
        return None
    live = listing.subscriptions.filter(ended_at=None).select_related("plan_version", "organisation")
    if listing.playground_without_sign_in:
        return live.filter(organisation__slug=VISITORS).first()
    return None


def own_use_limits(payer: Subscription) -> dict[str, int] | None:
    """How far a provider's own try-outs go; None for everybody else's."""
    if not payer.own_use:
        return None
    return {
        "per_minute": settings.OWN_USE_REQUESTS_PER_MINUTE,
        "at_once": settings.OWN_USE_CONCURRENT_REQUESTS,
    }


def config(
    listing: Listing, subscription: Subscription, user_id: UUID | None, *, mode: Mode, visitor: str = "",
    version: Version | None = None,
) -> dict[str, Any]:  # fmt: skip
    """The page's JSON, for the current version or another one; prices are micro-minor units per so many units of a
    meter.
    """
    shown = version or listing.current_version
    context_length = shown.context_length if shown else 0
    member = None if subscription.organisation.slug == VISITORS else user_id
    token = playground.issue(subscription.organisation_id, listing.pk, user_id=member, visitor=visitor)
    return {
        "mode": mode,
        "model": listing.path if version is None else f"{listing.path}:{version.number}",
        "base_url": f"{settings.PUBLIC_URL}/v1",
        "endpoint": f"/v1{modes.PATHS[mode]}",
        "retell": reverse("playground_refusal"),
        "headers": {"Authorization": f"Bearer {token}"},
        "currency": _currency(subscription.plan_version),
        "prices": _prices(subscription.plan_version),
        "most_tokens": context_length,
        "usual_tokens": max(1, min(USUAL_TOKENS, context_length // 2)),
        "words": _words(),
    }


def _currency(version: PlanVersion) -> dict[str, Any]:
    return {"code": version.currency, "exponent": exponent(version.currency)}


def _prices(version: PlanVersion) -> list[dict[str, Any]]:
    priced = version.components.exclude(amount=None)
    return [{"meter": each.meter, "amount": each.amount, "per": each.per} for each in priced]


def _words() -> dict[str, str]:
    return {
        "user": _("You"),
        "assistant": _("Answer"),
        "waiting": _("Waiting for the first token"),
        "loading": _("Loading the model ..."),
        "queued": _("Waiting for a worker ..."),
        "streaming": _("Streaming"),
        "done": _("Done"),
        "stopped": _("Stopped; what was generated is charged"),
        "failed": _("Failed; nothing was charged"),
        "unreachable": _("The server could not be reached. Nothing was charged; try again."),
        "dimensions": _("{n} dimensions"),
    }
