"""config.json, rebuilt from what describes the model; what steers its loading never passes."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from marketplace.validation.architectures import ARCHITECTURES, TEXT_TASKS, Architecture
from marketplace.validation.report import Finding, Refusal, error, warning

FILE = "config.json"
MAX_DEPTH = 4
MAX_TEXT = 1024
MAX_ITEMS = 50_000
# The first word that occurs in a key bounds its numbers. A hundred thousand layers hang a loader for
# minutes before it notices that no such weights exist.
BOUNDS: tuple[tuple[str, int], ...] = (
    ("layer_norm", 1),
    ("layers", 512),
    ("n_layer", 512),
    ("heads", 4096),
    ("n_head", 4096),
    ("experts", 4096),
    ("vocab", 4_000_000),
    ("position", 2**27),
    ("theta", 2**40),
    ("sliding_window", 2**27),
    ("hidden_size", 65_536),
    ("n_embd", 65_536),
    ("dim", 65_536),
    ("intermediate", 524_288),
    ("channels", 4096),
    ("image_size", 4096),
    ("patch_size", 4096),
)
MAX_NUMBER = 2**24
DTYPES: Mapping[str, str] = {"float32": "F32", "float16": "F16", "bfloat16": "BF16", "float64": "F64"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """Sizes that the config claims; 0 where the architecture has none. `positions` are tokens that fit."""

    vocab: int = 0
    hidden: int = 0
    layers: int = 0
    heads: int = 0
    kv_heads: int = 0
    head_dim: int = 0
    positions: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """A config.json after checking. `values` lacks every key that was stripped."""

    model_type: str
    architecture: Architecture
    task: str
    shape: Shape
    values: Mapping[str, Any]


def rebuild(raw: Mapping[str, Any], *, task: str | None) -> tuple[Config, list[Finding]]:
    """What `raw` describes, and a finding for every key that was stripped. Raises `Refusal`.

    `task` is what the listing is for, where that is known: an encoder without a head serves embeddings.
    """
    stripped = {key: finding for key in raw if (finding := _strip(key))}
    values = {key: value for key, value in raw.items() if key not in stripped}
    if values.pop("quantization_config", None):
        remedy = "Publish float weights (F32, F16 or BF16)."
        raise Refusal(error(FILE, "quantisation", "Quantised weights are not supported.", remedy))
    for key, value in values.items():
        _check_value(key, value)
    model_type = values.get("model_type")
    architecture = ARCHITECTURES.get(model_type) if isinstance(model_type, str) else None
    if architecture is None:
        raise Refusal(_unsupported(model_type, raw))
    found_task = _find_task(architecture, values, wanted=task)
    config = Config(
        model_type=str(model_type),
        architecture=architecture,
        task=found_task,
        shape=_read_shape(architecture, values, is_text=found_task in TEXT_TASKS),
        values=values,
    )
    return config, list(stripped.values())


def _strip(key: str) -> Finding | None:
    if key == "auto_map":
        message = "auto_map names code to download and run; it is ignored."
        return warning(FILE, "remote-code", message, "Remove it; the model is loaded by its model_type.")
    if "implementation" in key:
        return warning(FILE, "implementation", f"{key[:80]} chooses kernels to fetch or run; it is ignored.")
    return None


def _unsupported(model_type: Any, raw: Mapping[str, Any]) -> Finding:
    needs_code = " It would need its author's code, which is never run." if "auto_map" in raw else ""
    message = f"model_type {str(model_type)[:80]!r} is not supported.{needs_code}"
    return error(FILE, "architecture", message, f"Supported are {', '.join(sorted(ARCHITECTURES))}.")


def _check_value(key: str, value: Any, *, depth: int = 0) -> None:
    if isinstance(value, bool) or value is None:
        return
    if isinstance(value, int | float):
        if not math.isfinite(value) or abs(value) > _bound(key):
            raise Refusal(error(FILE, "out-of-bounds", f"{key[:80]} {str(value)[:40]} is out of bounds."))
    elif isinstance(value, str):
        if len(value) > MAX_TEXT:
            raise Refusal(error(FILE, "out-of-bounds", f"{key[:80]} is longer than {MAX_TEXT} characters."))
    elif depth >= MAX_DEPTH or len(value) > MAX_ITEMS:
        raise Refusal(error(FILE, "out-of-bounds", f"{key[:80]} is too large or too deep."))
    else:
        items = value.items() if isinstance(value, dict) else ((key, item) for item in value)
        for name, item in items:
            # Labels map names to numbers; those names are the provider's and bound nothing.
            _check_value("label" if "label" in key else str(name), item, depth=depth + 1)


def _bound(key: str) -> int:
    return next((most for word, most in BOUNDS if word in key), MAX_NUMBER)


def _find_task(architecture: Architecture, values: Mapping[str, Any], *, wanted: str | None) -> str:
    named = values.get("architectures")
    names = named if isinstance(named, list) else []
    tasks = [architecture.classes[name] for name in names if name in architecture.classes]
    possible = set(architecture.classes.values())
    if not tasks and (not names or not possible - {wanted}):
        tasks = [wanted] if wanted in possible else sorted(possible)[:1]
    if not tasks:
        message = f"architectures {str(names)[:120]} is not supported for this model_type."
        raise Refusal(error(FILE, "architecture", message, f"Use one of {', '.join(architecture.classes)}."))
    if wanted is not None and tasks[0] != wanted:
        message = f"The files are for {tasks[0]}, but the listing is for {wanted}."
        raise Refusal(error(FILE, "task", message, "Publish them under a listing of that task."))
    return tasks[0]


def _read_shape(architecture: Architecture, values: Mapping[str, Any], *, is_text: bool) -> Shape:
    sizes = {name: _read_size(values, keys) for name, keys in architecture.keys.items()}
    heads = sizes.get("heads", 0)
    if heads and sizes["hidden"] % heads and "head_dim" not in values:
        raise Refusal(
            error(FILE, "shape", f"hidden size {sizes['hidden']} does not divide by {heads} heads.")
        )
    if is_text:
        sizes |= {
            "kv_heads": _read_optional(values, "num_key_value_heads") or heads,
            "head_dim": _read_optional(values, "head_dim") or sizes["hidden"] // heads,
            "positions": sizes["positions"] - _padding(architecture, values),
        }
        if heads % sizes["kv_heads"] or sizes["positions"] < 1:
            raise Refusal(error(FILE, "shape", "Heads, key-value heads or positions do not fit together."))
    return Shape(**sizes)


def _padding(architecture: Architecture, values: Mapping[str, Any]) -> int:
    if not architecture.padded_positions:
        return 0
    # transformers' own default for these architectures is 1.
    return (_read_optional(values, "pad_token_id") if "pad_token_id" in values else 1) + 1


def _read_size(values: Mapping[str, Any], keys: tuple[str, ...]) -> int:
    for key in keys:
        if key in values:
            value = values[key]
            if type(value) is not int or value < 1:
                raise Refusal(error(FILE, "shape", f"{key} must be a whole number from 1."))
            return value
    raise Refusal(error(FILE, "shape", f"{keys[0]} is missing.", "Save the config with the model."))


def _read_optional(values: Mapping[str, Any], key: str) -> int:
    value = values.get(key)
    if value is None:
        return 0
    if type(value) is not int or value < 0:
        raise Refusal(error(FILE, "shape", f"{key} must be a whole number."))
    return value
