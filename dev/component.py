"""One long-running command in a session of its own, to be ended with everything that it started."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

import psutil

from dev.waiting import WaitTimeout, wait_for


class Component:
    """
    A process of the local Airflow: started, asked to stop, or killed, together with its descendants.

    A session, not only a process group: Airflow puts each task into a process group of its own, but all of
    them stay in the session of the component that forked them, also after their parent has died.

    :param name: for messages.
    :param command: the command line.
    :param env: the whole environment.
    :param log_file: where its output goes.
    """

    def __init__(self, name: str, command: Sequence[str], *, env: Mapping[str, str], log_file: Path) -> None:
        self.name = name
        self.command = list(command)
        self.env = dict(env)
        self.log_file = log_file
        self._process: subprocess.Popen[bytes] | None = None
        self._seen: set[psutil.Process] = set()

    def start(self) -> None:
        """Start the command; its output is appended to the log file."""
        if self.is_running:
            raise RuntimeError(f"{self.name} is already running")
        self._seen.clear()
        with self.log_file.open("ab") as log:
            self._process = subprocess.Popen(
                self.command,
                env=self.env,
                cwd=self.log_file.parent,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def is_running(self) -> bool:
        """Whether the command itself is alive (its descendants may outlive it)."""
        return self._process is not None and self._process.poll() is None

    @property
    def exit_code(self) -> int | None:
        """Exit code of the command, ``None`` while it runs or before it has been started."""
        return None if self._process is None else self._process.poll()

    def processes(self) -> list[psutil.Process]:
        """Every living process of the component: the command and its descendants, orphans included."""
        if self._process is None:
            return []
        self._remember_processes(session=self._process.pid)
        # is_running() compares the start time too, so a reused pid is not taken for one of ours.
        return [process for process in self._seen if process.is_running() and _is_alive(process)]

    def send(self, signum: signal.Signals) -> None:
        """
        Send a signal to the command itself only.

        :param signum: the signal.
        """
        if self._process is not None and self.is_running:
            self._remember_processes(session=self._process.pid)
            self._process.send_signal(signum)

    def send_all(self, signum: signal.Signals) -> None:
        """
        Send a signal to every process of the component.

        :param signum: the signal.
        """
        for process in self.processes():
            with contextlib.suppress(psutil.Error):
                process.send_signal(signum)

    def wait_gone(self, limit: float) -> None:
        """
        Wait until no process is left; what is left after ``limit`` seconds is killed.

        :param limit: seconds.
        """
        try:
            wait_for(self._is_gone, limit=limit, what=f"{self.name} to stop", interval=0.1)
        except WaitTimeout:
            self.send_all(signal.SIGKILL)
            wait_for(self._is_gone, limit=10, what=f"{self.name} to die", interval=0.1)

    def log_tail(self, lines: int = 40) -> str:
        """
        Return the last lines of the log file.

        :param lines: how many.
        """
        if not self.log_file.exists():
            return ""
        return "\n".join(self.log_file.read_text(errors="replace").splitlines()[-lines:])

    def _remember_processes(self, session: int) -> None:
        # Descendants in another session (BashOperator starts one) are reachable only through a living parent,
        # so whoever has been seen once is remembered.
        for process in psutil.process_iter():
            with contextlib.suppress(OSError, psutil.Error):
                if os.getsid(process.pid) == session:
                    self._seen.update([process, *process.children(recursive=True)])

    def _is_gone(self) -> bool:
        # The command first: polling it also reaps it.
        return not self.is_running and not self.processes()


def _is_alive(process: psutil.Process) -> bool:
    try:
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    except psutil.Error:
        return False
