"""The files of a version, verified and read in `jobs`: outside any request and any transaction."""

import time
from collections.abc import Callable

from marketplace import publishing, uploads
from marketplace.errors import DigestMismatch, SizeMismatch
from marketplace.models import Upload, Version
from marketplace.validation.report import Report, error

Say = Callable[[str, int, int], None]
SAY_SECONDS = 1.0


def examine(version: Version, *, say: Say = lambda step, done, total: None) -> Version:
    """Verify and read what was uploaded for a version that is `checking`. `say` hears the step and bytes done of all.

    It becomes `refused`, or is tried next. Safe to repeat. Bytes that are not what was declared open the upload
    again, so that only that file need be sent once more.
    """
    upload = Upload.objects.get(version=version)
    try:
        _verify(upload, say)
    except (DigestMismatch, SizeMismatch) as mismatch:
        return _refuse_bytes(version, upload, mismatch)
    say("reading", 0, 0)
    files = {file.path: (file.sha256, file.size) for file in upload.files.all()}
    return publishing.record_report(
        version.pk, report=publishing.read(files, task=version.listing.task), files=files
    )


def _verify(upload: Upload, say: Say) -> None:
    left = uploads.missing(upload)
    done, total, told_at = 0, sum(file.size for file in left), 0.0

    def hear(count: int) -> None:
        nonlocal done, told_at
        done += count
        if time.monotonic() - told_at >= SAY_SECONDS:
            told_at = time.monotonic()
            say("verifying", done, total)

    for file in left:
        uploads.verify(file, hear=hear)


def _refuse_bytes(version: Version, upload: Upload, mismatch: DigestMismatch | SizeMismatch) -> Version:
    names = ", ".join(file.path for file in uploads.missing(upload) if file.received < file.size)
    remedy = "Send these files again and complete the upload once more; the others are kept."
    uploads.reopen(upload)
    found = error(names[:200], "bytes", str(mismatch), remedy)
    return publishing.record_report(version.pk, report=Report(findings=(found,), kept=()), files={})
