"""Words that models hold as data: marked here for the translators, translated where a page shows them."""

from collections.abc import Iterable

from django.utils.translation import gettext, gettext_noop

TASKS = (
    gettext_noop("Text generation"), gettext_noop("Embeddings"), gettext_noop("Text classification"),
    gettext_noop("Image classification"),
)  # fmt: skip
STATES = (
    gettext_noop("Live"), gettext_noop("Loading"), gettext_noop("Cold"), gettext_noop("Degraded"), gettext_noop("Down"), gettext_noop("Published"),
    gettext_noop("Draft"), gettext_noop("Withdrawn"), gettext_noop("Checking"), gettext_noop("Ready"), gettext_noop("Refused"),
    gettext_noop("Taken down"), gettext_noop("Suspended"), gettext_noop("Deactivated"), gettext_noop("Dormant"),
    gettext_noop("Active"), gettext_noop("Ended"), gettext_noop("Revoked"), gettext_noop("Expired"),
    gettext_noop("Succeeded"), gettext_noop("Cancelled"), gettext_noop("Failed"),
)  # fmt: skip
PLAN_KINDS = (gettext_noop("Free"), gettext_noop("Paid"), gettext_noop("Mixed"))
ROLES = (
    gettext_noop("Owner"), gettext_noop("Admin"), gettext_noop("Developer"), gettext_noop("Billing"),
    gettext_noop("Viewer"),
)  # fmt: skip
ORGANISATION_KINDS = (gettext_noop("Individual"), gettext_noop("Company"), gettext_noop("Enterprise"))
INVOICE_LINES = (
    gettext_noop("Monthly fee"), gettext_noop("Requests"), gettext_noop("Input tokens"), gettext_noop("Output tokens"),
    gettext_noop("Cached input tokens"), gettext_noop("Images"), gettext_noop("Compute milliseconds"),
)  # fmt: skip


def translated(choices: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """A model's choices in the reader's language."""
    return [(key, gettext(str(label))) for key, label in choices]
