"""Where the site may connect to on somebody else's word: to public addresses, and where its operator allows.

A name is no promise: whoever owns it may point it anywhere, also between two looks. So what is checked is the
address itself, and whoever connects must connect to the very address that was checked.
"""

import ipaddress
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

from portal.kit.environment import WrongSetting

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

_HOST = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?)*\.?")
# Global by registration, and yet ways into a private network: tunnels and translations that carry another
# address inside, and a cloud's own service for its machines.
_NOT_PUBLIC: tuple[Network, ...] = tuple(
    ipaddress.ip_network(text)
    for text in (
        "0.0.0.0/8", "100.64.0.0/10", "168.63.129.16/32", "192.0.0.0/24", "192.88.99.0/24", "240.0.0.0/4",
        "2001::/23", "2002::/16", "64:ff9b::/96", "64:ff9b:1::/48", "::/96", "::ffff:0:0/96", "fec0::/10",
    )
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Outbound:
    """What REMOTE_ALLOW and REMOTE_PORTS say. Allowed hosts and networks are so on every port, and by plain HTTP."""

    hosts: frozenset[str]
    networks: tuple[Network, ...]
    ports: frozenset[int]

    def names(self, host: str) -> bool:
        """Whether the operator allows this host, by its name or as a literal address."""
        return _plain(host) in self.hosts or _is_in(host, self.networks)

    def allows(self, address: str, *, host: str, port: int) -> bool:
        """Whether a connection to `host` may go to this address and port."""
        found = ipaddress.ip_address(address.partition("%")[0])
        if _plain(host) in self.hosts or any(found in network for network in self.networks):
            return True
        return port in self.ports and is_public(found)


def is_public(address: Address) -> bool:
    """Whether it lies in the open internet: not private, loopback, link-local, shared, multicast or reserved."""
    if any(address in network for network in _NOT_PUBLIC):
        return False
    return address.is_global and not (address.is_multicast or address.is_reserved or address.is_unspecified)


def read(environment: Mapping[str, str] = os.environ) -> Outbound:
    """REMOTE_ALLOW (hosts, addresses, CIDRs) and REMOTE_PORTS, separated by commas. Raises `WrongSetting`."""
    hosts, networks = set(), []
    for entry in _listed(environment.get("REMOTE_ALLOW", "")):
        network = _network(entry)
        if network is not None:
            networks.append(network)
        elif _HOST.fullmatch(_plain(entry)) and not entry.replace(".", "").isdigit():
            hosts.add(_plain(entry))
        else:
            sentence = f"REMOTE_ALLOW must be host names, IP addresses or CIDRs separated by commas; {entry!r} is none."
            raise WrongSetting("REMOTE_ALLOW", sentence)
    return Outbound(frozenset(hosts), tuple(networks), _ports(environment.get("REMOTE_PORTS", "443,80")))


def _ports(text: str) -> frozenset[int]:
    entries = list(_listed(text))
    if not entries or not all(
        each.isascii() and each.isdecimal() and 0 < int(each) < 2**16 for each in entries
    ):
        sentence = f"REMOTE_PORTS must be ports from 1 to 65535 separated by commas, not {text!r}."
        raise WrongSetting("REMOTE_PORTS", sentence)
    return frozenset(map(int, entries))


def _listed(text: str) -> Iterable[str]:
    return filter(None, (part.strip() for part in text.split(",")))


def _plain(host: str) -> str:
    return host.lower().rstrip(".")


def _network(text: str) -> Network | None:
    try:
        return ipaddress.ip_network(text.strip("[]"), strict=False)
    except ValueError:
        return None


def _is_in(host: str, networks: Iterable[Network]) -> bool:
    try:
        address = ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return False
    return any(address in network for network in networks)
