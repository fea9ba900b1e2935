"""Processes of a local Airflow, seen from outside: their time of the processor, their lives, their memory."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Mapping
from pathlib import Path

import psutil

from dev.component import Component

INTERVAL = 0.25
"""Seconds between two looks. A task's process lives longer: it imports Airflow's SDK and the provider."""


class Watcher:
    """
    Context manager: looks at all processes of an Airflow until its end.

    With LocalExecutor the scheduler has a process for each slot, and that has a supervised one for each time
    that a task begins or resumes. The system adds the time of a process that has ended to its parent's.

    :param components: those of the Airflow, by name.
    """

    def __init__(self, components: Mapping[str, Component]) -> None:
        self._roots = {
            name: next(process for process in one.processes() if os.getsid(process.pid) == process.pid)
            for name, one in components.items()
        }
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._look_on, daemon=True)
        self._lives: dict[tuple[int, float], tuple[float, float]] = {}
        self.peaks = {"a task's process": 0.0, "all task processes": 0.0, "triggerer": 0.0}
        """Megabytes of resident memory at the most."""

    def __enter__(self) -> Watcher:
        self._before, self._old = self._cpu(), {task.pid for task in self._tasks()}
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(10)
        self.cpu = {name: seconds - self._before[name] for name, seconds in self._cpu().items()}
        """Seconds of the processor by component; the scheduler's own, and "workers" for its children."""

    @property
    def starts(self) -> int:
        """How many processes of tasks there were."""
        return len(self._lives)

    @property
    def lived(self) -> float:
        """Seconds that they lived together."""
        return sum(last - first for first, last in self._lives.values())

    def _cpu(self) -> dict[str, float]:
        spent = {name: _cpu_of(root) for name, root in self._roots.items()}
        own = self._roots["scheduler"].cpu_times()
        return spent | {
            "scheduler": own.user + own.system,
            "workers": spent["scheduler"] - own.user - own.system,
        }

    def _look_on(self) -> None:
        while not self._stop.wait(INTERVAL):
            with contextlib.suppress(psutil.Error):
                self._look()

    def _tasks(self) -> list[psutil.Process]:
        return [task for slot in self._roots["scheduler"].children() for task in slot.children()]

    def _look(self) -> None:
        sizes, now = [0.0], time.time()
        for task in self._tasks():
            with contextlib.suppress(psutil.Error, OSError):
                if task.pid not in self._old:
                    one = task.pid, task.create_time()
                    self._lives[one] = self._lives.get(one, (now, now))[0], now
                    sizes.append(_peak(task.pid))
        triggerer = self._roots["triggerer"]
        waiting = [_resident(one) for one in (triggerer, *triggerer.children(recursive=True))]
        for name, size in zip(self.peaks, (max(sizes), sum(sizes), sum(waiting)), strict=True):
            self.peaks[name] = max(self.peaks[name], size)


def _cpu_of(root: psutil.Process) -> float:
    spent = 0.0
    for process in (root, *root.children(recursive=True)):
        with contextlib.suppress(psutil.Error):
            times = process.cpu_times()
            spent += times.user + times.system + times.children_user + times.children_system
    return spent


def _peak(pid: int) -> float:
    """Megabytes that a process has had in memory at the most; none if it has just ended."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return max((float(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM")), default=0.0)


def _resident(process: psutil.Process) -> float:
    with contextlib.suppress(psutil.Error):
        return float(process.memory_info().rss) / 2**20
    return 0.0
