"""Over TLS a server proves that it is the named one, while the connection goes to the address that was checked."""

import asyncio
import datetime
import ssl
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from inference.remote import dialling
from inference.remote.exchange import Exchange
from inference.remote.faults import UpstreamFault
from inference.remote.upstream import EndpointFacts, Upstream
from portal.kit import outbound

HOST = "models.example.com"


def write_certificate(folder: Path, host: str) -> Path:
    """A self-signed certificate and its key in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host)])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
        .serial_number(x509.random_serial_number()).not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )  # fmt: skip
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path = folder / f"{host}.pem"
    path.write_bytes(private + certificate.public_bytes(serialization.Encoding.PEM))
    return path


async def ask(folder: Path, *, certified: str, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """One call of https://models.example.com, which resolves to this machine; what the server saw."""
    path = write_certificate(folder, certified)
    seen: dict[str, Any] = {}
    serving = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    serving.load_cert_chain(path)
    serving.sni_callback = lambda _socket, name, _context: seen.update(sni=name)
    trusting = ssl.create_default_context(cafile=str(path))
    monkeypatch.setattr(dialling, "_tls", lambda: trusting)

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen["head"] = (await reader.readuntil(b"\r\n\r\n")).decode()
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
        await writer.drain()
        writer.close()

    async def resolve(host: str, port: int, **_: Any) -> list[Any]:
        seen["resolved"] = host
        return [(0, 0, 0, "", ("127.0.0.1", port))]

    server = await asyncio.start_server(accept, "127.0.0.1", 0, ssl=serving)
    port = server.sockets[0].getsockname()[1]
    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", resolve)
    facts = EndpointFacts(
        version="0" * 32,
        base_url=f"https://{HOST}:{port}/v1",
        model="m",
        max_output_tokens=1,
        concurrency=1,
        key="k",
    )
    upstream = Upstream(facts, outbound.read({"REMOTE_ALLOW": HOST}))
    exchange = Exchange(whole=True, first=5, between=5, in_all=5, most_bytes=100)
    try:
        await upstream.ask("chat/completions", b"{}", exchange)
        seen["body"] = await exchange.read()
    finally:
        upstream.release(exchange)
        upstream.close()
        server.close()
    return seen


async def test_the_name_stays_in_tls_and_in_the_request(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = await ask(tmp_path, certified=HOST, monkeypatch=monkeypatch)
    assert (seen["resolved"], seen["sni"], seen["body"]) == (HOST, HOST, b"{}")
    assert f"\r\nHost: {HOST}:" in seen["head"]


async def test_another_names_certificate_is_not_accepted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UpstreamFault, match="certificate was not accepted"):
        await ask(tmp_path, certified="other.example.com", monkeypatch=monkeypatch)
