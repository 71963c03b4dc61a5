"""The operating-system account that owns and runs the embedded servers.

An ordinary user runs them as themselves. Root may not: PostgreSQL refuses. Root therefore hands them to a
system account `mercato` (made once with useradd), or to `nobody` where none can be made. Where that account
could not even enter the state directory, as under /root, the servers keep one capability, to search
directories, rather than the directories being opened to everybody.
"""

import os
import pwd
import shutil
import stat
import subprocess
from dataclasses import dataclass
from pathlib import Path

from portal.embedded.errors import HomeOfAnotherUser, HomeOutOfReach, NoUnprivilegedAccount

NAME = "mercato"
CAP_DAC_OVERRIDE = 1
CAP_DAC_READ_SEARCH = 2
CAP_SETPCAP = 8


@dataclass(frozen=True)
class Account:
    """Whom a server runs as: ids, and the capability it keeps to reach its files."""

    name: str
    uid: int
    gid: int
    capability: int | None = None

    def own(self, path: Path) -> None:
        """Give `path` and all below it to this account."""
        for entry in (path, *path.rglob("*")):
            os.chown(entry, self.uid, self.gid, follow_symlinks=False)


def choose_account(data: Path, *, programs: list[Path]) -> Account | None:
    """Whom to run a server as whose state is `data`; None means as ourselves.

    State that exists decides: its owner goes on owning it, even where that user id has no name here (a
    volume moved between containers). Raises HomeOfAnotherUser, NoUnprivilegedAccount, HomeOutOfReach.
    """
    owner = data.stat().st_uid if data.exists() else None
    if os.geteuid() != 0:
        if owner not in (None, os.geteuid()):
            raise HomeOfAnotherUser(data)
        return None
    if owner:
        account = Account(name=str(owner), uid=owner, gid=data.stat().st_gid)
    else:
        account = _find_or_make_account()
    return _with_reach(account, directory=data.parent, programs=programs)


def _find_or_make_account() -> Account:
    if not _find_account(NAME) and (useradd := shutil.which("useradd", path="/usr/sbin:/sbin:/usr/bin")):
        options = ["--system", "--user-group", "--no-create-home", "--shell", "/usr/sbin/nologin"]
        # It fails where the user database is read-only; `nobody` serves there.
        subprocess.run([useradd, *options, NAME], capture_output=True, check=False)
    account = _find_account(NAME) or _find_account("nobody")
    if account is None or not _is_mapped(account.uid):
        raise NoUnprivilegedAccount
    return account


def _find_account(name: str) -> Account | None:
    try:
        entry = pwd.getpwnam(name)
    except KeyError:
        return None
    return Account(name=name, uid=entry.pw_uid, gid=entry.pw_gid)


def _is_mapped(uid: int) -> bool:
    """Whether this user namespace has the id at all: a rootless container may have root alone."""
    uid_map = Path("/proc/self/uid_map")
    if not uid_map.exists():
        return True
    ranges = [[int(field) for field in line.split()] for line in uid_map.read_text().splitlines()]
    return any(start <= uid < start + length for start, _, length in ranges)


def _with_reach(account: Account, *, directory: Path, programs: list[Path]) -> Account:
    closed = [
        path for path in (directory, *(program.parent for program in programs)) if _closed(path, account)
    ]
    sealed = [program for program in programs if not _may_enter(program, account)]
    if not closed and not sealed:
        return account
    # Reading past permissions is enough for directories; running a program that others may not needs more.
    for capability in (CAP_DAC_OVERRIDE,) if sealed else (CAP_DAC_READ_SEARCH, CAP_DAC_OVERRIDE):
        if _has_capability(capability) and _has_capability(CAP_SETPCAP):
            return Account(account.name, account.uid, account.gid, capability)
    raise HomeOutOfReach((closed or sealed)[0], account=account.name)


def _closed(directory: Path, account: Account) -> bool:
    resolved = directory.resolve()
    return any(not _may_enter(path, account) for path in (resolved, *resolved.parents))


def _may_enter(path: Path, account: Account) -> bool:
    """Whether the account may enter a directory or run a program, by its permission bits."""
    facts = path.stat()
    if facts.st_uid == account.uid:
        wanted = stat.S_IXUSR
    elif facts.st_gid == account.gid:
        wanted = stat.S_IXGRP
    else:
        wanted = stat.S_IXOTH
    return bool(facts.st_mode & wanted)


def _has_capability(number: int) -> bool:
    try:
        status = Path("/proc/self/status").read_text()
    except FileNotFoundError:
        return False
    permitted = next((line.split()[1] for line in status.splitlines() if line.startswith("CapPrm:")), "0")
    return bool(int(permitted, 16) >> number & 1)
