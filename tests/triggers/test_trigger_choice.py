"""The trigger of a task whose run has ended, and that has asked a person."""

from __future__ import annotations

import time
from typing import Any

import pytest
from airflow_side import fire

from airflow_provider_xpander._compat import HAS_HUMAN_IN_THE_LOOP
from airflow_provider_xpander.runs.question import WENT_ON
from airflow_provider_xpander.triggers import asking
from airflow_provider_xpander.triggers.asking import XpanderChoiceTrigger

pytestmark = pytest.mark.skipif(not HAS_HUMAN_IN_THE_LOOP, reason="this Airflow cannot ask anybody")

CHOSEN = {"chosen_options": ["Approve"], "params_input": {}, "responded_by_user": None}


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What each look at the question finds, or raises; the last one again and again."""
    found: list[Any] = []

    async def look(ti_id: str) -> Any:
        one = found.pop(0) if len(found) > 1 else found[0]
        if isinstance(one, Exception):
            raise one
        return one

    monkeypatch.setattr(asking, "persons_choice", look)
    monkeypatch.setattr(asking, "CHOICE_INTERVAL", 0.01)
    return found


async def test_it_fires_when_somebody_has_answered(looks: list[Any]) -> None:
    # A question that was closed before, and an API that is away, are no answers.
    looks += [None, {"chosen_options": [WENT_ON]}, RuntimeError("away"), CHOSEN]
    assert await fire(XpanderChoiceTrigger("ti")) == CHOSEN


async def test_it_fires_when_the_time_is_up(looks: list[Any]) -> None:
    looks += [None]
    assert await fire(XpanderChoiceTrigger("ti", deadline=time.time() + 0.05)) == {"late": True}


async def test_an_answer_that_is_there_counts_though_the_time_is_up(looks: list[Any]) -> None:
    looks += [CHOSEN]
    assert await fire(XpanderChoiceTrigger("ti", deadline=time.time() - 1)) == CHOSEN


def test_it_is_stored_as_plain_json() -> None:
    path, kwargs = XpanderChoiceTrigger("ti", 5.0, 4.0).serialize()
    assert path.rpartition(".")[2] == "XpanderChoiceTrigger"
    assert XpanderChoiceTrigger(**kwargs).serialize() == (path, kwargs)
