"""Errors are named facts with data: raised by activities, rendered once for API and page."""

from collections.abc import Mapping
from typing import Any, ClassVar

from django.utils.translation import gettext_noop


class PortalError(Exception):
    """The base of every refusal. `message` says what happened and what to do; `data` are the facts."""

    status: ClassVar[int] = 400
    code: ClassVar[str] = "invalid_request"
    message: ClassVar[str] = gettext_noop("The request cannot be carried out.")

    def __init__(self, **data: Any) -> None:
        self.data: Mapping[str, Any] = data
        super().__init__(self.message.format(**data))


class NotFound(PortalError):
    status = 404
    code = "not_found"
    message = gettext_noop("There is no such {what}, or it is not yours to see.")


class NotAllowed(PortalError):
    status = 403
    code = "not_allowed"
    message = gettext_noop("Your role {role} may not {action}. Ask an owner or admin of the organisation.")


class UnknownParameter(PortalError):
    """Of a query string. `hint` is the nearest name, or those that there are."""

    code = "unknown_parameter"
    message = "There is no parameter '{name}' here.{hint}"


class Conflict(PortalError):
    status = 409
    code = "conflict"
    message = "{reason}"


class Invalid(PortalError):
    code = "invalid_request"
    message = "{reason}"
