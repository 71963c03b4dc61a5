"""Versions that lie in a folder of this machine: looked at, then uploaded from here."""

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

from marketplace import uploads, validation
from marketplace.models import Listing, Version
from marketplace.uploads import Declared
from marketplace.validation import Report, local_file
from marketplace.validation.report import Finding, error
from portal.accounts.models import User

BLOCK_BYTES = 2**20


def examine(folder: Path, *, task: str | None) -> Report:
    """Validate the folder's files without storing any. Links are refused: they may lead anywhere."""
    links = [_refuse(folder, path) for path in _walk(folder) if not _is_plain(path)]
    plain = {_name(folder, path): local_file(path) for path in _walk(folder) if _is_plain(path)}
    report = validation.examine(plain, task=task)
    return Report(
        findings=(*links, *report.findings),
        kept=report.kept,
        facts=report.facts,
        card=report.card,
        training=report.training,
    )


def size_of(folder: Path, report: Report) -> int:
    """Bytes of the files that `report` keeps."""
    return sum((folder / name).stat().st_size for name in report.kept)


def release(folder: Path, report: Report, *, listing: Listing, by: User, notes: str = "") -> Version:
    """Make the files that `report` keeps the listing's next version, through an upload like everyone's: so
    their bytes are granted before the first is stored. Raises as `uploads.begin` and `uploads.complete`.
    """
    upload = uploads.begin(listing, by=by, files=_declare(folder, report), notes=notes)
    try:
        for file in uploads.missing(upload):
            with (folder / file.path).open("rb") as stream:
                uploads.put(upload, file.path, stream)
        return uploads.complete(upload, by=by)
    except BaseException:
        # Nobody will go on with it, and until it expires it would count as kept.
        uploads.discard(upload)
        raise


def _declare(folder: Path, report: Report) -> list[Declared]:
    paths = {name: folder / name for name in report.kept}
    return [
        {"path": name, "size": path.stat().st_size, "sha256": _digest(path)} for name, path in paths.items()
    ]


def _walk(folder: Path) -> Iterator[Path]:
    for place, folders, names in os.walk(folder):
        # Version control and download caches keep their own files in such folders.
        linked = [name for name in folders if Path(place, name).is_symlink()]
        folders[:] = [name for name in folders if not name.startswith(".") and name not in linked]
        yield from (Path(place, name) for name in sorted([*names, *linked]))


def _name(folder: Path, path: Path) -> str:
    return path.relative_to(folder).as_posix()


def _is_plain(path: Path) -> bool:
    return path.is_file() and not path.is_symlink()


def _refuse(folder: Path, path: Path) -> Finding:
    remedy = "Copy the folder with its links resolved: cp -rL FOLDER COPY."
    return error(_name(folder, path), "not-a-file", "This is a link or no regular file.", remedy)


def _digest(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()
