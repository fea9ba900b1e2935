from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import pytest

from airflow_provider_xpander.api.errors import XpanderValidationError
from airflow_provider_xpander.runs.identity import (
    TITLE_LIMIT,
    Identity,
    Mark,
    fingerprint,
    mark_title,
    read_mark,
)
from airflow_provider_xpander.task_instance import check_own_task, identity_of, retries_left

BEGAN = datetime(2026, 11, 1, 2, 0, 0, 123456, tzinfo=UTC)
ONE = Identity("nightly", "scheduled__2026-11-01", "group.ask", -1, 1, BEGAN)
LOOP = UUID("019a0000-0000-7000-8000-000000000001")
DIGEST = "0123456789abcdef0123"
MARK = Mark(DIGEST, "abcdef012345")
BODY: dict[str, Any] = {"input": {"text": "hello"}, "think_mode": "harder"}


class TaskInstance:
    """What Airflow says of an attempt."""

    dag_id, run_id, task_id = "nightly", "scheduled__2026-11-01", "group.ask"

    def __init__(
        self,
        try_number: int,
        max_tries: int | None,
        map_index: int | None = -1,
        *,
        dag_run: Any = SimpleNamespace(start_date=BEGAN),  # noqa: B008 - it is only read
        **region: Any,
    ) -> None:
        self.try_number, self.max_tries, self.map_index = try_number, max_tries, map_index
        self.dag_run = dag_run
        self.__dict__.update(region)

    def get_template_context(self) -> dict[str, Any]:
        return {} if self.dag_run is None else {"dag_run": self.dag_run}


@pytest.mark.parametrize(
    "other",
    [
        replace(ONE, dag_id="hourly"),
        replace(ONE, run_id="scheduled__2026-11-02"),
        replace(ONE, task_id="ask"),
        replace(ONE, map_index=0),
        replace(ONE, first_try=2),
        # What joined texts would confuse.
        replace(ONE, dag_id="nightly.group", task_id="ask"),
        replace(ONE, map_index=1, first_try=-1),
        replace(ONE, began=BEGAN + timedelta(microseconds=1)),
        replace(ONE, began=None),
        replace(ONE, region=f"{LOOP}/0"),
        replace(ONE, deployment="staging"),
    ],
)
def test_each_part_makes_another_identity(other: Identity) -> None:
    assert other.digest != ONE.digest
    assert other.client_id(1) != ONE.client_id(1)


def test_the_same_identity_is_the_same_in_another_process() -> None:
    # The values are pinned: a release that changed them would lose the runs of the one before.
    assert ONE.digest == "d2a7b21ac591a04d509d"
    assert ONE.old_digest == "1bf1b44ab30d5a8b4a03"
    assert replace(ONE).digest == ONE.digest


@pytest.mark.parametrize(
    "began",
    [
        pytest.param(BEGAN.astimezone(timezone(timedelta(hours=5, minutes=30))), id="another time zone"),
        pytest.param(BEGAN.replace(tzinfo=None), id="naive, as a database gives it"),
        pytest.param(datetime.fromisoformat(BEGAN.isoformat()), id="through text"),
        pytest.param(datetime.fromisoformat("2026-11-01T02:00:00.123456Z"), id="through JSON"),
    ],
)
def test_the_start_of_the_dag_run_may_come_in_any_form(began: datetime) -> None:
    assert replace(ONE, began=began).digest == ONE.digest


def test_a_start_without_a_fraction_is_as_good() -> None:
    whole = replace(ONE, began=BEGAN.replace(microsecond=0))
    assert whole.digest == replace(whole, began=datetime.fromisoformat("2026-11-01T02:00:00+00:00")).digest


def test_a_digest_of_an_older_release_counts_only_where_it_could_not_be_anothers() -> None:
    assert ONE.digests == {ONE.digest, ONE.old_digest}
    for other in (replace(ONE, region=f"{LOOP}/0"), replace(ONE, deployment="staging")):
        assert other.digests == {other.digest}


def test_the_identities_before_a_clear_are_known() -> None:
    assert ONE.earlier == []
    assert replace(ONE, first_try=3).earlier == [ONE, replace(ONE, first_try=2)]


def test_the_chosen_id_is_a_uuid_of_its_own_for_each_try() -> None:
    ids = [ONE.client_id(number) for number in (1, 2, 3)]
    assert len(set(ids)) == 3
    assert all(str(UUID(text)) == text for text in ids)
    assert ids == [replace(ONE).client_id(number) for number in (1, 2, 3)]


@pytest.mark.parametrize("retries", [0, 1, 2, 5])
def test_a_retry_keeps_the_identity_and_a_clear_moves_it(retries: int) -> None:
    """Airflow's arithmetic: max_tries starts as retries, and a clear makes it try_number + retries."""
    seen, try_number, max_tries = [], 1, retries
    for _clear in range(3):
        tries = range(try_number, max_tries + 2)
        digests = {identity_of(TaskInstance(n, max_tries), retries=retries).digest for n in tries}
        assert len(digests) == 1
        assert identity_of(TaskInstance(try_number, max_tries), retries=retries).first_try == try_number
        seen += digests
        try_number = tries[-1] + 1
        max_tries = tries[-1] + retries
    assert len(set(seen)) == 3


