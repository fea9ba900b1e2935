from __future__ import annotations

import pytest

from airflow_provider_xpander.api.settings import Settings
from airflow_provider_xpander.runs.stop_policy import (
    Fate,
    OnKill,
    fate_after_cancel,
    fate_after_failure,
    not_stopped,
)


@pytest.mark.parametrize(
    ("retries_left", "reattach", "action", "fate"),
    [
        (True, True, "stop", Fate.KEEP),
        (True, True, "leave", Fate.KEEP),
        (True, False, "stop", Fate.STOP),
        (True, False, "leave", Fate.LEAVE),
        (False, True, "stop", Fate.STOP),
        (False, True, "leave", Fate.LEAVE),
        (False, False, "stop", Fate.STOP),
        (False, False, "leave", Fate.LEAVE),
    ],
)
def test_after_a_failure_only_a_retry_that_takes_over_keeps_the_run(
    retries_left: bool, reattach: bool, action: OnKill, fate: Fate
) -> None:
    assert fate_after_failure(retries_left=retries_left, reattach=reattach, action=action) is fate


@pytest.mark.parametrize(
    ("deferred_on_this", "action", "fate"),
    [
        (True, "stop", Fate.KEEP),
        (True, "leave", Fate.KEEP),
        (None, "stop", Fate.KEEP),
        (None, "leave", Fate.KEEP),
        (False, "stop", Fate.STOP),
        (False, "leave", Fate.LEAVE),
    ],
)
def test_after_a_cancel_only_a_run_that_nobody_waits_for_is_stopped(
    deferred_on_this: bool | None, action: OnKill, fate: Fate
) -> None:
    assert fate_after_cancel(deferred_on_this=deferred_on_this, action=action) is fate


def test_a_person_is_told_the_exact_call_and_no_key() -> None:
    told = not_stopped("t-1", Settings(base_url="https://x.example:8443/proxy", api_key="secret"), "HTTP 503")
    assert "xpander task t-1 could not be stopped and may go on (HTTP 503)" in told
    assert told.endswith("curl -X POST -H 'x-api-key: <key>' https://x.example:8443/proxy/v1/tasks/t-1/stop")
    assert "secret" not in told


def test_the_call_is_that_of_the_connection() -> None:
    told = not_stopped("a/b c", Settings(auth_mode="bearer", api_key="jwt"), "no answer")
    assert "-H 'Authorization: Bearer <token>'" in told
    assert told.endswith("/v1/tasks/a%2Fb%20c/stop")
    assert not_stopped("t-1", None, "no connection").endswith("<base URL>/v1/tasks/t-1/stop")
