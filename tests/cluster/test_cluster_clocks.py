"""Workers whose clocks are ten minutes apart, five on either side of those of all else."""

from __future__ import annotations

import random
import signal
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest

from airflow_provider_xpander.emulator.server import EmulatorServer
from dev.clocks import NoClock, clock_environment
from dev.cluster import WORKERS, Cluster, NoCluster, local_cluster
from dev.soak import DAGS, Outcome, environment, run_wave
from dev.soak_kinds import KINDS

pytestmark = pytest.mark.timeout(2400)

GAP = 300
LATE = GAP + 180.0
"""Airflow counts the delay of a retry from the end of the try before, by the clock of its worker."""
MINUTE = "nothing, for a minute"
# Still under way when a worker looks that was resumed too early.
ALL = {**KINDS, MINUTE: replace(KINDS["nothing"], seconds=(60, 70))}
SOME = (
    *["nothing"] * 4,
    *[MINUTE] * 6,
    "submit answered 504",
    "stream's connection broken",
    "sync answered 504",
    "worker killed before deferral",
    "worker killed at the resume",
    "worker killed in its wait",
    "run failed, task tried again",
    "cleared while deferred",
    "marked failed while deferred",
    "marked failed while running",
    "timed out while deferred",
    "timed out while running",
    *["bulk, nothing"] * 2,
    "bulk, a submit answered 504",
    "bulk, worker killed at a resume",
)  # fmt: skip


@pytest.fixture(scope="module")
def came(emulator: EmulatorServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Outcome]]:
    """One wave, on a cluster of its own."""
    # As in conftest.py.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    home: Path = tmp_path_factory.mktemp("clocks")
    try:
        ahead, behind = clock_environment(GAP), clock_environment(-GAP)
        with local_cluster(
            home / "home",
            dags=(DAGS,),
            env=environment(emulator, home / "pids", 1)
            | {
                # Shorter than the clocks are apart, and longer than any run of the wave is waited for.
                "E2E_TIMEOUT": "240",
                # Where clocks differ, tasks are taken for dead, and started twice, by less.
                "AIRFLOW__SCHEDULER__SCHEDULER_ZOMBIE_TASK_THRESHOLD": "900",
                "AIRFLOW__CELERY_BROKER_TRANSPORT_OPTIONS__VISIBILITY_TIMEOUT": "86400",
                # A worker of 2.11 that is behind runs no task of a DAG run that was triggered just now.
                "AIRFLOW__SCHEDULER__ALLOW_TRIGGER_IN_FUTURE": "True",
            },
            env_of=dict(zip(WORKERS, (ahead, behind), strict=True)),
        ) as cluster:
            cluster.late = LATE
            yield _wave(cluster, emulator)
    except (NoCluster, NoClock) as error:
        pytest.skip(str(error))


def _wave(cluster: Cluster, emulator: EmulatorServer) -> list[Outcome]:
    return run_wave(cluster, emulator, SOME, None, random.Random(1), kinds=ALL)


@pytest.mark.parametrize("name", dict.fromkeys(SOME))
def test_each_run_is_started_once_answered_or_stopped(name: str, came: list[Outcome]) -> None:
    for one in came:
        if one.name == name:
            assert one.problem is None, one
            assert not one.is_bad, one
            assert one.stops == one.kind.stops, one


def test_tasks_have_gone_from_one_clock_to_the_other(came: list[Outcome]) -> None:
    moves = {move for one in came for move in pairwise(one.workers)}
    assert {WORKERS, WORKERS[::-1]} <= moves
