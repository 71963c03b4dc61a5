"""The whole system as `make up` runs it, in a temporary home on a free port, driven from outside."""

import hashlib
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import openai

ROOT = Path(__file__).resolve().parent.parent
PASSWORD = "a long enough phrase 42"


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class Person:
    """Someone at a browser: cookies, CSRF and the control API."""

    stack: "Stack"
    email: str
    web: httpx.Client

    @property
    def organisation(self) -> str:
        """The slug of the personal organisation."""
        found: str = self.call("GET", "/api/organisations/")["results"][0]["slug"]
        return found

    def call(self, method: str, path: str, *, expect: int | None = None, **arguments: Any) -> Any:
        """One call of the control API; fails unless it answers 2xx (or what is expected)."""
        headers = {"X-CSRFToken": self.web.cookies.get("csrftoken", ""), "Referer": self.stack.url}
        answer = self.web.request(method, path, headers=headers, **arguments)
        good = answer.status_code == expect if expect else answer.is_success
        assert good, f"{method} {path}: {answer.status_code} {answer.text[:600]}"
        return answer.json() if answer.content else None

    def issue_key(self, *scopes: str) -> str:
        """A fresh API key's text."""
        made: str = self.call("POST", "/api/keys/", json={"name": "test", "scopes": scopes or ["inference"]})[
            "key"
        ]
        return made

    def client(self, key: str | None = None) -> openai.OpenAI:
        """The stock client, which never retries here so that tests see every answer."""
        return openai.OpenAI(base_url=f"{self.stack.url}/v1", api_key=key or self.issue_key(), max_retries=0)

    def upload(self, listing: str, directory: Path) -> Any:
        """Upload a directory as a new version of `owner/slug` in chunks and wait until it has been tried."""
        files = {
            path.relative_to(directory).as_posix(): path.read_bytes()
            for path in directory.rglob("*")
            if path.is_file()
        }
        declared = [
            {"path": name, "size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
            for name, data in files.items()
        ]
        upload = self.call("POST", f"/api/listings/{listing}/uploads/", json={"files": declared})["id"]
        for name, data in files.items():
            for offset in range(0, len(data), 2**20):
                self.call(
                    "PUT", f"/api/uploads/{upload}/files/{name}", params={"offset": offset},
                    content=data[offset : offset + 2**20],
                )  # fmt: skip
        version = self.call("POST", f"/api/uploads/{upload}/complete/")
        return self.await_version(listing, version["number"])

    def await_version(self, listing: str, number: int) -> Any:
        """The version once it is ready or refused."""
        deadline = time.monotonic() + 90
        while time.monotonic() < deadline:
            version = self.call("GET", f"/api/listings/{listing}/versions/{number}/")
            if version["state"] != "checking":
                return version
            time.sleep(0.2)
        raise AssertionError(f"version {number} of {listing} is still being checked")


@dataclass
class Stack:
    """One running site."""

    home: Path
    port: int = field(default_factory=free_port)
    environment: dict[str, str] = field(default_factory=dict)
    process: "subprocess.Popen[bytes] | None" = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def log(self) -> str:
        return (self.home / "up.log").read_text()

    def start(self) -> "Stack":
        """Returns when /readyz answers 200."""
        self.home.mkdir(parents=True, exist_ok=True)
        with (self.home / "up.log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "portal.up"], cwd=ROOT, env=self.surroundings, stdout=log, stderr=log,
                stdin=subprocess.DEVNULL, start_new_session=True,
            )  # fmt: skip
        self.await_ready()
        return self

    def await_ready(self, patience_s: float = 90) -> None:
        deadline = time.monotonic() + patience_s
        while time.monotonic() < deadline:
            assert self.process is None or self.process.poll() is None, self.log
            try:
                if httpx.get(f"{self.url}/readyz", timeout=5).status_code == 200:
                    return
            except httpx.TransportError:
                pass
            time.sleep(0.2)
        raise AssertionError(f"not ready after {patience_s} s:\n{self.log}")

    def stop(self) -> int:
        """SIGTERM, and the exit status."""
        assert self.process is not None
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(60)

    def manage(self, *arguments: str) -> str:
        """Output of a management command on this home."""
        command: Sequence[str] = [sys.executable, "manage.py", *arguments]
        done = subprocess.run(
            command,
            cwd=ROOT,
            env=self.surroundings,
            capture_output=True,
            text=True,
            timeout=180,
            check=False,
        )
        assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout}{done.stderr}"
        return done.stdout

    def sign_up(self, email: str) -> Person:
        """A new user, signed in through the real form."""
        web = httpx.Client(base_url=self.url, follow_redirects=True, timeout=60)
        form = web.get("/accounts/signup/").text
        token = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', form)
        assert token, form
        fields = {"email": email, "password1": PASSWORD, "csrfmiddlewaretoken": token[1]}
        answer = web.post("/accounts/signup/", data=fields, headers={"Referer": self.url})
        assert answer.status_code == 200, answer.text
        fields = {"login": email, "password": PASSWORD, "csrfmiddlewaretoken": token[1]}
        answer = web.post("/accounts/login/", data=fields, headers={"Referer": self.url})
        assert answer.status_code == 200, answer.text
        assert "sessionid" in web.cookies, answer.text
        return Person(self, email, web)

    @property
    def surroundings(self) -> dict[str, str]:
        """The environment of its processes."""
        inherited = {
            name: value
            for name, value in os.environ.items()
            if name not in {"DATABASE_URL", "REDIS_URL", "SECRET_KEY"}
        }
        ours = {"MERCATO_HOME": str(self.home), "PORT": str(self.port), "MERCATO_DEMO": "0"}
        return inherited | ours | self.environment
