"""Filters for what was raised or stored in English."""

from django import template

from portal.accounts import suspension
from portal.dashboard import wording

register = template.Library()
register.filter("explained", wording.explain)
register.filter("translated", wording.translate)


@register.simple_tag
def operator_contact() -> str:
    """Whom to ask about what the operator has stopped, in a sentence."""
    return wording.translate(suspension.contact())
