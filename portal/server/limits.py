"""How many connections and how much patience a web process has. Plain rules and counts, no sockets."""

import ipaddress
import resource
from collections import Counter
from dataclasses import dataclass

# Of a process's descriptors: Postgres, Redis, upstreams, files.
RESERVED_DESCRIPTORS = 256
MOST_CONNECTIONS = 16_384
# Beyond this share of all connections, whoever is slow makes room for whoever is not.
CROWDED_SHARE = 0.75

MOST_HEAD_BYTES = 64 * 2**10
MOST_PIPELINED = 16


@dataclass(frozen=True, slots=True)
class Patience:
    """Seconds that a connection may take for each part of an exchange.

    `head`: from a request's first byte (or the connection's start) to the end of its head. `body`: a body may take
    this long at any pace, and longer where it keeps the pace of `body_rate` bytes a second. `write`: until
    a client takes what fills its buffer. `idle`: between two requests.
    """

    head: float
    body: float
    write: float
    idle: float
    body_rate: int = 8 * 2**10


# The data plane waits 30 s for a body by itself, and says so in its own words.
CALM = Patience(head=10.0, body=35.0, write=60.0, idle=75.0)
CROWDED = Patience(head=3.0, body=10.0, write=15.0, idle=2.0)


def raise_descriptor_limit() -> None:
    """Let this process and its children open as many files as the system lets them."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def count_possible_connections() -> int:
    """How many connections a process may hold so that descriptors are left for its own work."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return MOST_CONNECTIONS
    return max(1, min(MOST_CONNECTIONS, soft - RESERVED_DESCRIPTORS))


def name_neighbourhood(address: str) -> str:
    """Whom an address stands for: itself, or the /64 that one IPv6 host has at least."""
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(found, ipaddress.IPv4Address):
        return address
    if found.ipv4_mapped:
        return str(found.ipv4_mapped)
    return str(ipaddress.ip_network((found, 64), strict=False))


class Connections:
    """The connections of a process, counted in all and by address.

    `per_address` is None behind a proxy, where all come from the proxy's.
    """

    def __init__(self, *, most: int, per_address: int | None) -> None:
        self._most = most
        self._per_address = per_address and min(per_address, max(1, most // 2))
        self._by_address: Counter[str] = Counter()
        self._count = 0

    @property
    def patience(self) -> Patience:
        """How long anybody is waited for now."""
        return CROWDED if self._count > self._most * CROWDED_SHARE else CALM

    def admit(self, address: str) -> bool:
        """Count a new connection; False, and not counted, where the address or all together have enough."""
        full = self._per_address is not None and self._by_address[address] >= self._per_address
        if full or self._count >= self._most:
            self._by_address += Counter()  # forgets addresses without connections
            return False
        self._by_address[address] += 1
        self._count += 1
        return True

    def leave(self, address: str) -> None:
        """A counted connection has ended."""
        self._count -= 1
        self._by_address[address] -= 1
        if self._by_address[address] <= 0:
            del self._by_address[address]