def test_a_clear_in_the_middle_of_the_retries_moves_the_identity_too() -> None:
    # First try of three fails, then somebody clears: max_tries = 1 + 2.
    before = identity_of(TaskInstance(1, 2), retries=2)
    after = [identity_of(TaskInstance(number, 3), retries=2) for number in (2, 3, 4)]
    assert before not in after
    assert {identity.first_try for identity in after} == {2}


def test_each_attempt_has_an_identity_of_its_own_where_none_is_taken_over() -> None:
    identities = {identity_of(TaskInstance(number, 3), retries=3, anew=True) for number in (1, 2, 3)}
    assert len(identities) == 3


@pytest.mark.parametrize(
    ("try_number", "max_tries", "retries", "first_try"),
    [
        pytest.param(2, 1, 3, 1, id="raised: no try comes before the first"),
        pytest.param(2, 3, 0, 2, id="lowered: taken for a clear"),
        pytest.param(1, 3, 0, 1, id="lowered before the first try"),
    ],
)
def test_retries_that_were_changed_between_two_attempts(
    try_number: int, max_tries: int, retries: int, first_try: int
) -> None:
    """A first try in the future would never look back."""
    assert identity_of(TaskInstance(try_number, max_tries), retries=retries).first_try == first_try


def test_the_start_of_the_dag_run_is_part_of_the_identity() -> None:
    assert identity_of(TaskInstance(1, 0), retries=0) == ONE
    later = SimpleNamespace(start_date=BEGAN + timedelta(hours=1))
    assert identity_of(TaskInstance(1, 0, dag_run=later), retries=0).digest != ONE.digest


@pytest.mark.parametrize("dag_run", [None, SimpleNamespace(start_date=None)])
def test_a_dag_run_without_a_start(dag_run: Any) -> None:
    assert identity_of(TaskInstance(1, 0, dag_run=dag_run), retries=0) == replace(ONE, began=None)


@pytest.mark.parametrize(
    ("region", "expected"),
    [
        pytest.param({}, "", id="before Airflow 3.4"),
        pytest.param({"region_id": None, "region_index": None}, "", id="none"),
        pytest.param({"region_id": UUID(int=0), "region_index": -1}, "", id="unset"),
        pytest.param({"region_id": LOOP, "region_index": 0}, f"{LOOP}/0", id="first iteration"),
        pytest.param({"region_id": LOOP, "region_index": 1}, f"{LOOP}/1", id="second iteration"),
    ],
)
def test_iterations_of_a_loop_are_told_apart(region: dict[str, Any], expected: str) -> None:
    assert identity_of(TaskInstance(1, 0, **region), retries=0).region == expected


def test_the_deployment_is_that_of_the_configuration(monkeypatch: pytest.MonkeyPatch) -> None:
    assert identity_of(TaskInstance(1, 0), retries=0).deployment == ""
    monkeypatch.setenv("AIRFLOW__XPANDER__DEPLOYMENT", " staging ")
    assert identity_of(TaskInstance(1, 0), retries=0).deployment == "staging"


def test_an_operator_inside_another_task_is_refused() -> None:
    check_own_task(TaskInstance(1, 0), "group.ask")
    with pytest.raises(
        XpanderValidationError, match="'inner' is called inside the task 'group.ask'.*XpanderHook"
    ):
        check_own_task(TaskInstance(1, 0), "inner")


@pytest.mark.parametrize("map_index", [None, -1])
def test_a_task_that_is_not_mapped(map_index: int | None) -> None:
    identity = identity_of(TaskInstance(1, None, map_index), retries=None)
    assert (identity.map_index, identity.first_try) == (-1, 1)
    assert identity.label == "nightly.group.ask scheduled__2026-11-01"
    assert replace(ONE, map_index=7).label == "nightly.group.ask[7] scheduled__2026-11-01"


@pytest.mark.parametrize(
    ("try_number", "max_tries", "left"),
    [(1, 0, False), (1, 1, True), (2, 1, False), (1, None, False), (3, 3, True), (4, 3, False)],
)
def test_retries_left(try_number: int, max_tries: int | None, left: bool) -> None:
    assert retries_left(TaskInstance(try_number, max_tries)) is left


@pytest.mark.parametrize(
    "body",
    [
        dict(reversed(BODY.items())),
        BODY | {"title": "A title"},
        BODY | {"source": "airflow"},
        BODY | {"id": "thread-1"},
        BODY | {"user_oidc_token": "fetched-anew", "user_tokens": {"crm": "fetched-anew"}},
    ],
)
def test_what_is_not_asked_does_not_change_the_fingerprint(body: dict[str, Any]) -> None:
    assert fingerprint("agent echo", body) == fingerprint("agent echo", BODY)


SERVER = {
    "name": "crm", "url": "https://mcp.example/a?tenant=7", "transport": "sse", "auth_type": "api_key",
    "api_key": "one", "allowed_tools": ["find"], "max_tokens": 5,
}  # fmt: skip


