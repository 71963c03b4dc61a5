"""From a manifest's task to the engine that runs it. Engines are imported only when one is loaded."""

import os
from importlib import import_module
from pathlib import Path
from typing import cast

from inference.engines.base import Engine, Manifest, Sink, Task, UnloadableVersion

_BATCH = "inference.engines.batch.engine:BatchEngine"
ENGINES: dict[Task, str] = {
    "text-generation": "inference.engines.text.engine:TextEngine",
    "feature-extraction": _BATCH,
    "text-classification": _BATCH,
    "image-classification": _BATCH,
}


def load(directory: Path, *, manifest: Manifest, device: str, sink: Sink) -> Engine:
    """The running engine of the version in `directory`, on `device` ("cpu", "cuda:0").

    Raises `UnloadableVersion` with a sentence for the provider.
    """
    path = ENGINES.get(manifest.task)
    if path is None:
        raise UnloadableVersion(f"No engine runs the task {manifest.task!r}.")
    # Before transformers is imported: nothing a version names may be fetched.
    os.environ["HF_HUB_OFFLINE"] = "1"
    module, name = path.split(":")
    engine_class = cast("type[Engine]", getattr(import_module(module), name))
    return engine_class.load(directory, manifest=manifest, device=device, sink=sink)
