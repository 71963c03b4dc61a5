"""Fetching a version's files from a model hub: by name and size first, and only those that are wanted."""

import glob
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

import httpx2
from huggingface_hub import HfApi, snapshot_download
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

from marketplace.errors import HubUnusable
from marketplace.validation.files import ARCHIVES, PICKLES, check_names, printable

_PROBLEMS = (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, httpx2.HTTPError, OSError)


@dataclass(frozen=True, kw_only=True)
class Found:
    """Files of a hub's repository at one commit: bytes by path, as the hub says. `left_out` are those that no version
    may have, weights among them.
    """

    repository: str
    commit: str
    sizes: Mapping[str, int]
    left_out: tuple[str, ...] = ()

    @property
    def size(self) -> int:
        return sum(self.sizes.values())


def look(repository: str, *, revision: str | None = None, allow: Sequence[str] = ()) -> Found:
    """Those files of `owner/name` that a version may have and that match a pattern of `allow`: no code, no
    pickles. The hub is the one that `HF_ENDPOINT` names. Raises `HubUnusable`.
    """
    try:
        found = HfApi(endpoint=_endpoint()).model_info(repository, revision=revision, files_metadata=True)
    except _PROBLEMS as problem:
        raise HubUnusable(repository=repository, reason=_explain(problem)) from problem
    sizes = {each.rfilename: each.size or 0 for each in found.siblings or []}
    wanted = _choose(repository, sizes, allow)
    left_out = {printable(name) for name in sizes if name.rpartition(".")[2].lower() in PICKLES | ARCHIVES}
    return Found(
        repository=repository,
        commit=found.sha or "",
        sizes={name: sizes[name] for name in wanted},
        left_out=tuple(sorted(left_out)),
    )


def fetch(found: Found, *, into: Path) -> None:
    """Download what was found, and nothing else. Raises `HubUnusable`."""
    try:
        snapshot_download(
            found.repository,
            revision=found.commit or None,
            local_dir=into,
            allow_patterns=[glob.escape(name) for name in found.sizes],
            endpoint=_endpoint(),
            max_workers=2,
        )
    except _PROBLEMS as problem:
        raise HubUnusable(repository=found.repository, reason=_explain(problem)) from problem


def _endpoint() -> str | None:
    return os.environ.get("HF_ENDPOINT") or None


def _choose(repository: str, sizes: dict[str, int], allow: Sequence[str]) -> list[str]:
    kept, _ = check_names(sizes)
    wanted = [name for name in kept if not allow or any(fnmatchcase(name, pattern) for pattern in allow)]
    if not wanted:
        raise HubUnusable(repository=repository, reason="it has no files that a version may have.")
    return wanted


def _explain(problem: Exception) -> str:
    lines = [line.strip() for line in str(problem).splitlines() if line.strip()]
    return " ".join(lines)[:400] or type(problem).__name__
