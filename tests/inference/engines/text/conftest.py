"""Engines that stop with their test."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from inference.engines.text.engine import TextEngine
from tests.inference.engines.text.models import CONTEXT, Collector, manifest, write_model

Start = Callable[..., TextEngine]


@pytest.fixture(scope="session")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("llama"))


@pytest.fixture
def sink() -> Collector:
    return Collector()


@pytest.fixture
def start(sink: Collector, device: str) -> Iterator[Start]:
    """Load an engine on `device` that emits to `sink`."""
    engines: list[TextEngine] = []

    def load(directory: Path, kind: str = "llama", *, memory: int = 64 * 2**20, **options: Any) -> TextEngine:
        context = options.pop("context", CONTEXT)
        facts = manifest(kind, context=context, memory=memory)
        options = {"sink": sink, "device": device} | options
        engines.append(TextEngine.load(directory, manifest=facts, **options))
        return engines[-1]

    yield load
    for engine in engines:
        engine.close(drain=False, timeout=10)
