"""Secrets at rest are sealed under keys that can be rotated."""

from typing import Any

import pytest
from cryptography.fernet import Fernet

from portal.kit import secrets
from portal.kit.environment import WrongSetting

OLD, NEW = (Fernet.generate_key().decode() for _ in range(2))


def test_a_sealed_text_outlives_the_rotation_of_its_key(settings: Any) -> None:
    settings.ENCRYPTION_KEYS = [OLD]
    sealed = secrets.seal("zanzibar")
    assert "zanzibar" not in sealed
    settings.ENCRYPTION_KEYS = [NEW, OLD]
    assert secrets.unseal(sealed) == "zanzibar"
    again = secrets.reseal(sealed)
    settings.ENCRYPTION_KEYS = [NEW]
    assert secrets.unseal(again) == "zanzibar"
    with pytest.raises(secrets.Unreadable) as unreadable:
        secrets.unseal(sealed)
    assert "zanzibar" not in str(unreadable.value)


def test_a_wrong_key_is_told_without_repeating_it() -> None:
    with pytest.raises(WrongSetting, match="ENCRYPTION_KEYS must be") as wrong:
        secrets.check_encryption_keys([OLD, "zanzibar"])
    assert "zanzibar" not in str(wrong.value)
