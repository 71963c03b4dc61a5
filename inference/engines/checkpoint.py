"""Read safetensors without trusting them: headers first, memory only when every shape fits the model."""

import json
import os
import re
import struct
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import huggingface_hub.constants
import torch
from safetensors import safe_open
from torch import nn
from transformers import PreTrainedModel
from transformers.conversion_mapping import get_model_conversion_mapping
from transformers.core_model_loading import WeightConverter, WeightRenaming, rename_source_key
from transformers.utils.logging import disable_progress_bar

from inference.engines.base import Note, UnloadableVersion

Header = dict[str, tuple[str, tuple[int, ...]]]
Model = TypeVar("Model", bound=nn.Module)

# The format allows 100 MB of header; ours is what real checkpoints of our sizes need, with room.
MAX_HEADER_BYTES = 8 * 2**20
MAX_TENSORS = 50_000
MAX_JSON_BYTES = 4 * 2**20
MOST_NAMED = 12
ITEM_BYTES = {
    "F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "I16": 2, "I8": 1, "U8": 1, "BOOL": 1,
}  # fmt: skip
WEIGHT_DTYPES = frozenset({"F64", "F32", "F16", "BF16"})


def forbid_network() -> None:
    """Make huggingface_hub refuse every request of this process, now and in its children."""
    os.environ["HF_HUB_OFFLINE"] = "1"
    huggingface_hub.constants.HF_HUB_OFFLINE = True


def read_json(path: Path) -> dict[str, Any]:
    """The JSON object in `path`. Raises `UnloadableVersion` if it is missing, huge or no object."""
    try:
        with path.open("rb") as file:
            text = file.read(MAX_JSON_BYTES + 1)
    except OSError as error:
        raise UnloadableVersion(f"{path.name} is missing or cannot be read.") from error
    if len(text) > MAX_JSON_BYTES:
        raise UnloadableVersion(f"{path.name} is larger than {MAX_JSON_BYTES} bytes.")
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UnloadableVersion(f"{path.name} is not valid JSON.") from error
    if not isinstance(value, dict):
        raise UnloadableVersion(f"{path.name} must hold a JSON object.")
    return value


def find_weights(directory: Path) -> list[Path]:
    """The safetensors files of a version: those of its index if it has one, else `model.safetensors`."""
    index = directory / "model.safetensors.index.json"
    if not index.exists():
        return [_weight_file(directory, "model.safetensors")]
    names = read_json(index).get("weight_map")
    if not isinstance(names, dict) or not names:
        raise UnloadableVersion("model.safetensors.index.json has no weight_map.")
    return [_weight_file(directory, name) for name in sorted({str(name) for name in names.values()})]


def _weight_file(directory: Path, name: str) -> Path:
    if name != Path(name).name or not name.endswith(".safetensors"):
        raise UnloadableVersion(f"{name!r} is not a safetensors file of this version.")
    if not (directory / name).is_file():
        raise UnloadableVersion(f"{name} is missing: weights must be in safetensors files.")
    return directory / name


