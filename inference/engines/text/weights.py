"""Read safetensors headers and compare them with a model before a weight is allocated. No torch here."""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from inference.engines.base import UnloadableVersion

LARGEST_HEADER_BYTES = 16 * 2**20
MOST_TENSORS = 50_000
ITEM_BYTES = {
    "F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "I16": 2, "I8": 1, "U8": 1, "BOOL": 1,
}  # fmt: skip
FLOATS = {"F32", "F16", "BF16"}
# Buffers that models of today compute when they are built, and that older files hold too.
RECOMPUTED = (
    r"(^|\.)rotary_emb\.(original_)?inv_freq$",
    r"(^|\.)rotary_emb\.(cos|sin)_cached$",
    r"(^|\.)position_ids$",
    r"(^|\.)h\.\d+\.attn\.(masked_)?bias$",
    r"(^|\.)layers\.\d+\.attention\.(masked_)?bias$",
)


@dataclass(frozen=True, slots=True)
class Header:
    """One tensor as its file describes it."""

    file: Path
    name: str
    dtype: str
    shape: tuple[int, ...]


def read_headers(directory: Path) -> dict[str, Header]:
    """Every tensor in the directory's safetensors files, by name. Raises `UnloadableVersion`."""
    headers: dict[str, Header] = {}
    for path in sorted(directory.glob("*.safetensors")):
        for header in _read_file(path):
            if header.name in headers:
                raise UnloadableVersion(f"The tensor {header.name!r} is in two files.")
            headers[header.name] = header
    if not headers:
        raise UnloadableVersion("There are no weights: at least one .safetensors file is needed.")
    return headers


def match_names(
    headers: Mapping[str, Header],
    expected: Mapping[str, tuple[int, ...]],
    *,
    prefix: str,
    renames: Mapping[str, str],
    tied: Iterable[str],
    ignorable: Iterable[str],
) -> dict[str, str]:
    """Which file tensor fills each parameter (parameter to tensor). Raises `UnloadableVersion` on any other.

    `prefix` may be missing in the files (weights saved without the head), `tied` parameters may be absent,
    and names that match a pattern of `RECOMPUTED` or `ignorable` are left out.
    """
    sources: dict[str, str] = {}
    for name, header in headers.items():
        known = renames.get(name, name)
        target = known if known in expected else f"{prefix}.{known}"
        if target in expected:
            _check_shape(header, expected[target])
            sources[target] = name
        elif not any(re.search(pattern, name) for pattern in (*RECOMPUTED, *ignorable)):
            raise UnloadableVersion(f"The tensor {name!r} is not in the model that config.json describes.")
    missing = sorted(set(expected) - set(sources) - set(tied))
    if missing:
        raise UnloadableVersion(f"{len(missing)} tensors are missing, the first is {missing[0]!r}.")
    return sources


def common_dtype(headers: Iterable[Header]) -> str:
    """The floating type, in torch's name, of most tensors."""
    names = {"F32": "float32", "F16": "float16", "BF16": "bfloat16"}
    kinds = [names[h.dtype] for h in headers if h.dtype in names]
    return max(set(kinds), key=kinds.count)


def _check_shape(header: Header, expected: tuple[int, ...]) -> None:
    if header.shape != expected:
        raise UnloadableVersion(
            f"The tensor {header.name!r} has shape {list(header.shape)}, not {list(expected)} as in config.json."
        )
    if header.dtype not in FLOATS:
        raise UnloadableVersion(f"The tensor {header.name!r} has type {header.dtype}; supported are floats.")


def _read_file(path: Path) -> list[Header]:
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if size < 8 or length > min(LARGEST_HEADER_BYTES, size - 8):
            raise UnloadableVersion(f"{path.name} is not a safetensors file, or its header is too large.")
        text = file.read(length)
    try:
        entries = json.loads(text)
    except ValueError as error:
        raise UnloadableVersion(f"{path.name} has a broken header.") from error
    if not isinstance(entries, dict) or len(entries) > MOST_TENSORS:
        raise UnloadableVersion(f"{path.name} has a header of the wrong kind, or with too many tensors.")
    entries.pop("__metadata__", None)
    return [_read_entry(path, name, entry, data_bytes=size - 8 - length) for name, entry in entries.items()]


def _read_entry(path: Path, name: str, entry: Any, *, data_bytes: int) -> Header:
    try:
        dtype, shape = entry["dtype"], tuple(entry["shape"])
        start, stop = entry["data_offsets"]
        count = 1
        for dimension in shape:
            count *= dimension
        is_sound = (
            all(type(number) is int and number >= 0 for number in (*shape, start, stop))
            and stop - start == count * ITEM_BYTES[dtype]
            and stop <= data_bytes
        )
    except (KeyError, TypeError, ValueError):
        is_sound = False
    if not is_sound:
        raise UnloadableVersion(f"{path.name} describes the tensor {name!r} wrongly.")
    return Header(path, name, dtype, shape)
