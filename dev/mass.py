"""Many deferred tasks that are cleared at once, and then ended with their DAG run: every run is stopped."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from dev.scenario import Scenario
from dev.waiting import wait_for


@dataclass(frozen=True)
class Mass:
    """
    What came of it.

    :param many: how many tasks there were.
    :param runs: remote runs that were created: one for each task, and one more for each that was cleared.
    :param alive: remote runs that go on.
    :param stops: how often each run was stopped.
    :param seconds: what each step took.
    """

    many: int
    runs: int
    alive: int
    stops: tuple[int, ...]
    seconds: dict[str, float]

    @property
    def is_right(self) -> bool:
        """Whether each task had two runs, and each of them was stopped; the next attempt may do so too."""
        return len(self.stops) == 2 * self.many and all(self.stops) and not self.alive

    def __str__(self) -> str:
        """Return a line for people."""
        steps = ", ".join(f"{step} {seconds:.0f} s" for step, seconds in self.seconds.items())
        often = Counter(self.stops)
        stopped = ", ".join(f"{often[times]} stopped {times} times" for times in sorted(often))
        return (
            f"{self.many} deferred tasks, cleared and then marked failed at once: {self.runs} runs, "
            f"{stopped}, {self.alive} alive ({steps})"
        )


def mass(
    scenario: Scenario, many: int, limit: float, during_clear: Callable[[], None] = lambda: None
) -> Mass:
    """
    Clear all tasks of a run of ``kill_many``, then mark the run failed, and count.

    :param scenario: the run, just started.
    :param many: how many mapped tasks it has.
    :param limit: seconds for each step.
    :param during_clear: what happens besides, from the moment of the clear on.
    """
    started = time.monotonic()
    seconds = {}

    def step(name: str) -> None:
        nonlocal started
        seconds[name] = time.monotonic() - started
        started = time.monotonic()

    def stopped() -> int:
        return sum(scenario.stops(run) > 0 for run in scenario.runs())

    wait_for(lambda: scenario.triggers() >= many, limit=limit, what=f"{many} triggers")
    step("deferred")
    scenario.clear()
    during_clear()
    wait_for(lambda: stopped() >= many, limit=limit, what=f"{many} stops after the clear")
    step("cleared and stopped")
    wait_for(lambda: scenario.triggers() >= 2 * many, limit=limit, what=f"{many} triggers more")
    step("deferred again")
    scenario.client.set_run_state(scenario.dag_id, scenario.run_id, "failed")
    wait_for(lambda: stopped() >= 2 * many, limit=limit, what=f"{many} stops more")
    step("marked and stopped")
    scenario.pause(5)  # what comes late
    runs = scenario.runs()
    return Mass(
        many=many,
        runs=len(runs),
        alive=sum(not scenario.emulator.status(run).is_terminal for run in runs),
        stops=tuple(scenario.stops(run) for run in runs),
        seconds=seconds,
    )
