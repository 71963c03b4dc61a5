"""Refusals and findings in the reader's language. They are raised and stored in English, as the API shows them."""

import re
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

from django.utils.translation import get_language, gettext

from portal.dashboard.phrases import PHRASES
from portal.kit.errors import PortalError

# Facts that are words of ours; the others are names that people gave, and numbers.
OUR_WORDS = frozenset({"what", "action", "role", "reason", "scope", "meter", "contact", "advice", "unit"})
FACT = re.compile(r"\{(\w+)\}")
# No sentence of ours is longer; what is comes from someone else.
LONGEST = 4_000


def explain(error: PortalError) -> str:
    """The error's message, translated before its facts are put in."""
    facts = {name: _fact(name, value) for name, value in error.told().items()}
    return gettext(error.message).format(**facts)


def retell(told: Mapping[str, Any]) -> str:
    """A refusal as the API told it, in the reader's language: its code names the sentence, its facts fill it."""
    for kind in _kinds(PortalError):
        try:
            if kind.code == told["code"] and str(refusal := kind(**told)) == told["message"]:
                return explain(refusal)
        except (KeyError, IndexError, TypeError):
            continue
    return translate(str(told.get("message", "")))


def translate(text: str) -> str:
    """A sentence of ours that has its facts in it already; unchanged if it is of no known phrase."""
    if not text or (get_language() or "en").startswith("en"):
        return text
    if len(text) > LONGEST:
        return text
    for phrase in _wordiest_first():
        facts = phrase.find_facts(text)
        if facts is not None:
            return gettext(phrase.text).format(
                **{name: translate(fact) if name in OUR_WORDS else fact for name, fact in facts.items()}
            )
    return gettext(text)


def _kinds(error: type[PortalError]) -> Iterator[type[PortalError]]:
    yield error
    for kind in error.__subclasses__():
        yield from _kinds(kind)


def _fact(name: str, value: object) -> object:
    return translate(str(value)) if name in OUR_WORDS and isinstance(value, str) else value


class _Phrase:
    """A sentence with facts in it, found again in a text in time that grows with the text's length alone."""

    def __init__(self, text: str) -> None:
        self.text = text
        self._first, *rest = FACT.split(text)
        self._names, self._words = rest[::2], rest[1::2]

    @property
    def wordiness(self) -> int:
        return len(self._first) + sum(map(len, self._words))

    def find_facts(self, text: str) -> dict[str, str] | None:
        """Each fact as short as it can be; None if the text is no such sentence."""
        last = self._words[-1] if self._words else self._first
        if not text.startswith(self._first) or not text.endswith(last):
            return None
        facts, begin = {}, len(self._first)
        for name, words in zip(self._names[:-1], self._words[:-1], strict=True):
            end = text.find(words, begin + 1)
            if end < 0:
                return None
            facts[name], begin = text[begin:end], end + len(words)
        if not self._names:
            return {} if text == self._first else None
        end = len(text) - len(last)
        facts[self._names[-1]] = text[begin:end]
        return facts if end > begin else None


@cache
def _wordiest_first() -> list[_Phrase]:
    """The wordiest says most."""
    return sorted(map(_Phrase, PHRASES), key=lambda phrase: -phrase.wordiness)
