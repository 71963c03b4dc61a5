"""A model hub on this machine: the part of the protocol that huggingface_hub speaks when it downloads."""

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@dataclass
class Hub:
    """Serves one repository. Files with these suffixes lie behind a redirect, as large files do."""

    folder: Path
    repository: str
    large: tuple[str, ...] = (".safetensors", ".bin")
    claimed_sizes: dict[str, int] = field(default_factory=dict)
    requests: list[tuple[str, str]] = field(default_factory=list)
    address: str = ""
    store: str = ""

    def files(self) -> dict[str, Path]:
        return {
            p.relative_to(self.folder).as_posix(): p for p in sorted(self.folder.rglob("*")) if p.is_file()
        }

    def fetched(self) -> set[str]:
        """Names of files whose bytes were asked for."""
        return {
            path.rpartition("/")[2]
            for method, path in self.requests
            if method == "GET" and "/api/" not in path
        }


@contextmanager
def serving(folder: Path, repository: str = "them/tiny") -> Iterator[Hub]:
    hub = Hub(folder, repository)
    server = ThreadingHTTPServer(("127.0.0.1", 0), _answering(hub))
    hub.address = f"http://127.0.0.1:{server.server_port}"
    # Large files lie on another host, whose answers carry none of the hub's own headers.
    hub.store = f"http://localhost:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _answering(hub: Hub) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self.answer(with_body=True)

        def do_HEAD(self) -> None:
            self.answer(with_body=False)

        def answer(self, *, with_body: bool) -> None:
            path = unquote(urlsplit(self.path).path)
            hub.requests.append((self.command, path))
            api, resolve = f"/api/models/{hub.repository}", f"/{hub.repository}/resolve/"
            if path == api or path.startswith(f"{api}/revision/"):
                self.tell_about(path, with_body=with_body)
            elif path.startswith(f"{api}/tree/{COMMIT}"):
                entries = [describe(name, file) for name, file in hub.files().items()]
                self.send_data(json.dumps(entries).encode(), with_body=with_body)
            elif path.startswith(resolve):
                self.resolve(path.removeprefix(resolve).partition("/")[2], with_body=with_body)
            elif path.startswith("/blobs/"):
                self.send_data(hub.files()[path.removeprefix("/blobs/")].read_bytes(), with_body=with_body)
            else:
                self.refuse("RepoNotFound")

        def tell_about(self, path: str, *, with_body: bool) -> None:
            revision = path.partition("/revision/")[2] or "main"
            if revision not in {"main", COMMIT}:
                return self.refuse("RevisionNotFound")
            siblings = [
                {"rfilename": name, "size": hub.claimed_sizes.get(name, file.stat().st_size)}
                for name, file in hub.files().items()
            ]
            about = {"id": hub.repository, "modelId": hub.repository, "sha": COMMIT, "siblings": siblings}
            return self.send_data(json.dumps(about).encode(), with_body=with_body)

        def resolve(self, name: str, *, with_body: bool) -> None:
            if name not in hub.files():
                return self.refuse("EntryNotFound")
            data = hub.files()[name].read_bytes()
            etag = f'"{hashlib.sha256(data).hexdigest()}"'
            if not name.endswith(hub.large):
                return self.send_data(data, with_body=with_body, **{"ETag": etag, "X-Repo-Commit": COMMIT})
            self.send_response(302)
            for header, value in {
                "Location": f"{hub.store}/blobs/{name}", "X-Repo-Commit": COMMIT, "X-Linked-Etag": etag,
                "X-Linked-Size": str(len(data)), "Content-Length": "0",
            }.items():  # fmt: skip
                self.send_header(header, value)
            return self.end_headers()

        def refuse(self, code: str) -> None:
            self.send_response(404)
            self.send_header("X-Error-Code", code)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def send_data(self, data: bytes, *, with_body: bool, **headers: str) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(len(data)))
            for header, value in headers.items():
                self.send_header(header, value)
            self.end_headers()
            if with_body:
                self.wfile.write(data)

        def log_message(self, *arguments: Any) -> None:
            """Quiet."""

    return Handler


def describe(name: str, file: Path) -> dict[str, Any]:
    return {"type": "file", "path": name, "size": file.stat().st_size, "oid": "0" * 40}
