"""What a version's provider measured: training curves and evaluation results, as charts and rows."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from django.utils.translation import gettext as _

from marketplace.models import Version
from portal.kit.charts import Chart, Series


class Result(NamedTuple):
    """One row of the card's model-index: a metric on a data set."""

    dataset: str
    metric: str
    value: str


class Cell(NamedTuple):
    """One cell of a confusion matrix: how many, and how many tenths of its row."""

    number: int
    tenths: int


def training_charts(version: Version) -> list[Chart]:
    """Loss and accuracy by step, from the version's `training.json`: "curve" and "validations" are lists of
    points, each with "step" and numbers.
    """
    learned = _by_step(version.training.get("curve", []))
    validated = _by_step(version.training.get("validations", []))
    return [
        chart
        for chart in (
            _chart("loss", _("Loss while training"), learned, validated),
            _chart("accuracy", _("Accuracy while training"), learned, validated),
        )
        if chart.series
    ]


def confusion(version: Version) -> list[tuple[str, list[Cell]]]:
    """The confusion matrix on the test data, a row per true label; empty without one."""
    counts = version.training.get("confusions", [])
    facts = version.report.get("facts") or {}
    labels = facts.get("labels") or [str(index) for index in range(len(counts))]
    return [
        (label, [Cell(count, round(10 * count / (sum(row) or 1))) for count in row])
        for label, row in zip(labels, counts, strict=False)
    ]


def _by_step(points: Sequence[Mapping[str, Any]]) -> dict[int, Mapping[str, Any]]:
    return {int(point["step"]): point for point in points if "step" in point}


def _chart(
    metric: str,
    title: str,
    learned: Mapping[int, Mapping[str, Any]],
    validated: Mapping[int, Mapping[str, Any]],
) -> Chart:
    found = [(_("training"), learned), (_("validation"), validated)]
    measured = [
        (label, points) for label, points in found if any(metric in point for point in points.values())
    ]
    steps = sorted({step for _label, points in measured for step in points})
    series = [
        Series(label, [points.get(step, {}).get(metric) for step in steps]) for label, points in measured
    ]
    return Chart(f"training-{metric}", title, steps, series, x_label=_("Step"))


def evaluation_rows(version: Version) -> list[Result]:
    """The results of all data sets in the order of the card."""
    return [
        Result(_name(result.get("dataset")), _name(metric, "type"), _value(metric.get("value")))
        for entry in version.evaluation
        for result in entry.get("results", [entry])
        for metric in result.get("metrics", [])
    ]


def _name(thing: Any, fallback: str = "type") -> str:
    if isinstance(thing, Mapping):
        return str(thing.get("name") or thing.get(fallback) or "–")
    return str(thing or "–")


def _value(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4f}".rstrip("0").rstrip(".")
    return str(value)
