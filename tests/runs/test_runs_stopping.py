"""The stop of a run: which requests it takes, and what is said of the run in the end."""

from __future__ import annotations

import json
from typing import Any

import pytest

from airflow_provider_xpander.api.errors import XpanderAuthError, XpanderError, XpanderNotFoundError
from airflow_provider_xpander.api.exchange import NoReply, Outcome, Refresh, Reply, Send, Sleep
from airflow_provider_xpander.api.retry import RetryPolicy
from airflow_provider_xpander.runs.stopping import Stopped, stop_run

OWN, OTHER = "0" * 19 + "1", "0" * 19 + "2"
POLICY = RetryPolicy(attempts=3)


def said(status: int, detail: str = "no") -> Reply:
    return Reply(status, body=json.dumps({"detail": detail}).encode())


def task(status: str, mark: str | None = None, finished: str | None = None) -> Reply:
    title = f"report [airflow {mark}]" if mark else "report"
    return Reply(
        200,
        body=json.dumps({"id": "t-1", "status": status, "title": title, "finished_at": finished}).encode(),
    )


def play(replies: list[Any], **kwargs: Any) -> tuple[str, list[str]]:
    """Play a conversation; return what came of it, and what was asked."""
    steps, outcome, asked = stop_run("t-1", POLICY, **kwargs), None, []
    script = iter(replies)
    try:
        while True:
            step = steps.send(outcome)
            outcome: Outcome = None
            if isinstance(step, Send):
                asked.append("stop" if step.call.method == "POST" else "read")
                outcome = next(script)
            elif isinstance(step, Refresh):
                asked.append("refresh")
                outcome = next(script)
            else:
                assert isinstance(step, Sleep)
    except StopIteration as end:
        result: Stopped = end.value
        assert next(script, None) is None
        return f"{'another' if result.is_foreign else result.task.status.value}", asked
    except XpanderError as error:
        assert next(script, None) is None
        return f"error {error.status_code}", asked


GONE = NoReply("the connection broke", sent=True)
SHARED = {"digests": [OWN]}


@pytest.mark.parametrize(
    ("replies", "kwargs", "result", "asked"),
    [
        pytest.param([task("stopped")], {}, "stopped", "stop", id="stopped"),
        pytest.param([task("executing")], {}, "executing", "stop", id="accepted"),
        pytest.param([task("completed")], {}, "completed", "stop", id="over already"),
        # Errors of a run that is over.
        pytest.param([said(409), task("completed")], {}, "completed", "stop read", id="409 of an end"),
        pytest.param([said(400), task("failed")], {}, "failed", "stop read", id="400 of an end"),
        pytest.param([said(405), task("completed")], {}, "completed", "stop read", id="405 of an end"),
        # A success that is no task.
        pytest.param([Reply(204), task("stopped")], {}, "stopped", "stop read", id="204"),
        pytest.param([Reply(200), task("stopped")], {}, "stopped", "stop read", id="empty body"),
        pytest.param([Reply(200, body=b'"ok"'), task("completed")], {}, "completed", "stop read", id="word"),
        pytest.param([Reply(200, body=b"{}"), task("stopped")], {}, "stopped", "stop read", id="no id"),
        pytest.param(
            [Reply(200, body=b'{"id": "job-1", "status": "stopped"}'), task("completed")],
            {},
            "completed",
            "stop read",
            id="another id",
        ),
        pytest.param(
            [Reply(204), task("executing"), task("stopped")], {}, "stopped", "stop read read", id="204, slow"
        ),
        pytest.param(
            [Reply(200, body=b"<html>log in</html>"), task("executing"), task("executing"), task("stopped")],
            {},
            "stopped",
            "stop read read stop",
            id="a page of a proxy",
        ),
        # What may pass.
        pytest.param(
            [said(503), task("executing"), task("stopped")], {}, "stopped", "stop read stop", id="503"
        ),
        pytest.param([said(503), task("completed")], {}, "completed", "stop read", id="503, then over"),
        pytest.param([GONE, task("stopped")], {}, "stopped", "stop read", id="it was heard all the same"),
        pytest.param([GONE, GONE, task("stopped")], {}, "stopped", "stop read stop", id="outage"),
        pytest.param(
            [said(429), task("executing"), task("stopped")], {}, "stopped", "stop read stop", id="429"
        ),
        pytest.param(
            [said(409), task("executing"), task("executing"), task("stopped")],
            {},
            "stopped",
            "stop read read stop",
            id="409 of a run that begins",
        ),
        pytest.param([said(401), True, task("stopped")], {}, "stopped", "stop refresh stop", id="401"),
        pytest.param(
            [said(401), GONE, task("executing"), task("stopped")],
            {},
            "stopped",
            "stop refresh read stop",
            id="401, no new key for now",
        ),
        # What does not.
        pytest.param(
            [said(401), False, said(401), False], {}, "error 401", "stop refresh read refresh", id="same key"
        ),
        pytest.param([said(403), said(403)], {}, "error 403", "stop read", id="403"),
        pytest.param([said(404), said(404)], {}, "error 404", "stop read", id="404"),
        pytest.param(
            [said(400), task("executing")], {}, "error 400", "stop read", id="400 of a run that goes on"
        ),
        pytest.param(
            [said(503), task("executing"), said(503), said(503), said(503), task("executing")],
            {},
            "error 503",
            "stop read stop read stop read",
            id="503 for too long",
        ),
        pytest.param([said(503), task("executing")], {"budget": 0.0}, "error 503", "stop read", id="no time"),
        # Threads that somebody else may have continued, and stops that come late.
        pytest.param([task("completed", OWN)], SHARED, "completed", "read", id="shared, over"),
        pytest.param([task("executing", OTHER)], SHARED, "another", "read", id="shared, another's turn"),
        pytest.param([task("completed", OTHER)], SHARED, "another", "read", id="shared, another's is over"),
        pytest.param(
            [task("executing", OWN), task("stopped")], SHARED, "stopped", "read stop", id="shared, own"
        ),
        pytest.param(
            [task("executing"), task("stopped")], SHARED, "stopped", "read stop", id="shared, no mark"
        ),
        pytest.param(
            [GONE, task("executing", OWN), task("stopped")],
            SHARED,
            "stopped",
            "read read stop",
            id="shared, cannot be read at first",
        ),
        pytest.param([said(403), said(403)], SHARED, "error 403", "read read", id="shared, cannot be read"),
        pytest.param(
            [task("executing", OWN), said(503), task("executing", OTHER)],
            SHARED,
            "another",
            "read stop read",
            id="shared, continued by another between two tries",
        ),
        pytest.param(
            [GONE, task("stopped")], {"look_first": True}, "stopped", "read stop", id="late, cannot be read"
        ),
        pytest.param(
            [task("completed", OTHER, "2026-11-01T00:00:00Z"), task("stopped")],
            SHARED | {"newer_than": 1.8e9},
            "stopped",
            "read stop",
            id="shared, the turn before is still shown",
        ),
    ],
)
def test_the_run_itself_tells_what_became_of_it(
    replies: list[Any], kwargs: dict[str, Any], result: str, asked: str
) -> None:
    assert play(replies, **kwargs) == (result, asked.split())


@pytest.mark.parametrize(
    ("reply", "error"), [(said(404), XpanderNotFoundError), (said(403), XpanderAuthError)]
)
def test_the_error_is_that_of_the_stop(reply: Reply, error: type[XpanderError]) -> None:
    steps = stop_run("t-1", POLICY)
    steps.send(None)
    steps.send(reply)
    with pytest.raises(error, match="stop task t-1"):
        steps.send(said(502))
