"""A whole local Airflow, made of the real processes of the current interpreter's environment."""

from __future__ import annotations

import fcntl
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterable, Mapping
from importlib.metadata import version
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from dev.airflow_client import AirflowClient
from dev.airflow_config import WEBSERVER_CONFIG, airflow_environment
from dev.component import Component
from dev.ports import free_port
from dev.waiting import WaitTimeout, wait_for

AIRFLOW_VERSION = version("apache-airflow")
MAJOR = int(AIRFLOW_VERSION.split(".")[0])

# `airflow standalone` is not used: its scheduler and triggerer start log servers on all interfaces, and
# --skip-serve-logs is not to be had there. The UI reads the log files from the disk anyway.
COMMON_COMPONENTS = {
    "scheduler": ["scheduler", "--skip-serve-logs"],
    "triggerer": ["triggerer", "--skip-serve-logs"],
}
AIRFLOW_2_COMPONENTS = {"webserver": ["webserver", "--workers", "1"], **COMMON_COMPONENTS}
AIRFLOW_3_COMPONENTS = {
    "api-server": ["api-server", "--workers", "1"],
    "dag-processor": ["dag-processor"],
    **COMMON_COMPONENTS,
}
COMPONENTS = AIRFLOW_2_COMPONENTS if MAJOR == 2 else AIRFLOW_3_COMPONENTS
REPORTING = {"metadatabase", "scheduler", "triggerer"} | ({"dag_processor"} if MAJOR > 2 else set())

# Stands in a home made here: only such a folder is ever emptied.
MARKER = ".local-airflow"


class LocalAirflowError(Exception):
    """The local Airflow could not be started; the message holds the log that says why."""


