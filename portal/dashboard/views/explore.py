"""The catalogue: searched as one types, narrowed by filters, sorted."""

from typing import Any

from django.conf import settings
from django.http import HttpRequest, HttpResponse, QueryDict
from django.shortcuts import render
from django.utils.translation import gettext_lazy as _
from django.views.decorators.http import require_safe

from marketplace import catalogue
from marketplace.catalogue import Filters
from marketplace.models import Plan, Task
from portal.dashboard import demo, rates, serving, shelf
from portal.dashboard.vocabulary import translated

PAGE = 24
# Whoever has seen this many cards is better served by a narrower search.
MOST_SHOWN = 480
SORTS = [
    ("relevance", _("Best match")), ("newest", _("Newest")), ("name", _("Name")), ("smallest", _("Smallest")),
    ("price", _("Lowest price")), ("popular", _("Most used")), ("throughput", _("Highest throughput")),
    ("latency", _("Lowest latency")),
]  # fmt: skip
SIZES = [
    ("100000000", _("100M parameters")), ("1000000000", _("1B parameters")), ("10000000000", _("10B parameters")),
    ("100000000000", _("100B parameters")),
]  # fmt: skip
NARROWING = ("task", "plan_kind", "licence", "language", "tag", "provider", "largest", "price")


@require_safe
def explore(request: HttpRequest) -> HttpResponse:
    asked = request.GET
    text, shown = asked.get("q", "").strip(), _number(asked, "shown")
    found = catalogue.search(text, _filters(asked), _sort(asked))
    cards = shelf.items(found[shown : shown + PAGE + 1])
    context: dict[str, Any] = {
        "section": "explore",
        "text": text,
        "sort": _sort(asked),
        "sorts": SORTS,
        "sizes": SIZES,
        "tasks": translated(Task.choices),
        "currency": settings.CURRENCY,
        "kinds": translated(Plan.Kind.choices),
        "licences": shelf.licences(),
        "chosen": {name: asked[name] for name in NARROWING if asked.get(name)},
        "items": cards[:PAGE],
        "meanings": serving.MEANINGS,
        "is_first": not shown,
        "demo": demo.building(),
        "more_url": _more(asked, shown + PAGE) if len(cards) > PAGE and shown + PAGE < MOST_SHOWN else "",
    }
    return render(request, "marketplace/explore.html", context)


@require_safe
def demo_progress(request: HttpRequest) -> HttpResponse:
    """What an open catalogue asks again and again; it also hears of it when a step has added something."""
    building = demo.building()
    answer = render(request, "marketplace/demo.html", {"demo": building})
    if building is None or building.done != _number(request.GET, "done"):
        answer["HX-Trigger"] = "catalogue-grew"
    return answer


def _filters(asked: QueryDict) -> Filters:
    words = {name: asked.get(name, "").strip() for name in NARROWING if name not in ("largest", "price")}
    rate = rates.read_rate(asked.get("price", ""))
    return Filters(**words, largest=_number(asked, "largest") or None, token_rate=rate)


def _sort(asked: QueryDict) -> catalogue.Sort:
    return next((sort for sort in catalogue.SORTS if sort == asked.get("sort", "")), "relevance")


def _number(asked: QueryDict, name: str) -> int:
    text = asked.get(name, "")
    return min(int(text), 10**15) if text.isascii() and text.isdecimal() else 0


def _more(asked: QueryDict, shown: int) -> str:
    changed = asked.copy()
    changed["shown"] = str(shown)
    return f"?{changed.urlencode()}"
