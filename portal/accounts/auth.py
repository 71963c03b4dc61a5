"""Authentication of the control API: an API key with scope `manage`, or the browser's session."""

from drf_spectacular.extensions import OpenApiAuthenticationExtension
from rest_framework.authentication import BaseAuthentication
from rest_framework.exceptions import AuthenticationFailed, PermissionDenied
from rest_framework.request import Request

from portal.accounts import api_keys, current
from portal.accounts.models import ApiKey, Organisation, Scope, User
from portal.kit.errors import NotFound


class ApiKeyAuthentication(BaseAuthentication):
    """`Authorization: Bearer mk_...`. Acts as the key's holder, for the key's organisation."""

    def authenticate(self, request: Request) -> tuple[User, ApiKey] | None:
        scheme, _, text = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() != "bearer":
            return None
        key = api_keys.find(text.strip())
        if key is None:
            raise AuthenticationFailed("The API key is unknown, expired or revoked.", code="invalid_api_key")
        if Scope.MANAGE not in key.scopes:
            raise PermissionDenied("This key has no scope `manage`. Make one that has.", code="scope_missing")
        return key.holder, key

    def authenticate_header(self, request: Request) -> str:
        return "Bearer"


class ApiKeyScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    """How the API's schema describes it."""

    target_class = ApiKeyAuthentication
    name = "apiKey"

    def get_security_definition(self, auto_schema: object) -> dict[str, str]:
        return {"type": "http", "scheme": "bearer", "bearerFormat": "mk_..."}


def acting_organisation(request: Request) -> Organisation:
    """For whom an authenticated API request acts. Raises `NotFound` if the user has no organisation left."""
    if isinstance(request.auth, ApiKey):
        return request.auth.organisation
    organisation = current.find(request._request)
    if organisation is None:
        raise NotFound(what="organisation")
    return organisation
