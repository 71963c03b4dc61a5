"""Rebuild a causal model's config.json from allowed keys and bounded values. No torch here.

A config is a stranger's file: `auto_map` names code, `*implementation*` names kernels to fetch, and a
hundred thousand layers hang the loader. What is not listed here is dropped; what is out of bounds, or
would change the answer in a way the engine does not reproduce, is refused.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from inference.engines.base import UnloadableVersion

ACTIVATIONS = {"silu", "swish", "gelu", "gelu_new", "gelu_fast", "gelu_pytorch_tanh", "relu", "quick_gelu"}
ROPE_TYPES = {"default", "linear", "llama3", "yarn"}
DTYPES = {"float32", "float16", "bfloat16"}

LARGEST: dict[str, int] = {
    "vocab_size": 2_000_000,
    "hidden_size": 65_536,
    "intermediate_size": 524_288,
    "num_hidden_layers": 256,
    "num_attention_heads": 1024,
    "num_key_value_heads": 1024,
    "head_dim": 1024,
    "max_position_embeddings": 16_777_216,
    "sliding_window": 16_777_216,
    "max_window_layers": 256,
    "n_embd": 65_536,
    "n_inner": 524_288,
    "n_layer": 256,
    "n_head": 1024,
    "n_positions": 16_777_216,
    "original_max_position_embeddings": 16_777_216,
}

_COMMON = frozenset({"vocab_size", "bos_token_id", "eos_token_id", "pad_token_id", "tie_word_embeddings"})
_DECODER = _COMMON | {
    *("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads"),
    *("hidden_act", "max_position_embeddings", "rope_parameters", "rope_scaling", "rope_theta", "head_dim"),
}
_GROUPED = _DECODER | {"num_key_value_heads", "rms_norm_eps"}
_WINDOWED = frozenset({"use_sliding_window", "sliding_window", "max_window_layers", "layer_types"})

_REFUSED_WHEN_TRUE = ("add_cross_attention", "reorder_and_upcast_attn", "use_bidirectional_attention")
# Both sets hold for GPT-2, whose class knows either name.
_GPT2_SIZES = frozenset(
    {"hidden_size", "max_position_embeddings", "num_attention_heads", "num_hidden_layers"}
)


@dataclass(frozen=True, slots=True)
class Architecture:
    """A causal model the engine is tested to reproduce, and the config keys that define it.

    `renames` are tensors that files call by another name than the class does.
    """

    class_name: str
    keys: frozenset[str]
    renames: Mapping[str, str] = field(default_factory=dict)


ARCHITECTURES: dict[str, Architecture] = {
    "llama": Architecture("LlamaForCausalLM", _GROUPED | {"attention_bias", "mlp_bias"}),
    "mistral": Architecture("MistralForCausalLM", _GROUPED | {"sliding_window"}),
    "qwen2": Architecture("Qwen2ForCausalLM", _GROUPED | _WINDOWED),
    "qwen3": Architecture("Qwen3ForCausalLM", _GROUPED | _WINDOWED | {"attention_bias"}),
    "phi3": Architecture(
        "Phi3ForCausalLM",
        _GROUPED | {"sliding_window", "partial_rotary_factor", "original_max_position_embeddings"},
    ),
    "gemma": Architecture("GemmaForCausalLM", _GROUPED | {"attention_bias"}),
    "gpt2": Architecture(
        "GPT2LMHeadModel",
        _COMMON
        | _GPT2_SIZES
        | {
            *("n_positions", "n_embd", "n_layer", "n_head", "n_inner", "activation_function"),
            *("layer_norm_epsilon", "scale_attn_weights", "scale_attn_by_inverse_layer_idx"),
        },
    ),
    "gpt_neox": Architecture(
        "GPTNeoXForCausalLM",
        _DECODER
        | {"layer_norm_eps", "use_parallel_residual", "attention_bias", "rotary_pct", "rotary_emb_base"},
        renames={"embed_out.weight": "lm_head.weight"},
    ),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """What memory arithmetic needs to know of a model; counts, and lengths in tokens."""

    layers: int
    kv_heads: int
    head_dim: int
    hidden: int
    vocab: int
    positions: int


def rebuild(raw: Mapping[str, Any]) -> tuple[Architecture, dict[str, Any]]:
    """The architecture and the safe keys of a raw config. Raises `UnloadableVersion`."""
    architecture = architecture_of(raw)
    for key in _REFUSED_WHEN_TRUE:
        if raw.get(key):
            raise UnloadableVersion(f"config.json sets {key}, which this engine does not run.")
    kept = {key: raw[key] for key in architecture.keys if key in raw}
    for key, value in kept.items():
        # null is a value of its own: it turns a default off.
        if value is not None:
            _check(key, value)
    return architecture, kept


def architecture_of(raw: Mapping[str, Any]) -> Architecture:
    """The allowed architecture that a raw config names. Raises `UnloadableVersion`."""
    model_type = raw.get("model_type")
    if not isinstance(model_type, str) or model_type not in ARCHITECTURES:
        allowed = ", ".join(sorted(ARCHITECTURES))
        raise UnloadableVersion(f"config.json has model_type {model_type!r}; supported are {allowed}.")
    if raw.get("quantization_config"):
        raise UnloadableVersion("Quantised weights are not supported; publish float weights.")
    return ARCHITECTURES[model_type]


def shape_of(raw: Mapping[str, Any]) -> Shape:
    """The shape that a raw config describes. Raises `UnloadableVersion`."""
    _, config = rebuild(raw)
    hidden = _needed(config, "hidden_size", "n_embd")
    heads = _needed(config, "num_attention_heads", "n_head")
    return Shape(
        layers=_needed(config, "num_hidden_layers", "n_layer"),
        kv_heads=config.get("num_key_value_heads") or heads,
        head_dim=config.get("head_dim") or hidden // heads,
        hidden=hidden,
        vocab=_needed(config, "vocab_size"),
        positions=_needed(config, "max_position_embeddings", "n_positions"),
    )


def dtype_of(raw: Mapping[str, Any]) -> str | None:
    """The floating type the config asks for, if it says one. Raises `UnloadableVersion`."""
    name = raw.get("dtype") or raw.get("torch_dtype")
    if name is None:
        return None
    if name not in DTYPES:
        raise UnloadableVersion(f"config.json asks for dtype {name!r}; supported are {sorted(DTYPES)}.")
    return str(name)


def _needed(config: Mapping[str, Any], *names: str) -> int:
    for name in names:
        if config.get(name) is not None:
            return int(config[name])
    raise UnloadableVersion(f"config.json lacks {names[0]}.")


def _check(key: str, value: Any) -> None:
    if key in LARGEST:
        _check_count(key, value, largest=LARGEST[key])
    elif key in ("hidden_act", "activation_function"):
        if value not in ACTIVATIONS:
            raise UnloadableVersion(f"config.json asks for {key} {value!r}; it is not supported.")
    elif key in ("rope_parameters", "rope_scaling"):
        _check_rope(key, value)
    elif key == "layer_types":
        if not isinstance(value, list) or not set(value) <= {"full_attention", "sliding_attention"}:
            raise UnloadableVersion("config.json has layer_types this engine does not run.")
    elif key.endswith("_token_id"):
        _check_token_ids(key, value)
    elif not isinstance(value, bool | int | float):
        raise UnloadableVersion(f"config.json has {key} {value!r}; a number or a flag is expected.")


def _check_count(key: str, value: Any, *, largest: int) -> None:
    if type(value) is not int or not 0 < value <= largest:
        raise UnloadableVersion(f"config.json has {key} {value!r}; it must be from 1 to {largest}.")


def _check_token_ids(key: str, value: Any) -> None:
    ids = value if isinstance(value, list) else [value]
    if not all(type(token) is int for token in ids) or len(ids) > 64:
        raise UnloadableVersion(f"config.json has {key} {value!r}; token ids are expected.")


def _check_rope(key: str, value: Any) -> None:
    """Position-independent scalings only: "dynamic" and "longrope" look at the longest row of a batch."""
    if not isinstance(value, dict):
        raise UnloadableVersion(f"config.json has {key} {value!r}; an object is expected.")
    kind = value.get("rope_type", value.get("type", "default"))
    if kind not in ROPE_TYPES:
        raise UnloadableVersion(f"config.json asks for rotary scaling {kind!r}; it is not supported.")
    for name, number in value.items():
        if name not in ("rope_type", "type") and not isinstance(number, bool | int | float):
            raise UnloadableVersion(f"config.json has {key}.{name} {number!r}; a number is expected.")
