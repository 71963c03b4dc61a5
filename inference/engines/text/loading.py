"""From a version's directory to a model ready to run: nothing in it is trusted, nothing is fetched."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors import safe_open
from transformers import PreTrainedConfig, PreTrainedModel

from inference.engines import keys
from inference.engines.base import Manifest, Note, UnloadableVersion
from inference.engines.checkpoint import note_left_out
from inference.engines.text import configuration, weights
from inference.engines.text.configuration import Shape
from inference.engines.text.detokenizer import TokenBytes

LARGEST_JSON_BYTES = 4 * 2**20


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """A model in eval mode on its device, and the facts beside it."""

    model: PreTrainedModel
    shape: Shape
    token_bytes: TokenBytes
    eos_ids: frozenset[int]
    weight_bytes: int
    notes: tuple[Note, ...] = ()


def load(directory: Path, *, manifest: Manifest, device: str) -> Loaded:
    """Build the model that config.json describes and fill it. Raises `UnloadableVersion`."""
    raw = read_json(directory / "config.json")
    architecture, kept = configuration.rebuild(raw)
    if manifest.architecture not in {architecture.class_name, raw.get("model_type")}:
        raise UnloadableVersion(
            f"The manifest says {manifest.architecture!r}; config.json describes {architecture.class_name!r}."
        )
    model_class: type[PreTrainedModel] = getattr(transformers, architecture.class_name)
    notes = keys.judge(raw, config_class=model_class.config_class, honoured=architecture.keys)  # type: ignore[arg-type]
    config = _build_config(model_class, kept)
    headers = weights.read_headers(directory)
    sources = _compare(model_class, config, headers, renames=architecture.renames)
    dtype = getattr(torch, configuration.dtype_of(raw) or weights.common_dtype(headers.values()))
    model = _fill(model_class, config, headers, sources, dtype=dtype, device=device)
    return Loaded(
        model=model,
        shape=_measure(config),
        token_bytes=TokenBytes(directory),
        eos_ids=_find_eos(directory, config),
        weight_bytes=sum(p.numel() * p.element_size() for p in model.parameters()),
        notes=notes + note_left_out(headers.keys() - set(sources.values())),
    )


def read_json(path: Path) -> dict[str, Any]:
    """A small JSON object from a file. Raises `UnloadableVersion`."""
    try:
        if path.stat().st_size > LARGEST_JSON_BYTES:
            raise UnloadableVersion(f"{path.name} is larger than {LARGEST_JSON_BYTES} bytes.")
        value = json.loads(path.read_bytes())
    except FileNotFoundError as error:
        raise UnloadableVersion(f"{path.name} is missing.") from error
    except ValueError as error:
        raise UnloadableVersion(f"{path.name} is not valid JSON.") from error
    if not isinstance(value, dict):
        raise UnloadableVersion(f"{path.name} must hold an object.")
    return value


def _build_config(model_class: type[PreTrainedModel], kept: Mapping[str, Any]) -> PreTrainedConfig:
    try:
        config = model_class.config_class(**kept)  # type: ignore[misc]
    except Exception as error:  # its validators raise many kinds
        raise UnloadableVersion(f"config.json does not describe a model: {error}") from error
    config._attn_implementation = "sdpa"
    return config


def _compare(
    model_class: type[PreTrainedModel],
    config: PreTrainedConfig,
    headers: Mapping[str, weights.Header],
    *,
    renames: Mapping[str, str],
) -> dict[str, str]:
    """Match headers with the model as built without memory. Which tensor fills which parameter."""
    try:
        with torch.device("meta"):
            blank = model_class(config)
    except Exception as error:  # sizes that contradict each other fail in many ways
        raise UnloadableVersion(f"config.json does not describe a model: {error}") from error
    expected = {name: tuple(tensor.shape) for name, tensor in blank.state_dict().items()}
    return weights.match_names(
        headers,
        expected,
        prefix=blank.base_model_prefix,
        renames=renames,
        tied=blank.all_tied_weights_keys,
        ignorable=blank._keys_to_ignore_on_load_unexpected or (),
    )


def _fill(
    model_class: type[PreTrainedModel],
    config: PreTrainedConfig,
    headers: Mapping[str, weights.Header],
    sources: Mapping[str, str],
    *,
    dtype: torch.dtype,
    device: str,
) -> PreTrainedModel:
    state: dict[str, torch.Tensor] = {}
    by_tensor = {tensor: parameter for parameter, tensor in sources.items()}
    for path in {header.file for header in headers.values()}:
        with safe_open(path, framework="pt", device="cpu") as file:
            for tensor in set(file.keys()) & set(by_tensor):
                state[by_tensor[tensor]] = file.get_tensor(tensor).to(dtype)
    transformers.utils.logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    built: Any = model_class.from_pretrained(
        None,
        config=config,
        state_dict=state,
        dtype=dtype,
        attn_implementation="sdpa",
        output_loading_info=True,
    )
    model, report = built
    wrong = [*report["missing_keys"], *report["unexpected_keys"], *report["mismatched_keys"]]
    if wrong:
        raise UnloadableVersion(f"{len(wrong)} tensors did not load, the first is {wrong[0]!r}.")
    loaded: PreTrainedModel = model.to(device).eval()
    return loaded.requires_grad_(False)


def _measure(config: PreTrainedConfig) -> Shape:
    """The shape with the class's own defaults filled in."""
    heads = config.num_attention_heads
    return Shape(
        layers=config.num_hidden_layers,
        kv_heads=getattr(config, "num_key_value_heads", None) or heads,
        head_dim=getattr(config, "head_dim", None) or config.hidden_size // heads,
        hidden=config.hidden_size,
        vocab=config.vocab_size,
        positions=config.max_position_embeddings,
    )


def _find_eos(directory: Path, config: PreTrainedConfig) -> frozenset[int]:
    """The ends that generation_config.json names, else those of the config, as transformers takes them."""
    path = directory / "generation_config.json"
    named = read_json(path).get("eos_token_id") if path.exists() else None
    if named is None:
        named = config.eos_token_id
    return frozenset(token for token in (named if isinstance(named, list) else [named]) if type(token) is int)
