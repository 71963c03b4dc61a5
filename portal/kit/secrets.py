"""Secrets at rest: keys of this machine, and texts that are kept sealed in the database."""

import os
import secrets
from functools import cache
from pathlib import Path

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from django.conf import settings

from portal.kit.environment import WrongSetting


class Unreadable(RuntimeError):
    """A sealed text whose key is no longer among ENCRYPTION_KEYS."""


def write_new_secret(path: Path) -> None:
    """Make a random secret that only this user can read; another process may have won the race."""
    _write_once(path, secrets.token_urlsafe(50))


def write_new_encryption_key(path: Path) -> None:
    """The same for a key that seals texts."""
    _write_once(path, Fernet.generate_key().decode())


def check_encryption_keys(keys: list[str]) -> list[str]:
    """The keys, once each has been seen to be one. Raises `WrongSetting`, which repeats none of them."""
    try:
        for key in keys:
            Fernet(key)
    except ValueError:
        sentence = (
            "ENCRYPTION_KEYS must be keys of 32 bytes in URL-safe base64, separated by commas: make one with "
            "`python -c 'from cryptography.fernet import Fernet; print(Fernet.generate_key().decode())'`."
        )
        raise WrongSetting("ENCRYPTION_KEYS", sentence) from None
    return keys


def seal(text: str) -> str:
    """Encrypt with the first of the keys."""
    return _sealer(tuple(settings.ENCRYPTION_KEYS)).encrypt(text.encode()).decode()


def unseal(sealed: str) -> str:
    """Decrypt with whichever key fits. Raises `Unreadable`."""
    try:
        return _sealer(tuple(settings.ENCRYPTION_KEYS)).decrypt(sealed).decode()
    except InvalidToken:
        raise Unreadable("A sealed text was made with a key that ENCRYPTION_KEYS no longer names.") from None


def reseal(sealed: str) -> str:
    """The same text under the first of the keys, so that the others can be dropped. Raises `Unreadable`."""
    return seal(unseal(sealed))


@cache
def _sealer(keys: tuple[str, ...]) -> MultiFernet:
    return MultiFernet([Fernet(key) for key in keys])


def _write_once(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.touch(mode=0o600)
    temporary.write_text(text)
    try:
        os.link(temporary, path)
    except FileExistsError:
        return
    finally:
        temporary.unlink()
