"""Small JSON files, read with limits."""

import json
from collections.abc import Mapping
from typing import Any

from marketplace.validation.files import largest
from marketplace.validation.report import LocalFile, Refusal, error


def read_bytes(path: str, file: LocalFile) -> bytes:
    """The whole of a file that is small by its name. Raises `Refusal` if it is not."""
    most = largest(path) or 0
    with file.open() as stream:
        data = stream.read(most + 1)
    if len(data) > most:
        raise Refusal(error(path, "too-large", f"More than the {most} bytes taken for a file of this name."))
    return data


def read_json(path: str, file: LocalFile) -> Any:
    """Parsed JSON. Raises `Refusal`."""
    try:
        return json.loads(read_bytes(path, file))
    except (ValueError, RecursionError) as problem:
        raise Refusal(
            error(path, "json", f"Not sound JSON: {problem}"[:300], "Save the file again.")
        ) from problem


def read_object(path: str, file: LocalFile) -> dict[str, Any]:
    """A parsed JSON object. Raises `Refusal`."""
    value = read_json(path, file)
    if not isinstance(value, dict):
        raise Refusal(error(path, "json", "A JSON object is expected."))
    return value


def read_optional(path: str, files: Mapping[str, LocalFile]) -> dict[str, Any]:
    """A parsed JSON object, empty where the file is absent. Raises `Refusal`."""
    return read_object(path, files[path]) if path in files else {}
