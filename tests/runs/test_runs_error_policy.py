"""One table says what an error means to Airflow: to the code, and to readers of docs/errors.md."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from airflow_provider_xpander.api import errors
from airflow_provider_xpander.api.errors import XpanderError
from airflow_provider_xpander.runs.answer import XpanderAnswerError
from airflow_provider_xpander.runs.error_policy import TABLE, consequence_of
from airflow_provider_xpander.runs.watch import Again, Over, Watch

DOCS = Path(__file__).parents[2] / "docs" / "errors.md"
LEAVES = [
    kind
    for kind in [*vars(errors).values(), XpanderAnswerError]
    if isinstance(kind, type) and issubclass(kind, XpanderError) and not kind.__subclasses__()
]


def example(kind: type[XpanderError]) -> XpanderError:
    if kind is errors.XpanderAmbiguousSubmitError:
        return errors.XpanderAmbiguousSubmitError("lost", target_id="a")
    if issubclass(kind, errors.XpanderTaskError):
        return kind("ended", task_id="t")
    if kind is XpanderAnswerError:
        return XpanderAnswerError("not JSON", task_id="t", answer="x")
    return kind("went wrong")


def test_the_documented_table_is_that_of_the_code() -> None:
    rows = [line for line in DOCS.read_text().splitlines() if line.startswith("|")]
    cells = [[cell.strip().replace("`", "") for cell in row.strip("|").split("|")] for row in rows]
    documented = [cell for cell in cells if re.match(r"Xpander\w*Error$|XpanderTask\w+$", cell[1])]
    assert documented == [
        [row.what, row.error.__name__, row.operator.value, row.waiting.value, row.sensor.value]
        for row in TABLE
    ]


@pytest.mark.parametrize("kind", LEAVES)
def test_every_error_has_a_row_of_its_own(kind: type[XpanderError]) -> None:
    assert consequence_of(example(kind)).error is kind


def test_an_error_of_tomorrow_falls_to_the_last_row() -> None:
    assert consequence_of(XpanderError("new")) is TABLE[-1]


@pytest.mark.parametrize("kind", [row.error for row in TABLE if row.waiting.value != "-"])
def test_a_wait_does_what_the_table_says(kind: type[XpanderError]) -> None:
    goes_on = consequence_of(example(kind)).waiting.value == "goes on waiting"
    watch = Watch("t-1")
    verdict: Again | Over = watch.after_error(example(kind), 0.0)
    if isinstance(verdict, Again) and not goes_on:
        # Not visible yet, for a minute.
        verdict = watch.after_error(example(kind), 61.0)
    assert isinstance(verdict, Again) is goes_on
