"""Who may run a home, where it may lie, and how others find what runs in it."""

import os
import pwd
import shutil
import signal
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import psutil
import psycopg
import pytest

from portal import embedded
from portal.embedded.account import choose_account
from portal.embedded.errors import HomeOfAnotherUser, WrongDataVersion
from portal.embedded.launch import bind_to_us
from tests.portal.embedded.owners import Owner, launch_owner

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")


@pytest.fixture
def no_urls(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DATABASE_URL", raising=False)
    monkeypatch.delenv("REDIS_URL", raising=False)


def works(services: embedded.Services) -> bool:
    with psycopg.connect(services.database_url) as connection:
        return connection.execute("select 1").fetchone() == (1,)


def test_a_second_owner_is_refused_with_one_sentence(home: Path, own: Callable[..., Owner]) -> None:
    owner = own(home)
    with pytest.raises(embedded.HomeInUse) as refusal, embedded.running(home):
        pass
    assert str(refusal.value) == (
        f"Mercato is already running in {home} (process {owner.process.pid}); "
        "stop it first, or set MERCATO_HOME to another directory."
    )
    assert works(embedded.attach(home))


def test_another_process_finds_what_runs(home: Path, own: Callable[..., Owner]) -> None:
    assert embedded.attach(home) is None
    owner = own(home)
    assert embedded.attach(home) == embedded.Services(owner.database_url, owner.redis_url)


def test_what_a_killed_owner_wrote_is_not_believed(home: Path, own: Callable[..., Owner]) -> None:
    owner = own(home)
    owner.kill()
    assert (home / "embedded.json").exists()
    assert embedded.attach(home) is None


@pytest.mark.usefixtures("no_urls")
def test_a_command_joins_what_runs(home: Path, own: Callable[..., Owner]) -> None:
    owner = own(home)
    with embedded.joining(home) as services:
        assert services.database_url == owner.database_url
    assert psutil.pid_exists(owner.process.pid)


@pytest.mark.usefixtures("no_urls")
def test_a_command_starts_what_does_not_run_for_itself(home: Path) -> None:
    with embedded.joining(home) as services:
        assert works(services)
    assert embedded.attach(home) is None


def test_a_given_url_is_used_and_its_server_not_started(home: Path) -> None:
    with embedded.running(home, database_url="postgresql://elsewhere/db") as services:
        assert services.database_url == "postgresql://elsewhere/db"
        assert (home / "redis").exists()
    assert not (home / "postgres").exists()


def test_a_starter_waits_for_an_owner_that_is_stopping(home: Path) -> None:
    with embedded.running(home):
        embedded.mark_stopping(home)
        assert embedded.attach(home) is None
        successor = launch_owner(home)
        with pytest.raises(subprocess.TimeoutExpired):
            successor.wait(timeout=3)
        assert embedded.attach(home) is None
    assert '"pid"' in successor.stdout.readline()
    successor.terminate()
    assert successor.wait(timeout=30) == 0


@needs_root
def test_a_home_below_a_closed_directory_works_and_stays_closed(home: Path) -> None:
    closed = home / "closed"
    closed.mkdir(mode=0o700)
    with embedded.running(closed / "var") as services:
        assert works(services)
    assert stat.S_IMODE(closed.stat().st_mode) == 0o700


@needs_root
def test_the_account_gets_through_closed_directories_but_changes_nothing(home: Path) -> None:
    closed = home / "closed"
    closed.mkdir(mode=0o700)
    program = closed / "program"
    program.touch(mode=0o755)
    account = choose_account(closed / "data", programs=[program])
    attempt = f"""
import os
print(os.geteuid() != 0, os.access({str(program)!r}, os.R_OK | os.X_OK), end=" ")
try:
    open({str(program)!r}, "a")
except PermissionError:
    print("refused")
"""
    command = bind_to_us([sys.executable, "-c", attempt], death_signal=signal.SIGKILL, account=account)
    assert subprocess.check_output(command, text=True).split() == ["True", "True", "refused"]


@needs_root
def test_root_never_runs_the_servers(home: Path, own: Callable[..., Owner]) -> None:
    owners = {server.uids().effective for server in own(home).servers()}
    assert owners
    assert 0 not in owners


@needs_root
def test_an_ordinary_user_needs_no_help(home: Path, own: Callable[..., Owner]) -> None:
    nobody = pwd.getpwnam("nobody").pw_uid
    os.chown(home, nobody, nobody)
    # The interpreter itself may lie where only root can go; then nobody gets through, and no further.
    account = choose_account(home, programs=[Path(sys.executable).resolve()])
    owner = own(home, account=account)
    assert {server.uids().effective for server in owner.servers()} == {nobody}
    assert works(embedded.attach(home))


@needs_root
def test_an_ordinary_user_is_told_that_the_home_is_anothers(home: Path) -> None:
    with embedded.running(home):
        pass
    nobody = pwd.getpwnam("nobody").pw_uid
    child = os.fork()
    if not child:
        os.setuid(nobody)
        try:
            with embedded.running(home):
                os._exit(1)
        except HomeOfAnotherUser:
            os._exit(0)
        finally:
            os._exit(2)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0


def test_a_path_too_long_for_a_socket_is_no_obstacle(home: Path) -> None:
    deep = home / ("a" * 90) / ("b" * 90)
    with embedded.running(deep) as services:
        assert works(services)


def test_data_of_another_postgresql_are_left_alone(home: Path) -> None:
    with embedded.running(home):
        pass
    shutil.copy(home / "postgres" / "PG_VERSION", home / "before")
    (home / "postgres" / "PG_VERSION").write_text("16\n")
    with pytest.raises(WrongDataVersion, match="PostgreSQL 16"), embedded.running(home):
        pass
