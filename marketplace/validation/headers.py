"""safetensors headers, read without trusting them and without touching the weights.

Format: 8 bytes of little-endian header length, the header as JSON, the data. Its own limit of 100 MB of
header is too wide for us, and it says nothing about the number of tensors.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from marketplace.validation.report import LocalFile, Refusal, error

MAX_HEADER_BYTES = 8 * 2**20
MAX_TENSORS = 50_000
MAX_DIMENSIONS = 8
ITEM_BYTES: Mapping[str, int] = {
    "F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "I16": 2, "I8": 1, "U8": 1, "BOOL": 1,
}  # fmt: skip
# How a stranger's file gives itself away: zip (torch.save), pickle protocols 2 to 5, gzip.
FOREIGN_MAGIC: Mapping[bytes, str] = {
    b"PK\x03\x04": "a PyTorch archive of pickles",
    b"\x80\x02": "a pickle",
    b"\x80\x03": "a pickle",
    b"\x80\x04": "a pickle",
    b"\x80\x05": "a pickle",
    b"\x1f\x8b": "a gzip archive",
    b"GGUF": "a GGUF file",
    b"\x89HDF": "an HDF5 file",
}


@dataclass(frozen=True, slots=True)
class Tensor:
    """One entry: dtype by its safetensors name, shape, bytes."""

    dtype: str
    shape: tuple[int, ...]
    size: int

    @property
    def count(self) -> int:
        return math.prod(self.shape)


def read_header(name: str, file: LocalFile) -> dict[str, Tensor]:
    """The tensors of one file by name. Raises `Refusal`.

    Their data must fill the rest of the file without gap or overlap, so that nothing else hides in it.
    """
    with file.open() as stream:
        prefix = stream.read(8)
        _refuse_foreign(name, prefix)
        length = int.from_bytes(prefix, "little") if len(prefix) == 8 else 0
        if not 2 <= length <= min(MAX_HEADER_BYTES, file.size - 8):
            message = (
                f"The header claims {length} bytes in a file of {file.size}; at most {MAX_HEADER_BYTES}."
            )
            raise Refusal(error(name, "header-size", message, "Save the weights again with safetensors."))
        text = stream.read(length)
    entries = _parse(name, text)
    tensors, spans = {}, []
    for key, entry in entries.items():
        tensors[key], span = _read_entry(name, key, entry)
        spans.append(span)
    _check_spans(name, spans, data_bytes=file.size - 8 - length)
    return tensors


def _refuse_foreign(name: str, prefix: bytes) -> None:
    for magic, kind in FOREIGN_MAGIC.items():
        # A real header of these lengths would be far over the limit, or leave no room for its own braces.
        if prefix.startswith(magic) and int.from_bytes(prefix, "little") > MAX_HEADER_BYTES:
            remedy = "Convert the weights to safetensors; renaming a file does not convert it."
            raise Refusal(error(name, "not-safetensors", f"This is {kind}, not safetensors.", remedy))


def _parse(name: str, text: bytes) -> dict[str, Any]:
    try:
        entries = json.loads(text, object_pairs_hook=_unique)
    except (ValueError, RecursionError) as problem:
        raise Refusal(
            error(name, "header-json", f"The header is not sound JSON: {problem}"[:300])
        ) from problem
    if not isinstance(entries, dict):
        raise Refusal(error(name, "header-json", "The header must be a JSON object."))
    entries.pop("__metadata__", None)
    if not 1 <= len(entries) <= MAX_TENSORS:
        message = f"{len(entries)} tensors; from 1 to {MAX_TENSORS} are taken."
        raise Refusal(error(name, "tensor-count", message))
    return entries


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name occurs twice")
    return found


def _read_entry(file: str, name: str, entry: Any) -> tuple[Tensor, tuple[int, int]]:
    try:
        dtype, shape, (begin, end) = entry["dtype"], tuple(entry["shape"]), entry["data_offsets"]
        sound = (
            dtype in ITEM_BYTES
            and len(shape) <= MAX_DIMENSIONS
            and all(type(side) is int and 0 <= side < 2**40 for side in shape)
            and type(begin) is int
            and type(end) is int
            and 0 <= begin <= end
            and end - begin == math.prod(shape) * ITEM_BYTES[dtype]
        )
    except (KeyError, TypeError, ValueError):
        sound, dtype = False, None
    if isinstance(dtype, str) and dtype not in ITEM_BYTES:
        message = f"Tensor {name[:120]!r} has the dtype {dtype[:20]!r}; taken are {', '.join(ITEM_BYTES)}."
        raise Refusal(error(file, "dtype", message, "Publish float weights: F32, F16 or BF16."))
    if not sound:
        message = f"Tensor {name[:120]!r}: dtype, shape and offsets do not agree."
        raise Refusal(error(file, "tensor-entry", message, "Save the weights again with safetensors."))
    return Tensor(dtype=dtype, shape=shape, size=end - begin), (begin, end)


def _check_spans(file: str, spans: list[tuple[int, int]], *, data_bytes: int) -> None:
    position = 0
    for begin, end in sorted(spans):
        if begin != position:
            kind = "overlap" if begin < position else "leave a gap"
            raise Refusal(
                error(file, "tensor-layout", f"Tensors {kind} at byte {min(begin, position)} of the data.")
            )
        position = end
    if position != data_bytes:
        message = f"Tensors take {position} bytes, but {data_bytes} follow the header."
        raise Refusal(error(file, "tensor-layout", message, "The file may be cut off; send it again."))
