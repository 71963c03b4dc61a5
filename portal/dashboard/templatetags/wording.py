"""Filters for what was raised or stored in English."""

from django import template

from portal.dashboard import wording

register = template.Library()
register.filter("explained", wording.explain)
register.filter("translated", wording.translate)
