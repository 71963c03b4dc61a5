"""How large a made world is, and what follows from that."""

from dataclasses import dataclass

BYTES_PER_EVENT = 620
BYTES_PER_LISTING = 9_000


@dataclass(frozen=True, slots=True)
class Size:
    """`events` are spread over the last `days`, most of all those of one consumer and one provider."""

    listings: int
    events: int
    days: int = 90
    seed: int = 7

    @property
    def providers(self) -> int:
        return max(10, self.listings // 20)

    @property
    def consumers(self) -> int:
        return max(20, self.events // 33_000)

    @property
    def name(self) -> str:
        """Of the folder in which it is kept."""
        return f"{self.listings}-{self.events}-{self.days}-{self.seed}"

    @property
    def disk_bytes(self) -> int:
        """What its database takes, indexes and write-ahead log included, from above."""
        return self.events * BYTES_PER_EVENT + self.listings * BYTES_PER_LISTING + 2 * 2**30


FULL = Size(listings=1_000_000, events=50_000_000)
QUICK = Size(listings=10_000, events=500_000)
