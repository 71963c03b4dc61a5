"""Refusals of the data plane, which speaks English, as the playground shows them."""

import json
from typing import Any

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.http.request import RawPostDataException
from django.urls import reverse
from django.utils.translation import gettext as _
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_POST

from portal.dashboard import wording
from portal.kit.errors import Invalid

MOST_BYTES = 20_000


# Nothing is read but what is sent, and nothing is changed.
@csrf_exempt
@require_POST
def playground(request: HttpRequest) -> HttpResponse:
    """`{"message", "url", "action"}`: in the reader's language, and where the limit is changed, if it is one."""
    if request.content_type != "application/json":
        raise Invalid(reason="The request cannot be carried out.")
    try:
        error = json.loads(request.body[:MOST_BYTES])
        details = error.get("details") or {}
        message = wording.retell({**details, "code": error["code"], "message": str(error["message"])})
        place = _find_place(error["code"], details)
    except (ValueError, TypeError, AttributeError, KeyError, RecursionError, RawPostDataException) as wrong:
        raise Invalid(reason="The request cannot be carried out.") from wrong
    return JsonResponse({"message": message, **place})


def _find_place(code: Any, details: Any) -> dict[str, str]:
    """Where a signed-in reader changes the limit that was reached."""
    if code == "insufficient_quota" and "window" in details:
        return {"url": reverse("console_keys"), "action": _("Change the budget")}
    if code == "insufficient_quota":
        return {"url": reverse("console_subscriptions"), "action": _("Change the limit or the plan")}
    return {"url": "", "action": ""}
