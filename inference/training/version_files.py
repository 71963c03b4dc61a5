"""The files of a version directory that people and the catalogue read: card, metrics, plain JSON."""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Readable JSON; numbers that JSON has no word for (NaN, infinity) become null."""
    path.write_text(json.dumps(_make_plain(value), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _make_plain(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: _make_plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_make_plain(item) for item in value]
    return value


def write_card(directory: Path, *, front_matter: Mapping[str, Any], body: str) -> None:
    """README.md in the Hub's form: YAML between dashes, then Markdown."""
    head = yaml.safe_dump(dict(front_matter), sort_keys=False, allow_unicode=True)
    (directory / "README.md").write_text(f"---\n{head}---\n\n{body.strip()}\n", encoding="utf-8")


def index_results(
    name: str, *, task: str, dataset: Mapping[str, str], metrics: Mapping[str, float]
) -> Sequence[Mapping[str, Any]]:
    """The `model-index` entry of a card: `metrics` of model `name` on `dataset` (name, type, split)."""
    listed = [{"type": kind, "value": round(value, 4)} for kind, value in metrics.items()]
    return [
        {"name": name, "results": [{"task": {"type": task}, "dataset": dict(dataset), "metrics": listed}]}
    ]
