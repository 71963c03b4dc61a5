"""Fetching a version's files from a model hub: by name and size first, and only those that are wanted."""

import glob
import os
from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path

import httpx2
from django.conf import settings
from huggingface_hub import HfApi, snapshot_download
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

from marketplace.errors import HubUnusable
from marketplace.validation.files import check_names


def fetch(repository: str, *, into: Path, revision: str | None = None, allow: Sequence[str] = ()) -> str:
    """Download those files of `owner/name` that a version may have and that match a pattern of `allow`.

    Returns the commit that was fetched. Code, pickles and oversized files are never downloaded. The hub is
    the one that `HF_ENDPOINT` names. Raises `HubUnusable`.
    """
    endpoint = os.environ.get("HF_ENDPOINT") or None
    try:
        found = HfApi(endpoint=endpoint).model_info(repository, revision=revision, files_metadata=True)
        sizes = {each.rfilename: each.size or 0 for each in found.siblings or []}
        wanted = _choose(repository, sizes, allow)
        snapshot_download(
            repository,
            revision=found.sha,
            local_dir=into,
            allow_patterns=[glob.escape(name) for name in wanted],
            endpoint=endpoint,
            max_workers=2,
        )
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, httpx2.HTTPError, OSError) as problem:
        raise HubUnusable(repository=repository, reason=_explain(problem)) from problem
    return found.sha or ""


def _choose(repository: str, sizes: dict[str, int], allow: Sequence[str]) -> list[str]:
    kept, _ = check_names(sizes)
    wanted = [name for name in kept if not allow or any(fnmatchcase(name, pattern) for pattern in allow)]
    if not wanted:
        raise HubUnusable(repository=repository, reason="it has no files that a version may have.")
    total = sum(sizes[name] for name in wanted)
    if total > settings.UPLOAD_LIMIT_BYTES:
        reason = f"its {total} bytes are more than the {settings.UPLOAD_LIMIT_BYTES} that are taken."
        raise HubUnusable(repository=repository, reason=reason)
    return wanted


def _explain(problem: Exception) -> str:
    lines = [line.strip() for line in str(problem).splitlines() if line.strip()]
    return " ".join(lines)[:400] or type(problem).__name__
