"""Versions that lie in a folder of this machine: looked at, then stored."""

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

from marketplace import validation, weights
from marketplace.publishing import Files
from marketplace.validation import Report, local_file
from marketplace.validation.report import Finding, error

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


def store(folder: Path, report: Report) -> Files:
    """Put the files that `report` keeps into the weights storage."""
    files = {}
    for name in report.kept:
        path = folder / name
        size, sha256 = path.stat().st_size, _digest(path)
        with path.open("rb") as stream:
            weights.store(stream, size=size, sha256=sha256)
        files[name] = (sha256, size)
    return files


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