class LocalAirflow:
    """
    Context manager: inside it a whole Airflow runs on 127.0.0.1, after it no process of it is left.

    ``home`` is emptied on entry and left in place on exit, so that logs can be read afterwards. Its own
    ``dags`` folder holds links to the given folders; a test may put more files there.

    :param home: folder for configuration, database and logs; made if it is not there
    :param dags: folders with DAG files
    :param env: environment for all processes, e.g. ``AIRFLOW_CONN_...``; wins over what is set here
    :param parallelism: how many tasks run at once
    :param database_url: SQLAlchemy URL of an empty PostgreSQL database; without it SQLite in ``home``
    :param start_limit: seconds until all components must be healthy
    :param components: what runs: arguments of ``airflow`` by the name under which it is started and killed
    """

    def __init__(
        self,
        home: Path,
        *,
        dags: Iterable[Path] = (),
        env: Mapping[str, str] | None = None,
        parallelism: int = 4,
        database_url: str | None = None,
        start_limit: float = 180,
        components: Mapping[str, list[str]] = COMPONENTS,
    ) -> None:
        self.home = home.resolve()
        self.dags_folder = self.home / "dags"
        self.late = 0.0
        """Seconds by which it may be late, beyond what is waited for else."""
        self._dags = [folder.resolve() for folder in dags]
        self._start_limit = start_limit
        self._lock: IO[str] | None = None
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        self.client = AirflowClient(self.url, major=MAJOR)
        self.env = airflow_environment(
            home=self.home,
            dags_folder=self.dags_folder,
            port=port,
            major=MAJOR,
            parallelism=parallelism,
            database_url=database_url,
            extra=env or {},
        )
        self.components = {
            name: Component(
                name,
                [sys.executable, "-m", "airflow", *arguments],
                env=self.env,
                log_file=self.home / f"{name}.log",
            )
            for name, arguments in components.items()
        }

    def __enter__(self) -> Self:
        """Migrate the database, start everything and wait until it is healthy."""
        self._lock_home()
        try:
            self._prepare_home()
            self.airflow("db", "migrate")
            for component in self.components.values():
                component.start()
            self.wait_healthy(self._start_limit)
        except BaseException:
            self.stop_all()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop every process."""
        self.stop_all()

    def airflow(self, *arguments: str, limit: float = 120) -> str:
        """
        Run one ``airflow`` command (6 to 9 seconds: it imports all of Airflow) and return its output.

        :param limit: seconds after which the command is killed
        :param arguments: of the command.
        """
        done = subprocess.run(
            [sys.executable, "-m", "airflow", *arguments],
            env=self.env,
            cwd=self.home,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=limit,
            check=False,
            # Like the components: a Ctrl-C is ours to handle.
            start_new_session=True,
        )
        if done.returncode:
            raise LocalAirflowError(
                f"airflow {' '.join(arguments)} ended with {done.returncode}\n{done.stdout}"
            )
        return done.stdout

    def wait_healthy(self, limit: float) -> None:
        """
        Wait until every component reports to be healthy; fail at once when one of them has died.

        :param limit: seconds.
        """
        try:
            wait_for(self._is_healthy, limit=limit, what="a healthy Airflow", interval=0.5)
        except WaitTimeout as error:
            tails = "\n".join(f"--- {name}\n{self.log_tail(name)}" for name in self.components)
            raise LocalAirflowError(f"{error}\n{self.client.health()}\n{tails}") from None

    def start(self, name: str) -> None:
        """
        Start one component again after ``stop`` or ``kill``. Does not wait until it works.

        :param name: of the component.
        """
        self.components[name].start()

    def stop(self, name: str, limit: float = 10) -> None:
        """
        Ask one component to stop (SIGTERM); after ``limit`` seconds kill it. Nothing is left of it.

        :param name: of the component.
        :param limit: seconds.
        """
        self.components[name].send(signal.SIGTERM)
        self.components[name].wait_gone(limit)

    def kill(self, name: str, signum: signal.Signals = signal.SIGKILL, limit: float = 10) -> None:
        """
        Signal all processes of one component, as when its machine dies, and wait for their end.

        :param name: of the component.
        :param signum: the signal.
        :param limit: seconds.
        """
        self.components[name].send_all(signum)
        self.components[name].wait_gone(limit)

    def restart(self, name: str) -> None:
        """
        Stop and start one component, e.g. the scheduler after a change of provider code.

        :param name: of the component.
        """
        self.stop(name)
        self.start(name)

    def log_tail(self, name: str, lines: int = 40) -> str:
        """
        Return the last lines that a component has written.

        :param name: of the component.
        :param lines: how many.
        """
        return self.components[name].log_tail(lines)

    def stop_all(self, limit: float = 10) -> None:
        """
        Stop everything: asked first, killed after ``limit`` seconds or at a second Ctrl-C.

        :param limit: seconds.
        """
        try:
            for component in self.components.values():
                component.send(signal.SIGTERM)
            for component in self.components.values():
                component.wait_gone(limit)
        except KeyboardInterrupt:
            for component in self.components.values():
                component.send_all(signal.SIGKILL)
            for component in self.components.values():
                component.wait_gone(limit)
            raise
        finally:
            self.client.close()
            if self._lock is not None:
                self._lock.close()

    def _lock_home(self) -> None:
        self.home.parent.mkdir(parents=True, exist_ok=True)
        # Held as long as we run, and given back by the system however we end.
        self._lock = self.home.with_name(f"{self.home.name}.lock").open("w")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self._lock.close()
            raise LocalAirflowError(f"another local Airflow is using {self.home}") from None

    def _prepare_home(self) -> None:
        if self.home.exists() and any(self.home.iterdir()):
            if not (self.home / MARKER).exists():
                raise LocalAirflowError(f"{self.home} is not empty and was not made by LocalAirflow")
            shutil.rmtree(self.home)
        self.dags_folder.mkdir(parents=True)
        (self.home / MARKER).touch()
        for folder in self._dags:
            (self.dags_folder / folder.name).symlink_to(folder, target_is_directory=True)
        (self.home / "webserver_config.py").write_text(WEBSERVER_CONFIG)

    def _is_healthy(self) -> bool:
        for name, component in self.components.items():
            if not component.is_running:
                raise LocalAirflowError(
                    f"{name} ended with {component.exit_code} while starting\n{self.log_tail(name)}"
                )
        health = self.client.health()
        return all(health.get(part) == "healthy" for part in REPORTING)