@pytest.mark.parametrize(
    "change",
    [
        {"api_key": "two"},
        {"apiKey": "two"},
        {"access_token": "two"},
        {"headers": {"Authorization": "Bearer two"}},
        {"config": {"env": {"CRM_KEY": "two"}}},
        {"url": "https://mcp.example/a?tenant=7&token=two"},
        {"url": "https://user:two@mcp.example/a?tenant=7"},
        {"url": "https://mcp.example/a?api_key=two&tenant=7"},
    ],
)
def test_credentials_of_mcp_servers_do_not_change_the_fingerprint(change: dict[str, Any]) -> None:
    plain = {"config": {}} if "config" in change else {}
    one, two = ({"mcp_servers": [SERVER | more]} for more in (plain, change))
    assert fingerprint("agent echo", BODY | one) == fingerprint("agent echo", BODY | two)


@pytest.mark.parametrize(
    "change",
    [
        {"url": "https://mcp.example/b?tenant=7"},
        {"url": "https://mcp.example/a?tenant=8"},
        {"url": "https://other.example/a?tenant=7"},
        {"allowed_tools": ["find", "delete"]},
        {"auth_type": "none"},
        {"max_tokens": 6},
        {"name": "erp"},
    ],
)
def test_another_mcp_server_changes_the_fingerprint(change: dict[str, Any]) -> None:
    one, two = ({"mcp_servers": [SERVER | more]} for more in ({}, change))
    assert fingerprint("agent echo", BODY | one) != fingerprint("agent echo", BODY | two)


@pytest.mark.parametrize(
    ("target", "body"),
    [
        ("agent other", BODY),
        ("agent echo (version draft)", BODY),
        ("agent echo", BODY | {"input": {"text": "hello!"}}),
        ("agent echo", BODY | {"think_mode": "default"}),
        ("agent echo", BODY | {"younger": {1: "a"}}),
        ("agent echo", {"input": {"text": "hello"}}),
    ],
)
def test_what_is_asked_changes_the_fingerprint(target: str, body: dict[str, Any]) -> None:
    assert fingerprint(target, body) != fingerprint("agent echo", BODY)
    assert re.fullmatch("[0-9a-f]{12}", fingerprint(target, body))


@pytest.mark.parametrize(
    "title",
    [None, "", "Nightly report", "Zażółć 報告 \N{ROBOT FACE}", "x" * 1000, "two\nlines", "[odd] {title}"],
)
def test_a_marked_title_is_readable_short_enough_and_found_again(title: str | None) -> None:
    text = mark_title(title, ONE, MARK)
    assert len(text) <= TITLE_LIMIT
    assert text.endswith(f" {MARK}")
    assert text.startswith((title or ONE.label)[:100])
    assert read_mark(text) == MARK


def test_a_title_is_cut_exactly_where_it_would_get_too_long() -> None:
    room = TITLE_LIMIT - len(str(MARK)) - 1
    assert mark_title("x" * room, ONE, MARK) == f"{'x' * room} {MARK}"
    assert mark_title("x" * (room + 1), ONE, MARK) == f"{'x' * (room - 3)}... {MARK}"


def test_the_name_of_a_deep_task_is_cut_too() -> None:
    deep = replace(ONE, task_id="group." * 60 + "ask", run_id="r" * 250)
    assert read_mark(mark_title(None, deep, MARK)) == MARK


@pytest.mark.parametrize(
    ("text", "mark"),
    [
        (None, None),
        ("", None),
        ("a chat about [airflow]", None),
        (f"[airflow {DIGEST[:-1]}]", None),
        (f"[airflow {DIGEST}", None),
        (f"[airflow {DIGEST}]", Mark(DIGEST)),
        (f"x {Mark(DIGEST, 'abcdef012345', 1)}", Mark(DIGEST, "abcdef012345", 1)),
        (f"[airflow {DIGEST} abcdef012345 repair 10]", Mark(DIGEST, "abcdef012345", 10)),
        (f"[airflow {DIGEST} abcdef012345 repair 0]", None),
        (f"x {Mark(DIGEST, 'abcdef012345', pack=1000)}", Mark(DIGEST, "abcdef012345", pack=1000)),
        (f"[airflow {DIGEST} abcdef012345 pack 7 repair 2]", Mark(DIGEST, "abcdef012345", 2, 7)),
        (f"[airflow {DIGEST} abcdef012345 pack 0]", None),
        (f"airflow {MARK}", MARK),
        (f"{MARK} and more", MARK),
        # The last one counts: a title that was copied from another run begins with that one's mark.
        (f"{Mark('f' * 20)} {MARK}", MARK),
        (f"{MARK} {Mark('f' * 20)}", Mark("f" * 20)),
    ],
)
def test_reading_a_mark(text: str | None, mark: Mark | None) -> None:
    assert read_mark(text) == mark


def test_the_packs_of_a_task_share_its_digest_and_no_id() -> None:
    packs = [replace(ONE, pack=number) for number in (0, 1, 2)]
    assert {pack.digest for pack in packs} == {ONE.digest}
    assert len({pack.client_id(1) for pack in packs}) == 3
