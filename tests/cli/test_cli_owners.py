from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from airflow_provider_xpander._compat_records import Instance
from airflow_provider_xpander.cli.owners import Owner, Verdict, find_owners, identity_of, judge

BEGAN = datetime(2026, 11, 26, 6, 0, tzinfo=UTC)
MINE = Instance("dag", "run", "task", -1, 1, 2, "deferred", BEGAN)


def test_a_mark_leads_to_its_task_instance_and_the_try_it_began_with() -> None:
    other = replace(MINE, map_index=3, try_number=4)
    digests = {identity_of(MINE, 1, "").digest, identity_of(other, 3, "").digest, "f" * 20}
    assert find_owners([MINE, other], digests, "") == {
        identity_of(MINE, 1, "").digest: Owner(MINE, 1),
        identity_of(other, 3, "").digest: Owner(other, 3),
    }


def test_a_mark_that_may_be_another_airflows_has_no_owner_here() -> None:
    old = identity_of(MINE, 1, "").old_digest
    unsure = replace(MINE, began=None)
    assert old is not None
    for digest, instance, deployment in (
        (old, MINE, ""),
        (identity_of(unsure, 1, "").digest, unsure, ""),
        (identity_of(MINE, 1, "staging").digest, MINE, "production"),
        (identity_of(MINE, 1, "").digest, replace(MINE, began=BEGAN.replace(hour=7)), ""),
    ):
        assert find_owners([instance], {digest}, deployment) == {}


# retries=2, so the first try after a clear in try n is n + 1, and max_tries is n + 2.
@pytest.mark.parametrize(
    ("state", "try_number", "max_tries", "first_try", "retries", "verdict"),
    [
        ("deferred", 1, 2, 1, 2, Verdict.WAITED),
        ("running", 2, 2, 1, 2, Verdict.WAITED),  # a retry
        ("up_for_retry", 3, 2, 1, 2, Verdict.WAITED),
        ("running", 2, 2, 2, 2, Verdict.WAITED),  # a retry without reattach
        ("queued", 2, 3, 1, 2, Verdict.ORPHAN),  # after a clear
        ("running", 3, 3, 2, 2, Verdict.WAITED),  # a retry after a clear
        ("running", 3, 3, 1, 2, Verdict.ORPHAN),
        ("running", 3, 3, 1, None, Verdict.WAITED),  # not known, so nothing is stopped
        ("awaiting_input", 1, 2, 1, 2, Verdict.WAITED),
        ("failed", 1, 2, 1, 2, Verdict.ORPHAN),
        ("skipped", 1, 2, 1, 2, Verdict.ORPHAN),
        (None, 1, 3, 1, 2, Verdict.ORPHAN),
        ("success", 1, 2, 1, 2, Verdict.LEFT),
    ],
)
def test_whether_somebody_waits(
    state: str | None, try_number: int, max_tries: int, first_try: int, retries: int | None, verdict: Verdict
) -> None:
    instance = replace(MINE, state=state, try_number=try_number, max_tries=max_tries)
    said = judge(Owner(instance, first_try), lambda asked: retries)
    assert said[0] is verdict
    assert said[1].startswith("its task ")
