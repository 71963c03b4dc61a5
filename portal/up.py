"""`make up`: everything that Mercato is, on this machine, until Ctrl-C.

Run as `python -m portal.up`. Needs no Django here: the settings need the URLs that this gives to its children.
"""

import argparse
import contextlib
import hashlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from portal import embedded
from portal.embedded.become import PR_SET_PDEATHSIG, prctl
from portal.embedded.launch import bind_to_us
from portal.embedded.locations import REPOSITORY
from portal.kit import private
from portal.supervisor.announcing import announce_readiness
from portal.supervisor.checking import CannotStart, Checked, check
from portal.supervisor.processes import list_programs
from portal.supervisor.supervising import Supervisor


def main() -> None:
    options = read_options()
    if options.with_parent and sys.platform == "linux":
        prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        run(embedded.find_home(), checked=check(os.environ))
    except (CannotStart, embedded.EmbeddedServiceError) as error:
        sys.exit(f"Mercato cannot start: {error}")
    except KeyboardInterrupt:
        sys.exit(128 + signal.SIGINT)


def run(home: Path, *, checked: Checked) -> None:
    """Start the services, bring the database and the static files up to date, supervise until a signal."""
    port = checked.port
    for warning in checked.warnings:
        say(f"Warning: {warning}")
    private.close(home)
    with start_services(home, checked) as services:
        # Not before the home is ours: a predecessor that is still stopping may hold the port as well.
        refuse_taken_port(port)
        environment = os.environ | {
            "DATABASE_URL": services.database_url,
            "REDIS_URL": services.redis_url,
            "MERCATO_HOME": str(home),
            "PORT": str(port),
            "PYTHONUNBUFFERED": "1",
        }
        prepare(home, environment)
        supervisor = Supervisor(
            list_programs(environment),
            environment=environment,
            directory=REPOSITORY,
            on_stop=lambda: embedded.mark_stopping(home),
        )
        announce_readiness(port, say=supervisor.say)
        supervisor.run()


@contextlib.contextmanager
def start_services(home: Path, checked: Checked) -> Iterator[embedded.Services]:
    """Postgres and Redis: those of the environment, or the embedded ones."""
    database_url, redis_url = checked.database_url, checked.redis_url
    with embedded.running(home, database_url=database_url, redis_url=redis_url, say=say) as services:
        own = [name for name, url in (("PostgreSQL", database_url), ("Redis", redis_url)) if not url]
        say(
            f"Embedded {' and '.join(own)} ready"
            if own
            else "Using the PostgreSQL and Redis of the environment"
        )
        yield services


def prepare(home: Path, environment: dict[str, str]) -> None:
    """Apply migrations and, where a source has changed, collect the static files, side by side."""
    stamp, sources = home / "static.stamp", fingerprint_static_sources()
    tasks = {"migrate": start_command("migrate", environment)}
    if not stamp.exists() or stamp.read_text() != sources:
        tasks["collectstatic"] = start_command("collectstatic", environment)
    for name, task in tasks.items():
        said, _ = task.communicate()
        if task.returncode:
            raise CannotStart(f"`manage.py {name}` failed:\n{said.decode()}")
        say(f"{name}: done")
    stamp.write_text(sources)


def start_command(name: str, environment: dict[str, str]) -> subprocess.Popen[bytes]:
    """A Django command in the background, which goes when we go."""
    command = [sys.executable, "manage.py", name, "--noinput"]
    return subprocess.Popen(
        bind_to_us(command, death_signal=signal.SIGKILL),
        cwd=REPOSITORY,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )


def fingerprint_static_sources() -> str:
    """Changes when the built front end or the installed packages do."""
    digest = hashlib.sha256()
    for path in [REPOSITORY / "requirements.lock", *sorted((REPOSITORY / "portal" / "static").rglob("*"))]:
        if path.is_file():
            facts = path.stat()
            digest.update(f"{path} {facts.st_size} {facts.st_mtime_ns}\n".encode())
    return digest.hexdigest()


def read_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m portal.up", description="Run Mercato on this machine.")
    parser.add_argument(
        "--with-parent", action="store_true", help="stop when the process that started it ends"
    )
    return parser.parse_args()


def refuse_taken_port(port: int) -> None:
    """Find out now, in one sentence, rather than from a server that cannot start."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((os.environ.get("HOST", "127.0.0.1"), port))
        except OSError as error:
            raise CannotStart(
                f"port {port} cannot be used ({error.strerror}); stop what listens there, or set PORT to another."
            ) from None


def say(line: str) -> None:
    """Progress for the person at the terminal."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
