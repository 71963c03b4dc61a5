"""Memory for whole answers, of which a process reads many at once."""

# Each may have so much without asking, so that what is short is read however full it is.
FREE_BYTES = 2**20
BYTES_IN_ALL = 512 * 2**20


class Room:
    """Bytes beyond what is free, of all answers that are being read."""

    def __init__(self, most_bytes: int = BYTES_IN_ALL) -> None:
        self.taken = 0
        self._most_bytes = most_bytes

    def take(self, size: int) -> bool:
        """Whether there was so much left."""
        if self.taken + size > self._most_bytes:
            return False
        self.taken += size
        return True

    def give_back(self, size: int) -> None:
        self.taken -= size
