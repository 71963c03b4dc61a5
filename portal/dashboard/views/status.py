"""The public status page."""

from django.http import HttpRequest, HttpResponse
from django.template.loader import render_to_string
from django.views.decorators.http import require_safe

from portal.dashboard import status


@require_safe
def page(request: HttpRequest) -> HttpResponse:
    """Drawn without the context that requests bring, which would ask for the session and the user: they may be what is
    away.
    """
    answer = HttpResponse(
        render_to_string("status.html", {"report": status.latest.get(), "request": request})
    )
    answer["Cache-Control"] = f"max-age={int(status.KEPT_SECONDS)}"
    return answer
