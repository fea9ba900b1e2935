"""The budget that all processes of a host share: its files, and what a governor makes of them."""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from airflow_provider_xpander.api import clock, host_budget
from airflow_provider_xpander.api import governor as governor_module
from airflow_provider_xpander.api.client import Client
from airflow_provider_xpander.api.errors import XpanderRateLimitError
from airflow_provider_xpander.api.exchange import Reply, Send, Sleep, exchange, governed
from airflow_provider_xpander.api.governor import Governor, governor_of
from airflow_provider_xpander.api.host_budget import HELD, HostBudget, Note, host_folder, place_of_host
from airflow_provider_xpander.api.models import InvokeRequest, Target
from airflow_provider_xpander.api.retry import ONCE, RetryPolicy
from airflow_provider_xpander.api.routes import Call, Priority, as_poll, get_task, invoke_async, stop_task
from airflow_provider_xpander.api.settings import Settings
from airflow_provider_xpander.emulator import EmulatorServer

STOP, READ, SUBMIT, POLL, CHECK = Priority
DATE = datetime(2026, 11, 26, tzinfo=UTC)
INPUT = InvokeRequest.model_validate({"input": "hello"})
SUBMISSION = invoke_async(Target.agent("a"), INPUT)
TASK = Reply(200, {}, b'{"id": "t-1"}')


class Now:
    """A clock that only the test moves."""

    def __init__(self) -> None:
        self.moment = 1_790_000_000.0

    def time(self) -> float:
        return self.moment

    def steady(self) -> float:
        return self.moment - 1e6

    def real(self, seconds: float) -> float:
        return seconds


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> Now:
    now = Now()
    monkeypatch.setattr(clock, "CLOCK", now)
    return now


@pytest.fixture
def process(tmp_path: Path) -> Callable[..., Governor]:
    """What makes the governor of another process of the host."""

    def make(per_minute: int = 0, per_hour: int = 0) -> Governor:
        governor = Governor(per_minute, per_hour, rng=lambda: 0.5)
        governor.host = HostBudget("https://x", "key", lambda: tmp_path)
        return governor

    return make


def news(budget: HostBudget) -> list[tuple[float, int]]:
    return [tuple(note) for note in budget.news()]


def test_each_hears_what_the_others_have_noted_once(tmp_path: Path, now: Now) -> None:
    one, other = (HostBudget("https://x", "key", lambda: tmp_path) for _ in range(2))
    one.note(SUBMIT, 1.5)
    one.note(HELD, 2.5)
    assert news(other) == [Note(1.5, SUBMIT), Note(2.5, HELD)]
    assert news(one) == news(other) == []
    other.note(POLL, 3.5)
    assert news(one) == [Note(3.5, POLL)]
    assert news(HostBudget("https://x", "key", lambda: tmp_path)) == [
        Note(1.5, SUBMIT), Note(2.5, HELD), Note(3.5, POLL),
    ]  # fmt: skip


@pytest.mark.parametrize("other", [("https://y", "key"), ("https://x", "another key")])
def test_another_service_or_key_is_another_budget(other: tuple[str, str], tmp_path: Path, now: Now) -> None:
    HostBudget("https://x", "key", lambda: tmp_path).note(SUBMIT, 1.0)
    assert news(HostBudget(*other, lambda: tmp_path)) == []


def test_the_key_is_in_no_file_and_in_no_name(tmp_path: Path, now: Now) -> None:
    HostBudget("https://x", "a secret key", lambda: tmp_path).note(SUBMIT, 1.0)
    (file,) = tmp_path.iterdir()
    assert "secret" not in file.name
    assert b"secret" not in file.read_bytes()
    assert file.stat().st_mode & 0o777 == 0o600


def test_the_hour_before_is_heard_and_older_files_are_removed(tmp_path: Path, now: Now) -> None:
    old = HostBudget("https://x", "key", lambda: tmp_path)
    for hour in range(5):
        old.note(SUBMIT, float(hour))
        now.moment += 3600
    now.moment -= 3600
    assert news(HostBudget("https://x", "key", lambda: tmp_path)) == [Note(3.0, SUBMIT), Note(4.0, SUBMIT)]
    assert len(list(tmp_path.iterdir())) == 2


def test_the_files_of_keys_that_are_used_no_longer_are_removed(tmp_path: Path, now: Now) -> None:
    """A JWT lasts an hour; a list that is shared is in the same folder, and has other rules."""
    for hour in range(5):
        HostBudget("https://x", f"token {hour}", lambda: tmp_path).note(SUBMIT, float(hour))
        now.moment += 3600
    (tmp_path / "a shared list").write_text("{}")
    (tmp_path / "a shared list.lock").write_text("")
    list(HostBudget("https://x", "the next", lambda: tmp_path).news())
    assert len(list(tmp_path.iterdir())) == 1 + 2 + 2


