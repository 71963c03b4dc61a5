"""Providers' Markdown as safe HTML: rendered once, when it is saved, in time that grows with its length alone."""

import re

import comrak
import nh3
from django.utils.html import escape

from portal.kit import front_matter

# Counts up whenever `render` makes other HTML of the same text: what is stored is then made again.
RENDERER = 1

# What is longer, nested deeper or wider than this is shown as plain text. Parsers take quadratic time for some of it.
MAX_CHARACTERS = 100_000
MAX_HTML = 400_000
MAX_COLUMNS = 200
MAX_CELLS = 50_000
_DEEP = re.compile(r"^(?:[ \t]*(?:>|[-+*]|\d{1,9}[.)])){32}", re.MULTILINE)

_TAGS = {
    "h2", "h3", "h4", "h5", "h6", "p", "a", "ul", "ol", "li", "em", "strong", "del", "code", "pre", "blockquote",
    "hr", "br", "table", "thead", "tbody", "tr", "th", "td",
}  # fmt: skip
# No images: a provider's page must not tell a third party who reads it.
_ATTRIBUTES = {"a": {"href", "title"}, "th": {"align"}, "td": {"align"}, "ol": {"start"}}


def render(text: str) -> str:
    """Markdown (CommonMark and tables) as sanitised HTML; headings start at h2, raw HTML is shown as text."""
    body = front_matter.split(text)[1]
    if len(body) > MAX_CHARACTERS or _is_deep_or_wide(body):
        return plain(body)
    extensions, options = comrak.ExtensionOptions(), comrak.RenderOptions()
    extensions.table = extensions.strikethrough = True
    options.escape = True
    html = comrak.render_markdown(body, extension_options=extensions, render_options=options)
    if len(html) > MAX_HTML:
        return plain(body)
    return nh3.clean(
        _lower_headings(html), tags=_TAGS, attributes=_ATTRIBUTES, url_schemes={"http", "https", "mailto"},
        link_rel="nofollow noopener noreferrer",
    )  # fmt: skip


def plain(text: str) -> str:
    """The text itself as HTML."""
    return f'<p class="prose-plain">{escape(text)}</p>'


def _is_deep_or_wide(text: str) -> bool:
    if _DEEP.search(text):
        return True
    lines = text.split("\n")
    columns = max(line.count("|") for line in lines)
    return columns > MAX_COLUMNS or (columns > 1 and columns * len(lines) > MAX_CELLS)


def _lower_headings(html: str) -> str:
    # Text is escaped, so that a tag is nothing but a tag.
    for level in (5, 4, 3, 2, 1):
        html = html.replace(f"<h{level}>", f"<h{level + 1}>").replace(f"</h{level}>", f"</h{level + 1}>")
    return html
