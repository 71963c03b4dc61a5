"""The serializers of the control API: Django REST framework's, which refuse by name what they do not know.

Import this module in place of `rest_framework.serializers`; a test holds every serializer to it.
"""

import difflib
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, NoReturn, TypeVar

from django.db import models
from django.db.models import Model
from django.http import QueryDict
from rest_framework import serializers as framework
from rest_framework.serializers import (
    BooleanField,
    CharField,
    EmailField,
    IntegerField,
    ListField,
    RegexField,
    SerializerMethodField,
    SlugField,
    UUIDField,
    ValidationError,
    empty,
)

__all__ = [
    "BooleanField", "CharField", "ChoiceField", "DateTimeField", "EmailField", "IntegerField", "ListField",
    "ModelSerializer", "QuerySerializer", "RegexField", "Serializer", "SerializerMethodField", "SlugField",
    "UUIDField", "ValidationError",
]  # fmt: skip

_MOST_NAMED, _MOST_LENGTH = 20, 60
_FIRST_YEAR, _LAST_YEAR = 1900, 2199
_JSON_NAMES = {str: "a string", bool: "a boolean", int: "an integer", float: "a decimal", list: "an array"}
_Instance = TypeVar("_Instance")
_Row = TypeVar("_Row", bound=Model)


class ChoiceField(framework.ChoiceField):
    """One of a few words, which a wrong one is told."""

    def fail(self, key: str, **facts: Any) -> NoReturn:
        if key != "invalid_choice":
            super().fail(key, **facts)
        shown = repr(facts["input"])
        shown = shown if len(shown) <= _MOST_LENGTH else f"{shown[:_MOST_LENGTH]}..."
        raise ValidationError(f"{shown} is not one of {', '.join(map(str, self.choices))}.", code=key)


class DateTimeField(framework.DateTimeField):
    """A moment that dates can still be reckoned from."""

    def to_internal_value(self, value: Any) -> datetime:
        moment = super().to_internal_value(value)
        if not _FIRST_YEAR <= moment.year <= _LAST_YEAR:
            raise ValidationError(f"It must lie in the years {_FIRST_YEAR} to {_LAST_YEAR}.")
        return moment


class KnownFieldsOnly:
    """Refuses fields that nobody reads: a misspelt one would be lost in silence."""

    fields: Any
    parent: Any

    def run_validation(self, data: Any = empty) -> Any:
        if data is None and self.parent is None:
            raise ValidationError({"non_field_errors": ["Expected a JSON object, but got null."]})
        return super().run_validation(data)  # type: ignore[misc]

    def to_internal_value(self, data: Any) -> Any:
        if not isinstance(data, Mapping):
            kind = _JSON_NAMES.get(type(data), "null")
            raise ValidationError({"non_field_errors": [f"Expected a JSON object, but got {kind}."]})
        unread = self._explain_unread(data)
        try:
            found = super().to_internal_value(data)  # type: ignore[misc]
        except ValidationError as error:
            raise ValidationError({**error.detail, **unread}) from None  # type: ignore[dict-item]
        if unread:
            raise ValidationError(unread)
        return found

    def _explain_unread(self, data: Mapping[str, Any]) -> dict[str, list[str]]:
        names = list(data)
        if isinstance(data, QueryDict):
            # A form: the token is Django's, and what lies deeper is named `terms.name` or `files[0]path`.
            names = [
                name.partition(".")[0].partition("[")[0] for name in names if name != "csrfmiddlewaretoken"
            ]
        writable = [name for name, field in self.fields.items() if not field.read_only]
        unread = [name for name in names if name not in writable][:_MOST_NAMED]
        return {name[:_MOST_LENGTH]: [self._explain(name, writable)] for name in unread}

    def _explain(self, name: str, writable: list[str]) -> str:
        if name in self.fields:
            return "It cannot be set. Leave it out."
        return f"There is no such field.{suggest(name, writable)}"


class Serializer(KnownFieldsOnly, framework.Serializer[_Instance]):
    """A shape of its own."""


class ModelSerializer(KnownFieldsOnly, framework.ModelSerializer[_Row]):
    """A shape of a model's."""

    serializer_choice_field = ChoiceField
    serializer_field_mapping = framework.ModelSerializer.serializer_field_mapping | {
        models.DateTimeField: DateTimeField
    }


class QuerySerializer(framework.Serializer[Any]):
    """A query string. It holds other parts of the view's too, which refuses what none of them reads."""


def suggest(name: str, known: Iterable[str]) -> str:
    """` Did you mean 'x'?` for the nearest name, or what names there are."""
    known = list(known)
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.7) if len(name) <= _MOST_LENGTH else []
    near = near or [other for other in known if name and name in other.split("_")][:1]
    if near:
        return f" Did you mean '{near[0]}'?"
    return f" There are: {', '.join(known)}." if known else ""
