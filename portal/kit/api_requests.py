"""Requests for the control API before a view sees them, and refusals that come from before a view, in its shape."""

from typing import Any

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.urls import is_valid_path
from django.utils.deprecation import MiddlewareMixin

ROOT = "/api"


def is_for_api(request: HttpRequest) -> bool:
    """Whether a program asks, which reads JSON: below /api, or with JSON in its body."""
    path = request.path_info
    return path == ROOT or path.startswith(f"{ROOT}/") or request.content_type == "application/json"


def refuse(status: int, code: str, message: str, **facts: Any) -> HttpResponse:
    """A refusal in the control API's shape."""
    return JsonResponse({"error": {"code": code, "message": message, **facts}}, status=status)


class ApiRequestsMiddleware(MiddlewareMixin):
    """Takes an address as it was meant, and says what body cannot be read."""

    def process_request(self, request: HttpRequest) -> HttpResponse | None:
        if path := _find_meant(request.path_info):
            # A redirect would turn a POST into a GET, which answers something else in silence.
            request.path = request.path.removesuffix(request.path_info) + path
            request.path_info = path
        encoding = request.headers.get("Content-Encoding", "identity").strip().lower()
        if encoding in ("", "identity") or not is_for_api(request):
            return None
        message = f"The Content-Encoding '{encoding[:40]}' is not supported. Send the body as it is."
        answer = refuse(415, "unsupported_content_encoding", message)
        answer["Accept-Encoding"] = "identity"
        return answer


def _find_meant(path: str) -> str:
    """An address of the API that was written with a slash too many or without the last one; "" for all others."""
    parts = list(filter(None, path.split("/")))
    if not parts or parts[0] != ROOT[1:] or is_valid_path(path):
        return ""
    return next(filter(is_valid_path, (f"/{'/'.join(parts)}/", f"/{'/'.join(parts)}")), "")
