"""Which files a version may have, by name and size alone, so that refusals come before a byte is sent."""

import re
import unicodedata
from collections.abc import Mapping
from pathlib import PurePosixPath

from marketplace.validation.report import Finding, error, info, warning

MAX_FILES = 1000
MAX_PATH_LENGTH = 255
MIB = 2**20

# Largest sizes in bytes. Safetensors are limited by the upload as a whole.
ROOT_FILES: Mapping[str, int] = {
    "config.json": 4 * MIB,
    "generation_config.json": MIB,
    "tokenizer.json": 64 * MIB,
    "tokenizer_config.json": 8 * MIB,
    "special_tokens_map.json": MIB,
    "added_tokens.json": 8 * MIB,
    "vocab.json": 64 * MIB,
    "vocab.txt": 64 * MIB,
    "merges.txt": 64 * MIB,
    "chat_template.jinja": MIB,
    "preprocessor_config.json": MIB,
    "modules.json": MIB,
    "sentence_bert_config.json": MIB,
    "config_sentence_transformers.json": MIB,
    "training.json": 4 * MIB,
    "model.safetensors.index.json": 16 * MIB,
}
MAX_TEXT_BYTES = MIB
TEXT = re.compile(r"(LICEN[CS]E|NOTICE|COPYING)|.+\.(md|txt)", re.IGNORECASE)
WEIGHTS = re.compile(r"model(-\d{5}-of-\d{5})?\.safetensors")
MODULE_CONFIG = re.compile(r"\d{1,2}_(Pooling|Dense|Normalize)/config\.json")
DENSE_WEIGHTS = re.compile(r"\d{1,2}_Dense/model\.safetensors")
# A dense layer of 8,192 by 8,192 numbers.
MAX_DENSE_BYTES = 260 * MIB

PICKLES = frozenset(
    {"bin", "pt", "pth", "pkl", "pickle", "ckpt", "joblib", "dill", "npy", "npz", "mar", "t7", "torch", "ptl"}
)
ARCHIVES = frozenset({"zip", "tar", "gz", "tgz", "bz2", "xz", "7z", "rar", "zst"})
CODE = frozenset({"py", "pyc", "so", "dll", "dylib", "exe", "sh", "bat", "ps1", "ipynb", "js", "wasm"})


def check_names(sizes: Mapping[str, int]) -> tuple[list[str], list[Finding]]:
    """The paths that may belong to a version, sorted, and what there is to say of the others.

    `sizes` maps each declared path to its bytes. Pickles and archives are left out where safetensors lie beside them,
    and refused where nothing else could hold the weights.
    """
    findings = _check_count(sizes)
    has_weights = any(WEIGHTS.fullmatch(path) for path in sizes)
    kept = []
    for path, size in sorted(sizes.items()):
        found = check_path(path) or _check_kind(path, has_weights=has_weights) or _check_size(path, size)
        if found:
            findings.append(found)
        else:
            kept.append(path)
    return kept, findings + _find_twins(kept)


def _check_count(sizes: Mapping[str, int]) -> list[Finding]:
    if not sizes:
        return [error("", "no-files", "There are no files.", "Choose the model's folder.")]
    if len(sizes) > MAX_FILES:
        return [error("", "too-many-files", f"{len(sizes)} files, at most {MAX_FILES} are taken.")]
    return []


def check_path(path: str) -> Finding | None:
    """An error unless the path is plain, relative and leads nowhere else, on any file system."""
    parts = PurePosixPath(path).parts
    hostile = (
        not path
        or path.startswith(("/", "~"))
        or path != "/".join(parts)
        or any(part in (".", "..") or part.endswith((" ", ".")) for part in parts)
        or any(character in path for character in '\\:*?"<>|')
        or any(unicodedata.category(character).startswith("C") for character in path)
    )
    if hostile:
        remedy = "Use plain relative paths, such as config.json."
        return error(
            printable(path), "hostile-path", "The path could lead out of the version's folder.", remedy
        )
    if len(path) > MAX_PATH_LENGTH:
        return error(printable(path), "long-path", f"The path is longer than {MAX_PATH_LENGTH} characters.")
    return None


def printable(path: str) -> str:
    """The path as it can be shown: escaped and short."""
    return path[:120].encode("unicode_escape").decode("ascii")


def _check_kind(path: str, *, has_weights: bool) -> Finding | None:
    suffix = path.rpartition(".")[2].lower() if "." in path else ""
    if suffix in PICKLES | ARCHIVES and has_weights:
        return info(path, "left-out", "Left out: what is kept are the safetensors beside it.")
    if suffix in PICKLES:
        return error(
            path,
            "pickle",
            "This is a pickle format: loading it can run anything its author wrote.",
            "Save the weights with safetensors: model.save_pretrained(folder, safe_serialization=True).",
        )
    if suffix in ARCHIVES:
        return error(path, "archive", "Archives are not unpacked here.", "Send the files it holds.")
    if suffix in CODE:
        return warning(path, "code", "Code is not kept: nothing that a provider wrote is run.")
    if not _is_known(path):
        return info(path, "not-needed", "Not part of what runs; it is not kept.")
    return None


def _is_known(path: str) -> bool:
    if "/" in path:
        return bool(MODULE_CONFIG.fullmatch(path) or DENSE_WEIGHTS.fullmatch(path))
    return path in ROOT_FILES or bool(WEIGHTS.fullmatch(path) or TEXT.fullmatch(path))


def largest(path: str) -> int | None:
    """The most bytes a file of this name may have; None for weights, which the upload limits as a whole."""
    if WEIGHTS.fullmatch(path):
        return None
    if DENSE_WEIGHTS.fullmatch(path):
        return MAX_DENSE_BYTES
    return MIB if "/" in path else ROOT_FILES.get(path, MAX_TEXT_BYTES)


def _check_size(path: str, size: int) -> Finding | None:
    most = largest(path)
    if size < 0 or (most is not None and size > most):
        return error(path, "too-large", f"{size} bytes, at most {most} are taken for a file of this name.")
    return None


def _find_twins(paths: list[str]) -> list[Finding]:
    """Names that some file systems cannot tell apart."""
    seen: dict[str, str] = {}
    findings = []
    for path in paths:
        first = seen.setdefault(unicodedata.normalize("NFC", path).casefold(), path)
        if first != path:
            message = f"{first} and {path} are one file where case does not count."
            findings.append(error(path, "same-name", message, "Rename one of them."))
    return findings
