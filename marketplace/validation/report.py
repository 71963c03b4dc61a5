"""What validation found: facts for the catalogue, findings for the provider."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO, Any, Literal

from marketplace.validation.cleaning import clean_json

Severity = Literal["error", "warning", "info"]


@dataclass(frozen=True, slots=True)
class LocalFile:
    """A file to examine: its size in bytes and how to open it."""

    size: int
    open: Callable[[], IO[bytes]]


def local_file(path: Path) -> LocalFile:
    """A file on this machine."""
    return LocalFile(size=path.stat().st_size, open=lambda: path.open("rb"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that validation saw. `rule` is a stable name; `remedy` says what the provider can do."""

    file: str
    rule: str
    severity: Severity
    message: str
    remedy: str = ""

    def to_json(self) -> dict[str, str]:
        return asdict(self)


def error(file: str, rule: str, message: str, remedy: str = "") -> Finding:
    return Finding(file=file, rule=rule, severity="error", message=message, remedy=remedy)


def warning(file: str, rule: str, message: str, remedy: str = "") -> Finding:
    return Finding(file=file, rule=rule, severity="warning", message=message, remedy=remedy)


def info(file: str, rule: str, message: str, remedy: str = "") -> Finding:
    return Finding(file=file, rule=rule, severity="info", message=message, remedy=remedy)


class Refusal(Exception):
    """Stops the examination of one file at its first error; the finding is its only argument."""

    def __init__(self, finding: Finding) -> None:
        self.finding = finding
        super().__init__(finding.message)


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What a version is. Lengths in tokens (0 where the task has none), sizes in bytes."""

    task: str
    architecture: str
    context_length: int
    parameter_count: int
    weight_bytes: int
    memory_bytes: int
    dtype: str
    vocabulary_size: int = 0
    eos_token_ids: tuple[int, ...] = ()
    has_chat_template: bool = False
    labels: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """What the README's front matter says, cleaned. `body` is the Markdown after it."""

    body: str = ""
    licence: str = ""
    languages: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    pipeline_tag: str = ""
    evaluation: tuple[Mapping[str, Any], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """The outcome. `kept` are the paths that belong to the version; without `facts` nothing can run."""

    findings: tuple[Finding, ...]
    kept: tuple[str, ...]
    facts: Facts | None = None
    card: Card = field(default_factory=Card)
    training: Mapping[str, Any] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        return self.facts is not None and not any(found.severity == "error" for found in self.findings)

    def to_json(self) -> dict[str, Any]:
        """`{"findings": [...], "facts": {...} or None}`, as versions keep it."""
        facts = asdict(self.facts) if self.facts else None
        kept: dict[str, Any] = clean_json(
            {"findings": [found.to_json() for found in self.findings], "facts": facts}
        )
        return kept
