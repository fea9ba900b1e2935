"""Kinds of kills and faults on a cluster: one run each, its answer there, whatever hits all of them."""

from __future__ import annotations

import random

import pytest

from airflow_provider_xpander.emulator.server import EmulatorServer
from dev.cluster import Cluster
from dev.cluster_hits import ON_CLUSTER
from dev.soak import Outcome, run_wave
from dev.soak_kinds import KINDS

pytestmark = pytest.mark.timeout(900)
WAVE = 16
# What a component's end must not hurt, besides what each of them suffers by itself.
SOME = (
    *["nothing"] * 4,
    "submit answered 504",
    "worker killed before deferral",
    "worker killed at the resume",
)  # fmt: skip


@pytest.fixture(scope="module")
def came(cluster: Cluster, emulator: EmulatorServer) -> dict[str, Outcome]:
    names, draw = list(KINDS), random.Random(1)
    waves = [names[first : first + WAVE] for first in range(0, len(names), WAVE)]
    return {one.name: one for some in waves for one in run_wave(cluster, emulator, some, None, draw)}


@pytest.mark.parametrize("name", KINDS)
def test_each_run_is_started_once_answered_or_stopped(name: str, came: dict[str, Outcome]) -> None:
    one = came[name]
    assert one.problem is None, one
    assert not one.is_bad, one
    assert one.stops == KINDS[name].stops, one


@pytest.mark.parametrize("hit", ON_CLUSTER)
def test_no_run_is_doubled_stopped_or_lost(cluster: Cluster, emulator: EmulatorServer, hit: str) -> None:
    came = run_wave(cluster, emulator, SOME, hit, random.Random(1), ON_CLUSTER)
    assert [one for one in came if one.is_bad or one.stops != (0,)] == []
