"""The embedded PostgreSQL: made once, atomically; listening on loopback, for one role with a password."""

import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path

import psutil

from portal.embedded.account import Account, choose_account
from portal.embedded.errors import ServiceFailed, WrongDataVersion
from portal.embedded.launch import bind_to_us, open_log, start_server
from portal.embedded.locations import POSTGRES_VERSION, find_postgres_program
from portal.embedded.server import READY_S, Say, Server, runs, stop_orphan

ROLE = DATABASE = "mercato"
PASSWORD_FILE = "mercato.password"  # noqa: S105 - a file's name

PARTIAL = "postgres.partial-"
# Above the largest process id that Linux can give.
NOBODYS_PID = 2**22 + 1

# The role is not a superuser, and no rule lets the superuser in: a leaked URL reads no files and runs no
# programs. It may create databases, for tests.
ACCESS_RULES = f"host all {ROLE} 127.0.0.1/32 scram-sha-256\n"
SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "max_connections": "200",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "jit": "off",
}
# For state that may be lost with the machine, though not with a process: tests.
FAST_SETTINGS = {"fsync": "off", "full_page_writes": "off"}


class PostgresServer(Server):
    """PostgreSQL on `data`; `durable=False` survives killed processes but no power cut."""

    name = "PostgreSQL"
    stop_signal = signal.SIGINT  # "fast": roll back, checkpoint, exit

    def __init__(self, *, data: Path, log: Path, durable: bool = True) -> None:
        super().__init__(data=data, log=log)
        self.settings = SETTINGS if durable else SETTINGS | FAST_SETTINGS
        self.account: Account | None = None

    @property
    def url(self) -> str:
        password = (self.data / PASSWORD_FILE).read_text()
        return f"postgresql://{ROLE}:{password}@127.0.0.1:{self.port}/{DATABASE}"

    def prepare(self, say: Say) -> None:
        programs = [find_postgres_program(name) for name in ("postgres", "initdb")]
        self.account = choose_account(self.data, programs=programs)
        self._sweep()
        if not self.data.exists():
            say("Preparing the embedded PostgreSQL (once)")
            self._initialise()
            self._sweep()
        self._refuse_other_version()
        self._clear_stale_pid_file()

    def start(self) -> None:
        (self.data / "pg_hba.conf").write_text(ACCESS_RULES)
        settings = self.settings | {"port": str(self.port)}
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        self.process = start_server(
            [str(find_postgres_program("postgres")), "-D", str(self.data), *options],
            death_signal=self.stop_signal,
            account=self.account,
            log=self.log,
            directory=self.data,
        )

    def wait_until_ready(self) -> None:
        """As in Server; tries again while the backends of a killed predecessor are still leaving."""
        deadline = time.monotonic() + READY_S
        while True:
            try:
                return super().wait_until_ready()
            except ServiceFailed:
                if time.monotonic() > deadline or not self._was_occupied():
                    raise
            time.sleep(0.1)
            self.start()

    def is_ready(self) -> bool:
        pid, status = self._read_pid_file()
        return self.process is not None and pid == self.process.pid and status == "ready"

    def _initialise(self) -> None:
        # Renamed into place when complete, so that a crash half-way leaves nothing that looks finished.
        partial = Path(tempfile.mkdtemp(prefix=PARTIAL, dir=self.data.parent))
        password = secrets.token_urlsafe(32)
        if self.account:
            self.account.own(partial)
        locale = ["--encoding=UTF8", "--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C"]
        self._run("initdb", "-D", str(partial), "--username=postgres", "--auth=reject", *locale)
        self._run(
            *("postgres", "--single", "-D", str(partial), "-c", "exit_on_error=on", "postgres"),
            given=f"CREATE ROLE {ROLE} LOGIN CREATEDB PASSWORD '{password}'\n"
            f"CREATE DATABASE {DATABASE} OWNER {ROLE}\n",
        )
        kept = partial / PASSWORD_FILE
        kept.touch(mode=0o600)
        kept.write_text(password)
        if self.account:
            self.account.own(kept)
        partial.rename(self.data)

    def _sweep(self) -> None:
        """Remove what a preparation that was killed left; its last children may still be writing there."""
        for partial in self.data.parent.glob(f"{PARTIAL}*"):
            shutil.rmtree(partial, ignore_errors=True)

    def _run(self, program: str, *arguments: str, given: str = "") -> None:
        command = [str(find_postgres_program(program)), *arguments]
        with open_log(self.log) as output:
            done = subprocess.run(
                bind_to_us(command, death_signal=signal.SIGKILL, account=self.account),
                cwd=self.data.parent,
                input=given.encode(),
                stdout=output,
                stderr=subprocess.STDOUT,
                check=False,
            )
        if done.returncode:
            raise ServiceFailed(self.name, log=self.log, reason=f"could not be prepared ({program} failed)")

    def _refuse_other_version(self) -> None:
        found = (self.data / "PG_VERSION").read_text().strip()
        if found != POSTGRES_VERSION:
            raise WrongDataVersion(self.data, found=found, wanted=POSTGRES_VERSION)

    def _clear_stale_pid_file(self) -> None:
        """Stop a surviving predecessor; disown a process id that now belongs to another program or a zombie.

        The rest of the file stays: by it PostgreSQL finds backends that outlive their parent.
        """
        pid, _ = self._read_pid_file()
        if pid is None or not psutil.pid_exists(pid):
            return
        process = psutil.Process(pid)
        if runs(process) and str(self.data) in process.cmdline():
            stop_orphan(process, stop_signal=self.stop_signal)
        else:
            pid_file = self.data / "postmaster.pid"
            _, *others = pid_file.read_text().splitlines(keepends=True)
            pid_file.write_text(f"{NOBODYS_PID}\n{''.join(others)}")

    def _read_pid_file(self) -> tuple[int | None, str]:
        """The process id and the status word that PostgreSQL keeps in postmaster.pid."""
        try:
            lines = (self.data / "postmaster.pid").read_text().splitlines()
        except FileNotFoundError:
            return None, ""
        pid = int(lines[0]) if lines and lines[0].isdecimal() else None
        return pid, lines[7].strip() if len(lines) > 7 else ""

    def _was_occupied(self) -> bool:
        last_words = self.log.read_bytes()[-2000:]
        return any(
            words in last_words for words in (b"is still in use", b"already exists", b"could not bind")
        )
