"""
The short soak: each kind of kill and fault once, many at a time; `make soak` makes two hundred, at random.

What is asserted is the service's own record, runs and stops, and the answer in XCom.
"""

from __future__ import annotations

import random

import pytest

from airflow_provider_xpander.emulator.server import EmulatorServer
from dev.local_airflow import LocalAirflow
from dev.soak import Outcome, run_wave
from dev.soak_hits import ON_ALL
from dev.soak_kinds import KINDS

pytestmark = pytest.mark.timeout(600)
# What a triggerer's end or an outage must not hurt, besides what each of them suffers by itself.
SOME = (
    "nothing",
    "submit answered 504",
    "worker killed before deferral",
    "worker killed at the resume",
    "bulk, nothing",
    "bulk, a submit answered 504",
)
# What `make test-versions` makes of them: one wave.
SHORT = {
    "nothing",
    "submit answered 504",
    "sync answered 504",
    "stream's connection broken",
    "worker killed before deferral",
    "worker killed in its wait",
    "worker killed at the resume",
    "bulk, nothing",
    "cleared while deferred",
    "marked failed while deferred",
    "marked failed while running",
    "marked success while deferred",
}


@pytest.fixture(scope="module")
def came(
    request: pytest.FixtureRequest, parallel: LocalAirflow, emulator: EmulatorServer, wave: int
) -> dict[str, Outcome]:
    # Those that were selected: each takes its share of a minute.
    params = [
        item.callspec.params
        for item in request.session.items
        if isinstance(item, pytest.Function) and hasattr(item, "callspec")
    ]
    wanted = {one.get("name") for one in params}
    names, draw = [name for name in KINDS if name in wanted], random.Random(1)
    waves = [names[first : first + wave] for first in range(0, len(names), wave)]
    return {one.name: one for some in waves for one in run_wave(parallel, emulator, some, None, draw)}


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.versions) if name in SHORT else name for name in KINDS]
)
def test_each_run_is_started_once_answered_or_stopped(name: str, came: dict[str, Outcome]) -> None:
    one = came[name]
    assert one.problem is None, one
    assert len(one.ids) == len(KINDS[name].stops), one
    assert one.stops == KINDS[name].stops, one
    assert one.alive == (), one
    assert one.answer == KINDS[name].answer, one
    assert KINDS[name].tries in (None, one.tries), one


@pytest.mark.parametrize("on_all", ON_ALL)
def test_what_hits_all_hurts_none(parallel: LocalAirflow, emulator: EmulatorServer, on_all: str) -> None:
    came = run_wave(parallel, emulator, SOME, on_all, random.Random(1))
    assert [one for one in came if one.problem or one.is_bad or any(one.stops)] == []
