"""Cells of the request log, whose pages have fifty rows."""

from collections.abc import Mapping
from typing import Any

from django.urls import reverse
from django.utils.html import format_html, strip_tags
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _

from billing.models import Outcome, UsageEvent
from portal.dashboard.reasons import TOLD
from portal.kit.money import Money
from portal.kit.templatetags.kit import copy_button, money, status


def request_id(call: UsageEvent) -> SafeString:
    """The end of its id, which opens the call's own page."""
    name = call.public_id
    return format_html(
        '<span class="copyable"><a class="mono" href="{}" title="{}">…{}</a>{}</span>',
        reverse("console_request", args=[name]), name, name[-8:], copy_button(name),
    )  # fmt: skip


def outcome(call: UsageEvent) -> SafeString:
    """How it ended, and why where it failed or is no call at all."""
    badge = status(call.outcome)
    if call.outcome not in (Outcome.FAILED, Outcome.REVERSED) or call.why is None:
        return badge
    address = reverse("console_request", args=[call.public_id])
    return format_html(
        '{} <a class="plain-link reason" href="{}">{}</a>', badge, address, TOLD[call.why].short
    )


def model(call: UsageEvent) -> SafeString:
    """The listing called, and which version of it answered."""
    listing, version = call.listing, call.version
    number = format_html('<span class="faint">:{}</span>', version.number) if version else ""
    address = reverse("listing", args=[listing.organisation.slug, listing.slug])
    return format_html('<a class="plain-link mono" href="{}">{}</a>{}', address, listing.path, number)


def key(call: UsageEvent) -> SafeString:
    """The key's name; the playground has none."""
    if call.api_key:
        name = call.api_key.name
        named = format_html('<span class="truncate" title="{}">{}</span>', name, name)
    else:
        named = format_html('<span class="faint">{}</span>', _("Playground"))
    demo = format_html('<span class="badge">{}</span>', _("demo")) if call.demo else ""
    return format_html('<span class="key-cell">{}{}</span>', named, demo)


def cost(call: UsageEvent) -> SafeString:
    """What was charged, and whether the quantities are our own count or the server's report needs a look."""
    charged = money(call.charge, call.currency)
    if call.report:
        word, why = server_report(call.report)
    elif call.estimated:
        word = _("estimated")
        why = _("The provider's server reported no usage; the tokens are our own count.")
    else:
        return charged
    return format_html('{} <abbr title="{}">{}</abbr>', charged, why, word)


def server_report(report: Mapping[str, Any]) -> tuple[str, str]:
    """What the provider's server said of a call, beside what was billed: in a word, and in sentences."""
    if not report["held"]:
        why = _("%(n)s reasoning tokens were reported by the provider's server and not shown.")
        return _("reasoning not shown"), why % {"n": f"{report['unseen']:,}"}
    if report["cut"]:
        return _("cut"), _(
            "The answer was longer than it may be, so we cut it; the tokens are our own count."
        )
    facts = {name: "–" if report[name] is None else f"{report[name]:,}" for name in ("input", "output")}
    why = _(
        "The provider's server reported %(input)s tokens in and %(output)s out. That is more than the text usually "
        "comes to, so what it earns of this call is held until the operator has looked."
    )
    return _("checked"), why % facts


def key_name(call: UsageEvent) -> str:
    """As `key`, without its look."""
    return call.api_key.name if call.api_key else _("Playground")


def outcome_name(call: UsageEvent) -> str:
    return strip_tags(status(call.outcome))


def charge(call: UsageEvent) -> Money:
    return Money(call.charge, call.currency)
