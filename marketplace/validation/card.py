"""The model card: README.md with YAML front matter, as model hubs write it."""

from collections.abc import Mapping
from typing import Any

import yaml

from marketplace.validation.cleaning import clean_json, clean_text
from marketplace.validation.documents import read_bytes
from marketplace.validation.report import Card, Finding, LocalFile, info, warning
from portal.kit import front_matter

FILE = "README.md"
MAX_FRONT_MATTER = 64 * 1024
MAX_BODY = 200_000
MAX_DEPTH = 30
MAX_EVENTS = 10_000
MAX_PLAIN = 4_000
MAX_WORDS = 24
MAX_RESULTS = 200


def read_card(files: Mapping[str, LocalFile]) -> tuple[Card, list[Finding]]:
    """The card, as far as it is sound; it never stops a version."""
    if FILE not in files:
        remedy = "Add a README.md that says what the model is for, its data and its limits."
        return Card(), [info(FILE, "no-card", "There is no model card.", remedy)]
    text = read_bytes(FILE, files[FILE]).decode("utf-8", "replace")
    text = clean_text(text)
    told_as, rest = front_matter.split(text)
    body = rest.strip()[:MAX_BODY]
    if told_as is None:
        return Card(body=body), []
    try:
        told = _parse(told_as)
    except (yaml.YAMLError, RecursionError, ValueError) as problem:
        return Card(body=body), [warning(FILE, "front-matter", f"Not read: {str(problem)[:200]}")]
    return _describe(told, body), []


def _parse(text: str) -> Mapping[str, Any]:
    if len(text) > MAX_FRONT_MATTER:
        raise ValueError(f"longer than {MAX_FRONT_MATTER} characters")
    _check_events(text)
    told = yaml.load(text, Loader=yaml.CSafeLoader)
    if not isinstance(told, dict):
        raise ValueError("not a list of names and values")
    return told


def _check_events(text: str) -> None:
    """Raises `ValueError` for what would take more than its length's time to build: aliases, by which a few lines
    can describe billions of items, depth, endless numbers.
    """
    depth = 0
    for count, event in enumerate(yaml.parse(text, Loader=yaml.CSafeLoader)):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if isinstance(event, yaml.AliasEvent):
            raise ValueError("aliases are not taken")
        if depth > MAX_DEPTH or count > MAX_EVENTS:
            raise ValueError("it is nested too deep or has too many items")
        if isinstance(event, yaml.ScalarEvent) and event.implicit[0] and len(event.value) > MAX_PLAIN:
            raise ValueError(f"a value of more than {MAX_PLAIN} characters needs quotes")


def _describe(told: Mapping[str, Any], body: str) -> Card:
    return Card(
        body=body,
        licence=_word(told.get("license"), longest=64),
        languages=_words(told.get("language"), longest=16),
        tags=_words(told.get("tags"), longest=40),
        pipeline_tag=_word(told.get("pipeline_tag"), longest=40),
        evaluation=tuple(clean_json(_read_results(told.get("model-index"))[:MAX_RESULTS])),
    )


def _word(value: Any, *, longest: int) -> str:
    # YAML reads the language code of Norwegian as False.
    if value is False:
        return "no"
    return clean_text(value.strip())[:longest] if isinstance(value, str) else ""


def _words(value: Any, *, longest: int) -> tuple[str, ...]:
    values = value if isinstance(value, list) else [value]
    words = (_word(item, longest=longest) for item in values)
    return tuple(dict.fromkeys(word for word in words if word))[:MAX_WORDS]


def _read_results(index: Any) -> list[dict[str, Any]]:
    """Rows {"task", "dataset", "metric", "value", "source"} of a model-index; what is malformed is left out."""
    models = [model for model in index if isinstance(model, dict)] if isinstance(index, list) else []
    results = [
        result for model in models for result in _list(model.get("results")) if isinstance(result, dict)
    ]
    return [
        {
            "task": _name(result.get("task")),
            "dataset": _name(result.get("dataset")),
            "metric": _name(metric),
            "value": metric["value"],
            "source": _name(result.get("source")),
        }
        for result in results
        for metric in _list(result.get("metrics"))
        if isinstance(metric, dict) and _is_value(metric.get("value"))
    ]


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _name(value: Any) -> str:
    if not isinstance(value, dict):
        return ""
    return next((value[key][:120] for key in ("name", "type", "url") if isinstance(value.get(key), str)), "")


def _is_value(value: Any) -> bool:
    if isinstance(value, str):
        return 0 < len(value) <= 40
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e15