def read_header(path: Path) -> Header:
    """Tensor names of one safetensors file with their (dtype, shape), without reading any weights.

    Raises `UnloadableVersion` when the header is oversized or malformed, or disagrees with the file's size.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        prefix = file.read(8)
        length = struct.unpack("<Q", prefix)[0] if len(prefix) == 8 else 0
        if not 2 <= length <= min(MAX_HEADER_BYTES, size - 8):
            raise UnloadableVersion(f"{path.name}: header of {length} bytes in a file of {size} bytes.")
        try:
            entries = json.loads(file.read(length))
        except (ValueError, RecursionError) as error:
            raise UnloadableVersion(f"{path.name}: the header is not valid JSON.") from error
    if not isinstance(entries, dict):
        raise UnloadableVersion(f"{path.name}: the header must be a JSON object.")
    entries.pop("__metadata__", None)
    if len(entries) > MAX_TENSORS:
        raise UnloadableVersion(f"{path.name}: {len(entries)} tensors, at most {MAX_TENSORS} are allowed.")
    return {name: _check_entry(path.name, name, entry, size - 8 - length) for name, entry in entries.items()}


def _check_entry(file: str, name: str, entry: Any, data_bytes: int) -> tuple[str, tuple[int, ...]]:
    try:
        dtype, shape, (begin, end) = entry["dtype"], tuple(entry["shape"]), entry["data_offsets"]
        count = 1
        for side in shape:
            if type(side) is not int or not 0 <= side < 2**40:
                raise ValueError(f"side {side!r}")
            count *= side
        fits = 0 <= begin <= end <= data_bytes and end - begin == count * ITEM_BYTES[dtype]
    except (KeyError, TypeError, ValueError) as error:
        raise UnloadableVersion(f"{file}: tensor {name[:200]!r} has an entry we cannot read.") from error
    if not fits:
        raise UnloadableVersion(f"{file}: tensor {name[:200]!r} does not fit its file.")
    return dtype, shape


def read_headers(files: Sequence[Path]) -> Header:
    """The headers of all `files` together. Raises `UnloadableVersion` if two files hold one name."""
    merged: Header = {}
    for path in files:
        header = read_header(path)
        if twice := sorted(merged.keys() & header.keys()):
            raise UnloadableVersion(f"Tensor {twice[0][:200]!r} is in more than one weight file.")
        merged.update(header)
    return merged


def check_shapes(model_on_meta: nn.Module, headers: Header) -> dict[str, str]:
    """Which file tensor fills which model tensor (model name to file name), if all of them fit.

    `model_on_meta` was built under `torch.device("meta")`, so nothing is allocated yet. File tensors that
    the model does not know (a head that is not used, say) are left out. Raises `UnloadableVersion` naming
    the first tensors that are missing, misshapen or not floating point.
    """
    wanted = model_on_meta.state_dict()
    sources = _match_names(model_on_meta, wanted, headers)
    # `all_tied_weights_keys` maps a tied parameter to the one that it shares storage with.
    tied: Mapping[str, str] = getattr(model_on_meta, "all_tied_weights_keys", None) or {}
    satisfied = sources.keys() | {name for name, other in tied.items() if other in sources}
    satisfied |= {other for name, other in tied.items() if name in sources}
    problems = [f"{name} is missing" for name in wanted if name not in satisfied]
    for name, source in sources.items():
        dtype, shape = headers[source]
        if shape != tuple(wanted[name].shape):
            problems.append(f"{source} has shape {list(shape)}, the config says {list(wanted[name].shape)}")
        elif wanted[name].is_floating_point() and dtype not in WEIGHT_DTYPES:
            problems.append(f"{source} is {dtype}, not floating point")
    if problems:
        more = f" and {len(problems) - 3} more" if len(problems) > 3 else ""
        raise UnloadableVersion(f"The weights do not fit the config: {'; '.join(problems[:3])}{more}.")
    return sources


def note_left_out(names: Collection[str]) -> tuple[Note, ...]:
    """What to tell of tensors that are in the files and not in the model."""
    if not names:
        return ()
    # One name for all layers.
    kinds = sorted({re.sub(r"\d+", "*", name)[:80] for name in names})
    listed = ", ".join(kinds[:MOST_NAMED]) + (
        f" and {len(kinds) - MOST_NAMED} more" if len(kinds) > MOST_NAMED else ""
    )
    message = f"Left out, as the model computes or needs none of them: {listed}."
    return (Note("model.safetensors", message),)


def _match_names(model: nn.Module, wanted: Mapping[str, Any], headers: Header) -> dict[str, str]:
    if not isinstance(model, PreTrainedModel):
        return {name: name for name in wanted if name in headers}
    # transformers renames tensors of older checkpoints while loading; ask it for the same names.
    mapping = get_model_conversion_mapping(model)
    renamings = [entry for entry in mapping if isinstance(entry, WeightRenaming)]
    converters = [entry for entry in mapping if isinstance(entry, WeightConverter)]
    known = dict(wanted)
    found: dict[str, str] = {}
    for source in headers:
        name, converted = rename_source_key(source, renamings, converters, model.base_model_prefix, known)
        if name not in known and source in known:
            name, converted = source, None
        if converted is not None and name in known:
            raise UnloadableVersion(f"Tensor {source[:200]!r} is in a fused layout that is not supported.")
        if name in known and found.setdefault(name, source) != source:
            raise UnloadableVersion(f"Tensors {found[name][:200]!r} and {source[:200]!r} are both {name}.")
    return found


def load_state(
    model: Model,
    files: Sequence[Path],
    device: str | torch.device,
    *,
    dtype: torch.dtype = torch.float32,
    options: Mapping[str, Any] | None = None,
) -> Model:
    """A loaded, evaluating copy of `model` (which is on meta) on `device`, its floating weights in `dtype`.

    Checks every header first, and reads only the tensors that the model wants. `options` are the keyword
    arguments that built `model`, beside its config.
    """
    sources = check_shapes(model, read_headers(files))
    state = _read_tensors(set(sources.values()), files)
    if isinstance(model, PreTrainedModel):
        forbid_network()
        disable_progress_bar()  # type: ignore[no-untyped-call]
        loaded: Any = type(model).from_pretrained(
            None, config=model.config, state_dict=state, dtype=dtype, **(options or {})
        )
    else:
        loaded = model
        loaded.load_state_dict({name: state[source] for name, source in sources.items()}, assign=True)
        loaded.to(dtype=dtype)
    loaded.requires_grad_(False)
    ready: Model = loaded.to(device).eval()
    return ready


def _read_tensors(names: set[str], files: Sequence[Path]) -> dict[str, torch.Tensor]:
    state: dict[str, torch.Tensor] = {}
    for path in files:
        with safe_open(path, framework="pt", device="cpu") as file:
            state.update({name: file.get_tensor(name) for name in names.intersection(file.keys())})
    return state
