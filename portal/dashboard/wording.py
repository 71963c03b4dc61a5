"""Refusals and findings in the reader's language. They are raised and stored in English, as the API shows them."""

import re
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

from django.utils.translation import get_language, gettext

from portal.dashboard.phrases import PHRASES
from portal.kit.errors import PortalError

# Facts that are words of ours; the others are names that people gave, and numbers.
OUR_WORDS = frozenset({"what", "action", "role", "reason", "scope", "meter"})
FACT = re.compile(r"\\\{(\w+)\\\}")


def explain(error: PortalError) -> str:
    """The error's message, translated before its facts are put in."""
    facts = {name: _fact(name, value) for name, value in error.data.items()}
    return gettext(error.message).format(**facts)


def retell(told: Mapping[str, Any]) -> str:
    """A refusal as the API told it, in the reader's language: its code names the sentence, its facts fill it."""
    for kind in _kinds(PortalError):
        try:
            if kind.code == told["code"] and kind.message.format(**told) == told["message"]:
                return explain(kind(**told))
        except (KeyError, IndexError, TypeError):
            continue
    return translate(str(told.get("message", "")))


def translate(text: str) -> str:
    """A sentence of ours that has its facts in it already; unchanged if it is of no known phrase."""
    if not text or (get_language() or "en").startswith("en"):
        return text
    for pattern, phrase in _patterns():
        if found := pattern.fullmatch(text):
            facts = found.groupdict()
            return gettext(phrase).format(
                **{name: translate(fact) if name in OUR_WORDS else fact for name, fact in facts.items()}
            )
    return gettext(text)


def _kinds(error: type[PortalError]) -> Iterator[type[PortalError]]:
    yield error
    for kind in error.__subclasses__():
        yield from _kinds(kind)


def _fact(name: str, value: object) -> object:
    return translate(str(value)) if name in OUR_WORDS and isinstance(value, str) else value


@cache
def _patterns() -> list[tuple[re.Pattern[str], str]]:
    """Each phrase as a pattern that finds its facts; the wordiest first, since it says most."""
    wordiest = sorted(PHRASES, key=lambda phrase: -len(re.sub(r"\{\w+\}", "", phrase)))
    return [
        (re.compile(FACT.sub(r"(?P<\1>.+?)", re.escape(phrase)), re.DOTALL), phrase) for phrase in wordiest
    ]
