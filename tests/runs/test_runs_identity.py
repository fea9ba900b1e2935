from __future__ import annotations

import re
from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest

from airflow_provider_xpander.runs.identity import (
    TITLE_LIMIT,
    Identity,
    Mark,
    fingerprint,
    mark_title,
    read_mark,
)
from airflow_provider_xpander.task_instance import identity_of, retries_left

ONE = Identity("nightly", "scheduled__2026-11-01", "group.ask", -1, 1)
DIGEST = "0123456789abcdef0123"
MARK = Mark(DIGEST, "abcdef012345")
BODY: dict[str, Any] = {"input": {"text": "hello"}, "think_mode": "harder"}


class TaskInstance:
    """What Airflow says of an attempt."""

    dag_id, run_id, task_id = "nightly", "scheduled__2026-11-01", "group.ask"

    def __init__(self, try_number: int, max_tries: int | None, map_index: int | None = -1) -> None:
        self.try_number, self.max_tries, self.map_index = try_number, max_tries, map_index


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
    ],
)
def test_each_part_makes_another_identity(other: Identity) -> None:
    assert other.digest != ONE.digest
    assert other.client_id(1) != ONE.client_id(1)


def test_the_same_identity_is_the_same_in_another_process() -> None:
    # The value is pinned: a release that changed it would lose the runs of the one before.
    assert ONE.digest == "1bf1b44ab30d5a8b4a03"
    assert replace(ONE).digest == ONE.digest


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
        (f"airflow {MARK}", MARK),
        (f"{MARK} and more", MARK),
        # The last one counts: a title that was copied from another run begins with that one's mark.
        (f"{Mark('f' * 20)} {MARK}", MARK),
        (f"{MARK} {Mark('f' * 20)}", Mark("f" * 20)),
    ],
)
def test_reading_a_mark(text: str | None, mark: Mark | None) -> None:
    assert read_mark(text) == mark
