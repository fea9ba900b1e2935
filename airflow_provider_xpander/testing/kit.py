"""The object behind the fixture ``xpander``: scripts agents, makes faults, and knows what was asked."""

from __future__ import annotations

import json
import os
import secrets
import time
from pathlib import Path
from types import TracebackType
from typing import Any

import pytest

from airflow_provider_xpander.api import clock
from airflow_provider_xpander.emulator import Emulator, EmulatorServer, Script, Settings
from airflow_provider_xpander.emulator.calls import Call
from airflow_provider_xpander.testing.guard import NetworkGuard
from airflow_provider_xpander.testing.recording import Recording
from airflow_provider_xpander.testing.runs import Run, listed

SPEED = 100.0
"""By how much the waits between two looks at a run are shorter than a DAG says."""
STOP_SECONDS = 5.0
"""How long a run that is being stopped may take to end."""


class XpanderKit:
    """
    A local xpander.ai for one test.

    Runs end at once, unless an agent says otherwise (``takes``). The provider looks at them a hundred times
    as often as the DAG says, so that a test does not wait half a minute. Time-outs and the agents' own
    seconds are real ones.

    :param server: the emulator of this process; it is reset.
    :param folder: where the files of recordings are.
    :param record: whether recordings ask the real agents.
    """

    def __init__(self, server: EmulatorServer, *, folder: Path, record: bool = False) -> None:
        self._server = server
        self._folder = folder
        self._record = record
        self._patch = pytest.MonkeyPatch()
        self._guard = NetworkGuard()
        self._recordings: list[Recording] = []
        self._real: Any = None

    @property
    def emulator(self) -> Emulator:
        """The emulator itself, with all that it can do."""
        return self._server.emulator

    @property
    def url(self) -> str:
        """The base URL of the service."""
        return self._server.url

    @property
    def api_key(self) -> str:
        """The key of this test; those of other tests are refused."""
        return self._server.api_key

    def __enter__(self) -> XpanderKit:
        """Set up the service and its connection."""
        self._real = real = self._real_connection() if self._record else None
        # A key of its own keeps out what an earlier test has left running, and its limits.
        key = f"xpander-test-{secrets.token_hex(8)}"
        self.emulator.reset(Settings(run_seconds=0.0, api_keys=[key]))
        self.emulator.clock = time.time
        self._guard = NetworkGuard(real)
        self._guard.__enter__()
        self.connect()
        # Airflow resumes a task of dag.test() in the same process, so there is no race to wait for.
        self._patch.setenv("AIRFLOW__XPANDER__MIN_DEFERRAL_AGE", "0")
        if real is None:
            self._patch.setattr(clock, "CLOCK", clock.Clock(SPEED))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Put back what was there before, and write what was recorded."""
        for recording in self._recordings:
            recording.close()
        self._patch.undo()
        self._guard.close()
        self.emulator.reset()

    def connect(self, conn_id: str = "xpander_default", **extra: Any) -> None:
        """
        Define an Airflow connection to this service, for this test.

        :param conn_id: its id.
        :param extra: fields of its extra, such as ``user_email``.
        """
        # No test waits for a minute or hour of the service's limits to pass.
        limits = {"requests_per_minute": 0, "requests_per_hour": 0}
        patience = {"timeout": 3600} if self._record else {}
        connection = {
            "conn_type": "xpander",
            "host": self.url,
            "password": self.api_key,
            "extra": {**limits, **patience, **extra},
        }
        self._patch.setenv(f"AIRFLOW_CONN_{conn_id.upper()}", json.dumps(connection))

    def agent(self, agent_id: str) -> Script:
        """
        Return the script of an agent, to say what it does: ``.answers``, ``.fails``, ``.pauses``, ...

        :param agent_id: its id, or a pattern of ids such as ``enrich-*``.
        """
        return self.emulator.agent(agent_id)

    workflow = agent
    """The same for a workflow: both are scripted alike."""

    def fault(self, name: str, **options: Any) -> None:
        """
        Let something go wrong from now on.

        :param name: ``lost_submit``, ``outage``, ``throttled``, ``slow_list``, ``wrong_json_once``,
            ``out_of_credit``, ``login_needed``, or another function of ``emulator/stories.py``.
        :param options: its arguments, such as ``agent`` and ``times``.
        :raises ValueError: there is no such fault, or not these options; the message names those that are.
        """
        self.emulator.story(name, **options)

    def resume(self, run: Run) -> None:
        """
        Let a paused run go on, as a person would.

        :param run: the run.
        """
        self.emulator.resume(run.id)

    def recording(self, path: str | Path, *, ignore: tuple[str, ...] = ()) -> None:
        """
        Let all agents answer what they have answered when the file was recorded.

        A prompt that was not recorded fails the test, and shows how it differs. With ``--xpander-record``
        the real agents are asked, once for each prompt, and the file is written; it holds no credentials.

        :param path: the file, relative to that of the test.
        :param ignore: regular expressions of what may differ in a prompt, such as dates.
        """
        recording = Recording(self._folder / path, ignore=ignore, real=self._real)
        self._recordings.append(recording)
        self.agent("*").answers(recording.answer, whole_packs=True)

    def runs(self, target_id: str | None = None) -> list[Run]:
        """
        Return the runs that were started, oldest first; a real service would have billed each.

        :param target_id: only runs of this agent or workflow.
        """
        return [
            Run(turn.task_id, turn.target_id, turn.text, turn.body, self.emulator, turn)
            for turn in self.emulator.runs(target_id)
        ]

    def prompts(self, target_id: str | None = None) -> list[str]:
        """
        Return what was asked, oldest first.

        :param target_id: only of this agent or workflow.
        """
        return [run.text for run in self.runs(target_id)]

    @property
    def calls(self) -> list[Call]:
        """The HTTP requests so far, oldest first."""
        return list(self.emulator.calls)

    def assert_one_run(self, target_id: str | None = None) -> Run:
        """
        Assert that one run was started, not none and no second one, and return it.

        :param target_id: only runs of this agent or workflow count.
        """
        __tracebackhide__ = True
        runs = self.runs(target_id)
        if len(runs) != 1:
            whose = f" of {target_id}" if target_id else ""
            others = listed(self.runs()) if target_id and not runs else ""
            asked = f"\nAll runs:{others}" if others else ""
            raise AssertionError(f"Expected one run{whose}, got {len(runs)}:{listed(runs)}{asked}")
        return runs[0]

    def assert_all_stopped(self) -> None:
        """Assert that no run goes on: each has ended by itself, or was stopped."""
        __tracebackhide__ = True
        until = time.monotonic() + STOP_SECONDS
        while going := [run for run in self.runs() if not run.is_over]:
            if time.monotonic() > until:
                raise AssertionError(f"Runs that go on and that nobody stopped:{listed(going)}")
            time.sleep(0.01)

    def objection(self) -> str | None:
        """Return why the test has to fail, once: a real service would have been called, or what is new."""
        said = [self._guard.objection(), *(recording.objection() for recording in self._recordings)]
        return "\n".join(filter(None, said)) or None

    def _real_connection(self) -> Any:
        if "AIRFLOW_CONN_XPANDER_DEFAULT" not in os.environ:
            pytest.fail("--xpander-record needs AIRFLOW_CONN_XPANDER_DEFAULT, with a real key", pytrace=False)
        from airflow_provider_xpander.hooks.xpander import XpanderHook

        return XpanderHook().settings
