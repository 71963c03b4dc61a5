"""Rebuild a model's config from allowed keys with bounded values, so that config.json can only describe."""

import dataclasses
import math
from collections.abc import Collection, Mapping
from typing import Any

from transformers import CONFIG_MAPPING, PreTrainedConfig

from inference.engines.base import UnloadableVersion

# Of the keys that every config shares, those that describe the model. The rest steer how transformers
# runs or fetches it, and stay at their defaults.
TOKEN_KEYS = frozenset({"bos_token_id", "eos_token_id", "pad_token_id", "tie_word_embeddings"})
SHARED_KEYS = TOKEN_KEYS | {"architectures", "id2label", "label2id", "problem_type"}
# They would change what the model computes, in ways that this version of transformers ignores or we refuse.
REQUIRED_VALUES: Mapping[str, tuple[Any, ...]] = {
    "position_embedding_type": (None, "absolute"),
    "is_encoder_decoder": (None, False),
    "add_cross_attention": (None, False),
}
MAX_BY_WORD = (("layers", 512), ("experts", 4096), ("heads", 4096), ("vocab", 4_000_000), ("position", 2**27))
MAX_NUMBER = 2**24
MAX_TEXT = 512
MAX_ITEMS = 50_000
MAX_DEPTH = 3


def rebuild_config(raw: Mapping[str, Any], *, model_types: Collection[str]) -> PreTrainedConfig:
    """The config that `raw` (a parsed config.json) describes, from allowed keys only.

    `auto_map`, `quantization_config` and everything about implementations never pass. Raises
    `UnloadableVersion` for a model type outside `model_types` or a value out of bounds.
    """
    model_type = raw.get("model_type")
    if not isinstance(model_type, str) or model_type not in model_types:
        raise UnloadableVersion(f"model_type {model_type!r} is not one of {', '.join(sorted(model_types))}.")
    for key, allowed in REQUIRED_VALUES.items():
        if raw.get(key) not in allowed:
            raise UnloadableVersion(f"config.json: {key} {raw[key]!r} is not supported.")
    config_class = CONFIG_MAPPING[model_type]
    own = honoured_keys(config_class)
    if "id2label" not in raw:
        own = own | {"num_labels"}
    kept = {key: value for key, value in raw.items() if key in own and _is_describing(key)}
    for key, value in kept.items():
        check_value(key, value)
    try:
        config: PreTrainedConfig = config_class(**kept)
    except Exception as error:  # whatever its validators make of a stranger's values
        raise UnloadableVersion(f"config.json does not describe a {model_type} model: {error}") from error
    return config


def honoured_keys(config_class: type[PreTrainedConfig]) -> set[str]:
    """The keys of a config.json that reach the model."""
    own = {field.name for field in dataclasses.fields(config_class)}
    own -= {field.name for field in dataclasses.fields(PreTrainedConfig)} - SHARED_KEYS
    return own | set(config_class.attribute_map)


def _is_describing(key: str) -> bool:
    return not (key.startswith("_") or "implementation" in key or key in {"auto_map", "quantization_config"})


def check_value(key: str, value: Any, *, depth: int = 0) -> None:
    """Refuse what is too large, too deep, not finite, or no JSON scalar, list or object."""
    if value is None or isinstance(value, bool):
        return
    if isinstance(value, int | float):
        if not math.isfinite(value) or abs(value) > _bound(key):
            raise UnloadableVersion(f"config.json: {key} {value} is out of bounds.")
    elif isinstance(value, str):
        if len(value) > MAX_TEXT:
            raise UnloadableVersion(f"config.json: {key} is longer than {MAX_TEXT} characters.")
    elif isinstance(value, list | dict) and depth < MAX_DEPTH and len(value) <= MAX_ITEMS:
        items = value.items() if isinstance(value, dict) else ((key, item) for item in value)
        for name, item in items:
            check_value(str(name), item, depth=depth + 1)
    else:
        raise UnloadableVersion(f"config.json: {key} is too large or too deep.")


def _bound(key: str) -> int:
    return next((most for word, most in MAX_BY_WORD if word in key), MAX_NUMBER)
