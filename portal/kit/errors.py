"""Errors are named facts with data: raised by activities, rendered once for API and page."""

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

from django.utils.translation import gettext_noop

from portal.kit import figures
from portal.kit.money import Money

# A number, and all facts of its refusal, in people's words.
Show = Callable[[int, Mapping[str, Any]], str]


def as_count(number: int, _: Mapping[str, Any]) -> str:
    return f"{number:,}"


def as_size(number: int, _: Mapping[str, Any]) -> str:
    return figures.size_text(number)


def as_money(number: int, facts: Mapping[str, Any]) -> str:
    return figures.exact_text(Money(number, facts["currency"]))


class PortalError(Exception):
    """The base of every refusal. `message` says what happened and what to do; `data` are the facts, for programs:
    `shows` says how people read those that are numbers.
    """

    status: ClassVar[int] = 400
    code: ClassVar[str] = "invalid_request"
    message: ClassVar[str] = gettext_noop("The request cannot be carried out.")

    shows: ClassVar[Mapping[str, Show]] = {}

    def __init__(self, **data: Any) -> None:
        self.data: Mapping[str, Any] = data
        super().__init__(self.message.format(**self.told()))

    def told(self) -> dict[str, Any]:
        """The facts as the message tells them."""
        numbers = {name: self.data[name] for name in self.shows if isinstance(self.data.get(name), int)}
        return {**self.data, **{name: self.shows[name](each, self.data) for name, each in numbers.items()}}


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
