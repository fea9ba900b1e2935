"""A worker that ends as a pod of the KubernetesExecutor, which cannot run here: SIGTERM, then SIGKILL."""

from __future__ import annotations

import random

import pytest

from airflow_provider_xpander.emulator.server import EmulatorServer
from dev.cluster import Cluster
from dev.cluster_hits import ended_as_a_pod
from dev.soak import run_wave

pytestmark = pytest.mark.timeout(900)
NAMES = ["nothing"] * 3 + ["submit's connection broken"] * 6
"""Three that are deferred, and six that wait in a worker."""


def test_what_ran_there_is_stopped_and_run_once_more(cluster: Cluster, emulator: EmulatorServer) -> None:
    hits = {"a worker ended as a pod": ended_as_a_pod}
    came = run_wave(cluster, emulator, NAMES, "a worker ended as a pod", random.Random(1), hits)
    # A worker that is told to end stops its run, so the retry needs another: all but the last are stopped.
    assert [
        one for one in came if not one.answer or one.alive or one.stops[:-1] != (1,) * (len(one.ids) - 1)
    ] == []
