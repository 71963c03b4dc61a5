"""Reaching a server: its name is resolved here, every address is checked, and only a checked one is connected to.

So a name that changes its mind between two looks (DNS rebinding) gains nothing. The name itself stays in Host
and in TLS, whose certificate must be its own.
"""

import asyncio
import ipaddress
import socket
import ssl
from dataclasses import dataclass
from functools import cache
from typing import Any
from urllib.parse import urlsplit

from inference.remote.connection import Connection
from inference.remote.faults import UpstreamFault
from portal.kit.outbound import Outbound

CONNECT_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Destination:
    """`host` without brackets, `authority` as in a Host header, `path` before /chat/completions and the like."""

    is_secure: bool
    host: str
    port: int
    authority: str
    path: str


def destination_of(base_url: str) -> Destination:
    """Of a base URL that `marketplace.endpoints` has checked."""
    parts = urlsplit(base_url)
    is_secure = parts.scheme == "https"
    port = parts.port or (443 if is_secure else 80)
    return Destination(is_secure, parts.hostname or "", port, parts.netloc, parts.path.rstrip("/"))


async def dial(destination: Destination, outbound: Outbound) -> Connection:
    """A new connection. Raises `UpstreamFault`."""
    if not destination.is_secure and not outbound.names(destination.host):
        raise _forbidden()
    try:
        async with asyncio.timeout(CONNECT_SECONDS):
            addresses = await resolve(destination, outbound)
            return await _connect(destination, addresses)
    except TimeoutError:
        raise UpstreamFault("unreachable", "The server could not be connected to in time.") from None


async def resolve(destination: Destination, outbound: Outbound) -> list[str]:
    """The addresses of the host. Raises `UpstreamFault` if it has none, or any that may not be connected to."""
    loop = asyncio.get_running_loop()
    try:
        found: Any = await loop.getaddrinfo(
            destination.host, destination.port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP
        )
    except OSError:
        raise UpstreamFault("unreachable", "The server's name could not be resolved.") from None
    addresses = list(dict.fromkeys(str(entry[4][0]) for entry in found))
    # One bad address among good ones is no accident.
    if not addresses or not all(
        outbound.allows(address, host=destination.host, port=destination.port) for address in addresses
    ):
        raise _forbidden()
    return addresses


async def _connect(destination: Destination, addresses: list[str]) -> Connection:
    loop = asyncio.get_running_loop()
    secure: dict[str, Any] = {}
    if destination.is_secure:
        secure = {"ssl": _tls(), "server_hostname": destination.host}
    for address in addresses:
        try:
            _, connection = await loop.create_connection(
                Connection, str(ipaddress.ip_address(address.partition("%")[0])), destination.port, **secure
            )
        except ssl.SSLError:
            raise UpstreamFault("unreachable", "The server's TLS certificate was not accepted.") from None
        except OSError:
            continue
        return connection
    raise UpstreamFault("unreachable", "The server could not be connected to.")


@cache
def _tls() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.set_alpn_protocols(["http/1.1"])
    return context


def _forbidden() -> UpstreamFault:
    detail = "The server's address is not in the open internet, or on a port or scheme that the operator does not allow."
    return UpstreamFault("forbidden", detail)