def test_what_is_half_written_is_heard_when_it_is_whole(tmp_path: Path, now: Now) -> None:
    one, other = (HostBudget("https://x", "key", lambda: tmp_path) for _ in range(2))
    one.note(SUBMIT, 1.0)
    (file,) = tmp_path.iterdir()
    whole = file.read_bytes()
    file.write_bytes(whole + whole[:10])
    assert news(other) == [Note(1.0, SUBMIT)]
    file.write_bytes(whole + whole)
    assert news(other) == [Note(1.0, SUBMIT)]


def test_a_forked_process_is_another(tmp_path: Path, now: Now, monkeypatch: pytest.MonkeyPatch) -> None:
    budget = HostBudget("https://x", "key", lambda: tmp_path)
    budget.note(SUBMIT, 1.0)
    monkeypatch.setattr(os, "getpid", lambda: 1)
    assert news(budget) == [Note(1.0, SUBMIT)]


@pytest.mark.parametrize("mode", [0o777, 0o750])
def test_a_folder_that_others_can_enter_is_not_used(
    mode: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(host_budget, "place_of_host", lambda: tmp_path)
    tmp_path.chmod(mode)
    assert host_folder() is None
    tmp_path.chmod(0o700)
    assert host_folder() == tmp_path


def test_without_a_folder_for_temporary_files_nothing_is_shared(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a container whose whole file system is read-only."""

    def gettempdir() -> str:
        raise FileNotFoundError("No usable temporary directory found")

    monkeypatch.setattr(host_budget, "place_of_host", place_of_host)
    monkeypatch.setattr(tempfile, "gettempdir", gettempdir)
    assert host_folder() is None
    governor_module._governors.clear()
    governor = governor_of(Settings(api_key="a"))
    assert governor.delay(READ, time.monotonic()) == 0
    governor.sent(READ, time.monotonic())


def test_trouble_with_the_files_ends_with_the_hour(tmp_path: Path, now: Now) -> None:
    """A triggerer lives for months, and a full disk or a folder that was removed is mended sooner."""
    folder = tmp_path / "host"

    def find() -> Path:
        folder.mkdir(exist_ok=True)
        return folder

    budget, other = (HostBudget("https://x", "key", find) for _ in range(2))
    budget.note(SUBMIT, 1.0)
    assert news(other) == [Note(1.0, SUBMIT)]
    shutil.rmtree(folder)
    budget.note(SUBMIT, 2.0)
    assert news(other) == []
    now.moment += 3600
    budget.note(SUBMIT, 3.0)
    assert news(other) == [Note(3.0, SUBMIT)]
    assert news(other) == []


@pytest.mark.parametrize("folder", ["missing", None])
def test_where_nothing_can_be_shared_the_process_keeps_its_own_limits(
    folder: str | None, tmp_path: Path, now: Now
) -> None:
    governor = Governor(10, 0)
    governor.host = HostBudget("https://x", "key", lambda: tmp_path / folder if folder else None)
    for _ in range(9):  # and one that is left to polls
        assert governor.delay(READ, now.steady()) == 0
        governor.sent(READ, now.steady())
    assert governor.delay(READ, now.steady()) > 0


@pytest.mark.parametrize(("per_minute", "per_hour", "pause"), [(20, 0, 1.0), (0, 50, 20.0), (30, 100, 1.5)])
def test_all_together_send_no_more_than_the_limits(
    per_minute: int, per_hour: int, pause: float, process: Callable[..., Governor], now: Now
) -> None:
    sent: list[float] = []
    began = now.moment
    while now.moment < began + 600 * pause:
        one = process(per_minute, per_hour)  # as each attempt has a process of its own
        if one.delay(READ, now.steady()) == 0:
            one.sent(READ, now.steady())
            sent.append(now.moment)
        now.moment += pause
    for limit, seconds in ((per_minute, 60), (per_hour, 3600)):
        windows = [sum(start <= moment < start + seconds for moment in sent) for start in sent]
        assert not limit or 0.75 * limit <= max(windows) <= limit, max(windows)


def test_the_old_requests_of_others_leave_polls_their_pace(
    process: Callable[..., Governor], now: Now
) -> None:
    polls = process(100, 1000)
    for _ in range(200):
        polls.sent(POLL, now.steady())
        now.moment += 10
    assert process(100, 1000).delay(POLL, now.steady()) < 10


def test_a_refusal_holds_all_and_each_comes_back_by_itself(
    process: Callable[..., Governor], now: Now
) -> None:
    told, other = process(100, 1000), process(100, 1000)
    told.heard(Reply(429, {"Retry-After": "1000"}, b"{}"), now.steady(), DATE)
    assert 1000 <= other.delay(STOP, now.steady()) <= 1250
    now.moment += 500
    assert 500 <= process(100, 1000).delay(STOP, now.steady()) <= 625
    now.moment += 800
    assert [one.delay(STOP, now.steady()) for one in (told, other, process(100, 1000))] == [0, 0, 0]


def test_no_note_holds_anything_back_for_more_than_an_hour_and_a_quarter(
    process: Callable[..., Governor], tmp_path: Path, now: Now
) -> None:
    strange = HostBudget("https://x", "key", lambda: tmp_path)
    for kind in (HELD, SUBMIT, 77, -1):
        strange.note(kind, now.moment + 1e9)
    assert 3600 <= process(100, 1000).delay(READ, now.steady()) <= 4510


@pytest.mark.parametrize("call", [get_task("t-1"), SUBMISSION], ids=["read", "submit"])
def test_while_the_service_refuses_all_nothing_is_sent(
    call: Call[object], process: Callable[..., Governor], now: Now
) -> None:
    process().heard(Reply(429, {"Retry-After": "1000"}, b"{}"), now.steady(), DATE)
    governor = process()
    with pytest.raises(XpanderRateLimitError, match="not sent, because xpander.ai refuses") as caught:
        next(governed(exchange(call, RetryPolicy()), governor))
    assert 1000 <= (caught.value.retry_after or 0) <= 1250
    assert governor.hour.total == 0


@pytest.mark.parametrize("seconds", [20, 60])
def test_a_refusal_of_a_minute_at_the_most_is_waited_out(
    seconds: int, process: Callable[..., Governor], now: Now
) -> None:
    """A limit of requests a minute is the one that is met most, and asks for no more."""
    process().heard(Reply(429, {"Retry-After": str(seconds)}, b"{}"), now.steady(), DATE)
    steps = governed(exchange(get_task("t-1"), ONCE), process())
    step = next(steps)
    assert isinstance(step, Sleep)
    assert seconds <= step.seconds <= min(60, 1.25 * seconds)
    now.moment += step.seconds
    assert isinstance(steps.send(None), Send)


@pytest.mark.parametrize("call", [stop_task("t-1"), as_poll(get_task("t-1"), STOP)], ids=["stop", "look"])
def test_a_stop_is_tried_even_while_the_service_refuses_all(
    call: Call[object], process: Callable[..., Governor], now: Now
) -> None:
    process().heard(Reply(429, {"Retry-After": "1000"}, b"{}"), now.steady(), DATE)
    steps = governed(exchange(call, ONCE), process())
    assert next(steps) == Sleep(60)
    now.moment += 60
    assert steps.send(None) == Send(call)


def test_a_refused_submit_holds_the_others_for_a_minute(process: Callable[..., Governor], now: Now) -> None:
    """It may be about the runs of one agent a day, and all others would wait for an hour at a time."""
    steps = governed(exchange(SUBMISSION, ONCE), process())
    assert isinstance(next(steps), Send)
    with pytest.raises(XpanderRateLimitError):
        steps.send(Reply(429, {"Retry-After": "3600"}, b"{}"))
    assert 60 <= process().delay(READ, now.steady()) <= 75


def test_a_patient_conversation_waits_out_a_long_one(process: Callable[..., Governor], now: Now) -> None:
    process().heard(Reply(429, {"Retry-After": "1000"}, b"{}"), now.steady(), DATE)
    patient = RetryPolicy(attempts=9, patience=3600)
    step = next(governed(exchange(get_task("t-1"), patient), process()))
    assert isinstance(step, Sleep)
    assert 1000 <= step.seconds <= 1250


def test_a_connection_without_limits_needs_no_files() -> None:
    governor_module._governors.clear()
    free = Settings(api_key="a", requests_per_minute=0, requests_per_hour=0)
    assert governor_of(free).host is None
    assert governor_of(Settings(api_key="a")).host is not None


def _read_as_fast_as_it_may(settings: str, task_id: str, folder: Path) -> None:
    host_budget.place_of_host = lambda: folder
    one = Settings(**json.loads(settings))
    with Client(one, policy=ONCE, governor=governor_of(one)) as client:
        while True:
            client.call(get_task(task_id))


def test_processes_of_a_host_share_the_limits(xpander_server: EmulatorServer, tmp_path: Path) -> None:
    """Three real processes; without the files each would send ten requests."""
    emulator = xpander_server.emulator
    address = {"base_url": xpander_server.url, "api_key": xpander_server.api_key}
    with Client(Settings(**address)) as client:
        task_id = client.call(invoke_async(Target.agent("echo"), INPUT)).id
    before = len(emulator.calls)
    limited = json.dumps({**address, "requests_per_minute": 10, "requests_per_hour": 0})
    spawn = multiprocessing.get_context("spawn")
    given = limited, task_id, tmp_path
    processes = [spawn.Process(target=_read_as_fast_as_it_may, args=given) for _ in range(3)]
    try:
        for one in processes:
            one.start()
        end = time.monotonic() + 60
        while len(emulator.calls) - before < 8 and time.monotonic() < end:
            time.sleep(0.1)
        time.sleep(3)
        sent = len(emulator.calls) - before
    finally:
        for one in processes:
            one.kill()
            one.join(10)
    # Each may be about to send when another takes the last place.
    assert 8 <= sent <= 10 + 2
