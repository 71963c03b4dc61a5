"""Names that people read: what cannot be seen, or turns the text around, or mixes alphabets, is refused."""

import re
import unicodedata

from portal.kit.errors import Invalid

# Control, format (zero width, bidirectional), surrogates, private use, unassigned; separators of lines.
_HIDDEN = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
# Letters by their category, nothing to the eye.
_BLANK = frozenset("\u115f\u1160\u3164\uffa0\u2800\u17b4\u17b5\u034f")
# They join emoji, and shape letters of Persian and of languages of India.
_JOINERS = frozenset("\u200c\u200d")
# Alphabets with letters that look alike.
_LOOKALIKE = ("LATIN", "CYRILLIC", "GREEK", "ARMENIAN", "CHEROKEE")
_WORD = re.compile(r"[^\W\d_]+")
_MOST_MARKS = 4


def check(text: str, *, what: str) -> None:
    """Raises `Invalid` for a name that shows something else than it is. `what` begins the sentence: "The name"."""
    if not text.strip():
        raise Invalid(reason=f"{what} must not be blank.")
    hidden = next((sign for sign in text if _is_hidden(sign)), None)
    if hidden is not None:
        raise Invalid(reason=f"{what} holds a sign that cannot be seen: U+{ord(hidden):04X}. Leave it out.")
    if (
        text[0] in _JOINERS
        or text[-1] in _JOINERS
        or re.search(r"[\u200c\u200d]{2}|[ -~][\u200c\u200d]", text)
    ):
        raise Invalid(reason=f"{what} holds a sign that cannot be seen: U+200D. Leave it out.")
    if any(len(_scripts(word)) > 1 for word in _WORD.findall(text)):
        raise Invalid(
            reason=f"{what} mixes letters of alphabets that look alike in one word. Use one alphabet."
        )
    if _piles_marks(text):
        raise Invalid(reason=f"{what} piles too many marks on one letter.")


def _is_hidden(sign: str) -> bool:
    return sign in _BLANK or (unicodedata.category(sign) in _HIDDEN and sign not in _JOINERS)


def _scripts(word: str) -> set[str]:
    names = {unicodedata.name(letter, "").partition(" ")[0] for letter in word}
    return names.intersection(_LOOKALIKE)


def _piles_marks(text: str) -> bool:
    marks = 0
    for sign in text:
        marks = marks + 1 if unicodedata.combining(sign) else 0
        if marks > _MOST_MARKS:
            return True
    return False
