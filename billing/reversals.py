"""The ids of reversing events. Pure, for whoever compares the books as well."""

import hashlib
from uuid import UUID

_VERSION, _VARIANT = 0x7 << 76, 0x2 << 62
_OWN = ~(0xF << 76 | 0x3 << 62)


def reversal_of(request_id: UUID) -> UUID:
    """The id of the event that reverses a call: of the same moment, and always the same."""
    told = int.from_bytes(hashlib.sha256(b"reversal" + request_id.bytes).digest()[:10])
    return UUID(int=request_id.int >> 80 << 80 | told & _OWN | _VERSION | _VARIANT)
