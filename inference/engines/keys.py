"""What each key of a config.json means here: honoured, known to change nothing, or refused by its name.

Of what a file says, an engine takes the keys that it honours. The class of transformers for the model's type tells
which other keys the reference would read: of those, some change nothing in an answer, and the rest must hold the
class's own default. What that class does not know, it ignores, and so do we, but we say so.
"""

import dataclasses
from collections.abc import Collection, Mapping
from typing import Any

from transformers import PreTrainedConfig

from inference.engines.base import Note, UnloadableVersion

FILE = "config.json"
# They say where a model came from, how it was trained or how its memory is used.
IDLE = frozenset({
    "_name_or_path", "architectures", "auto_map", "attn_implementation", "chunk_size_feed_forward", "dtype", "gradient_checkpointing",
    "id2label", "initializer_range", "is_encoder_decoder", "label2id", "matryoshka_dimensions", "model_type", "num_labels",
    "output_attentions", "output_hidden_states", "output_past", "pretraining_tp", "problem_type",
    "return_dict", "task_specific_params", "torch_dtype", "transformers_version", "use_cache",
    # Of GPT-2: heads that this task does not have.
    "summary_activation", "summary_first_dropout", "summary_proj_to_labels", "summary_type", "summary_use_proj",
    # Of GPT-NeoX, which is a decoder whatever this says.
    "is_decoder",
})  # fmt: skip
# Code of transformers looks for these in the config of any model, also where its class does not list them.
LOOKED_FOR = frozenset({
    "attention_chunk_size", "embedding_size", "fusion_config", "head_dim", "is_causal", "kv_sharing_modes", "layer_types",
    "pruned_heads", "quantization_config", "sliding_window", "use_bidirectional_attention",
})  # fmt: skip
_NOTHING: tuple[Any, ...] = (None, False, [], {})
MOST_NAMED = 12


def judge(
    raw: Mapping[str, Any], *, config_class: type[PreTrainedConfig], honoured: Collection[str]
) -> tuple[Note, ...]:
    """What to tell of the keys in `raw` that have no effect. Raises `UnloadableVersion` for one that would have."""
    read = known_keys(config_class)
    unknown = []
    for key, value in raw.items():
        if key in honoured or is_idle(key):
            continue
        if key in LOOKED_FOR:
            _require(key, value, allowed=_NOTHING)
        elif key in read:
            _require(key, value, allowed=(None, getattr(config_class, key, None)))
        else:
            unknown.append(key)
    return (note_unknown(unknown, config_class),) if unknown else ()


def known_keys(config_class: type[PreTrainedConfig]) -> set[str]:
    """Every key that the class reads."""
    return {field.name for field in dataclasses.fields(config_class)} | set(config_class.attribute_map)


def is_idle(key: str) -> bool:
    """Whether a key of this name changes nothing in an answer, in any model."""
    return key in IDLE or "dropout" in key or key.endswith("_pdrop") or "implementation" in key


def note_unknown(names: Collection[str], config_class: type[PreTrainedConfig]) -> Note:
    listed = ", ".join(name[:60] for name in sorted(names)[:MOST_NAMED])
    more = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
    return Note(
        FILE,
        f"Without effect, as {config_class.__name__} of transformers does not know them: {listed}{more}.",
    )


def _require(key: str, value: Any, *, allowed: tuple[Any, ...]) -> None:
    if not any(value == same for same in allowed):
        raise UnloadableVersion(f"{FILE}: {key} {str(value)[:80]} is not supported.")
