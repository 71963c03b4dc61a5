"""Deleting stored content that nothing names any more."""

import re
from datetime import datetime, timedelta

from marketplace.models import Upload, UploadFile, VersionFile
from marketplace.weights.storage import name_of, stored_alone, weights_storage

# Content is stored before a version names it; whoever is at that has this long.
UNNAMED_FOR = timedelta(days=1)
_FOLDER = re.compile(r"[0-9a-f]{2}")


def reclaim(now: datetime) -> int:
    """Delete content that no version and no upload in progress names and that was last stored a day ago;
    the number of contents deleted. Safe beside processes that store.
    """
    return sum(_reclaim(sha256, before=now - UNNAMED_FOR) for sha256 in _stored())


def _stored() -> list[str]:
    storage = weights_storage()
    if not storage.exists(""):
        return []
    folders = [folder for folder in storage.listdir("")[0] if _FOLDER.fullmatch(folder)]
    return [
        name for folder in folders for name in storage.listdir(folder)[1] if name_of(name).startswith(folder)
    ]


def _reclaim(sha256: str, *, before: datetime) -> bool:
    if _is_named(sha256):
        return False
    storage, name = weights_storage(), name_of(sha256)
    with stored_alone(sha256):
        # Asked again: meanwhile it may have been stored anew, or named.
        if not storage.exists(name) or storage.get_modified_time(name) >= before or _is_named(sha256):
            return False
        storage.delete(name)
    return True


def _is_named(sha256: str) -> bool:
    # Uploads first: one that is completed in between has its version when that is asked for.
    in_progress = UploadFile.objects.filter(sha256=sha256, upload__in=Upload.objects.in_progress())
    return in_progress.exists() or VersionFile.objects.filter(sha256=sha256).exists()
