"""Finding a lost run: over HTTP against the emulator where it tells more, else with scripted replies."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any
from urllib.parse import parse_qs

import pytest

from airflow_provider_xpander.api.client import Client
from airflow_provider_xpander.api.errors import XpanderAuthError, XpanderServiceError
from airflow_provider_xpander.api.exchange import Refresh, Reply, Send, Sleep, Steps
from airflow_provider_xpander.api.models import Task
from airflow_provider_xpander.api.settings import Settings as ClientSettings
from airflow_provider_xpander.emulator import EmulatorServer, Fault, Settings
from airflow_provider_xpander.emulator.clock import ManualClock
from airflow_provider_xpander.emulator.request_model import AgentExecutionRequest
from airflow_provider_xpander.runs.identity import Identity, Mark
from airflow_provider_xpander.runs.lookup import (
    LAG,
    LEFT_OVER_PAGES,
    MAX_RECORDS,
    Wanted,
    find_all,
    find_by_id,
    find_left_over,
    find_runs,
    get_known,
    wanted_of,
)
from airflow_provider_xpander.runs.task_list import LOOKUP_ATTEMPTS, MARGIN, MAX_PAGES

OURS = Mark("0123456789abcdef0123", "aaaaaaaaaaaa")
OTHERS = Mark("f" * 20, "aaaaaaaaaaaa")
DIGESTS = frozenset({OURS.digest})
NOW = datetime(2026, 11, 1, 12, 0, tzinfo=UTC)
NOW_SECONDS = NOW.timestamp()


class Service:
    """An emulator whose clock stands still, and a client whose sleeps move it."""

    def __init__(self, server: EmulatorServer, clock: ManualClock) -> None:
        self.emulator, self.clock = server.emulator, clock
        self.client = Client(ClientSettings(base_url=server.url, api_key=server.api_key))
        self.slept: list[float] = []

    def start(
        self, mark: Mark | None = OURS, *, title: str | None = None, source: str | None = None, **more: Any
    ) -> str:
        """Start a run as an attempt does, with the mark in title and source."""
        body = AgentExecutionRequest.model_validate(
            {
                "input": {"text": "take 600"},
                "title": title if title is not None else f"Report {mark}",
                "source": source if source is not None else f"airflow {mark}",
            }
            | more
        )
        return self.emulator.invoke("agent", "slow", body.model_dump(mode="json")).id

    def find(self, wanted: Wanted | None = None, **options: Any) -> list[str]:
        wanted = wanted or Wanted("slow", DIGESTS, NOW)
        return [task.id for task in self.run(find_runs(wanted, **options))]

    def run(self, steps: Steps[Any]) -> Any:
        return self.client.run(steps)

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.clock.advance(seconds)

    @property
    def lists(self) -> int:
        return len([call for call in self.emulator.calls if call.path == "/v1/tasks"])

    @property
    def reads(self) -> int:
        return len([call for call in self.emulator.calls if call.path.startswith("/v1/tasks/")])


@pytest.fixture
def service(xpander_server: EmulatorServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[Service]:
    clock = ManualClock(NOW_SECONDS)
    xpander_server.emulator.reset(Settings(run_seconds=60))
    monkeypatch.setattr(xpander_server.emulator, "clock", clock)
    service = Service(xpander_server, clock)
    monkeypatch.setattr(
        "airflow_provider_xpander.api.client.time",
        SimpleNamespace(sleep=service.sleep, monotonic=time.monotonic),
    )
    with service.client:
        yield service


def test_a_run_is_found_by_its_title_in_one_list_and_one_read(service: Service) -> None:
    service.start(OTHERS)
    ours = service.start()
    service.start(OTHERS)
    assert service.find() == [ours]
    assert (service.lists, service.reads, service.slept) == (1, 1, [])


def test_the_list_is_asked_for_the_target_and_the_time(service: Service) -> None:
    service.start()
    service.find()
    query = service.emulator.calls[0].query
    assert query["agent_id"] == "slow"
    assert query["per_page"] == "50"
    assert datetime.fromisoformat(query["from_date"]) == NOW - MARGIN


def test_nothing_is_found_after_three_looks(service: Service) -> None:
    service.start(OTHERS)
    assert service.find() == []
    assert (service.lists, service.reads) == (3, 0)
    assert service.slept == [seconds for seconds in LAG if seconds]


@pytest.mark.parametrize(("lag", "found"), [(4.0, True), (14.0, True), (30.0, False)])
def test_a_list_that_lags_is_looked_at_again(lag: float, found: bool, service: Service) -> None:
    service.emulator.configure({"list_lag_seconds": lag})
    ours = service.start()
    assert service.find() == ([ours] if found else [])


def test_one_look_is_one_look(service: Service) -> None:
    service.emulator.configure({"list_lag_seconds": 4})
    service.start()
    assert service.find(lag=(0.0,)) == []
    assert (service.lists, service.slept) == (1, [])


@pytest.mark.parametrize("slim", [False, True], ids=["full", "slim"])
def test_a_title_that_the_service_has_rewritten(slim: bool, service: Service) -> None:
    service.emulator.configure({"slim_bodies": slim})
    service.start(OTHERS, title="A chat of another task")
    service.start(title="Another chat", source="api")
    ours = service.start(title="A friendly chat about tickets")
    assert service.find() == [ours]
    assert service.reads == 3


@pytest.mark.parametrize("status", ["executing", "completed"])
def test_where_titles_are_kept_a_strangers_task_is_not_read(status: str, service: Service) -> None:
    """Each of them would cost a request, of each of the mapped tasks that are tried again at once."""
    marked = service.start(OTHERS)
    if status == "completed":
        service.emulator.finish(marked)
    for _ in range(60):
        service.start(title="A chat", source="dashboard")
    assert service.find(lag=(0.0,)) == []
    assert (service.lists, service.reads) == (2, 0)
    ours = service.start()
    assert service.find() == [ours]
    assert service.reads == 1


def test_a_title_that_the_service_has_cut(service: Service) -> None:
    ours = service.start(title=f"Report {str(OURS)[:15]}")
    assert service.find() == [ours]


def test_what_is_known_not_to_be_the_run_is_not_read_again(service: Service) -> None:
    for _ in range(7):
        service.start(title="A chat", source="api")
    assert service.find() == []
    assert (service.lists, service.reads) == (3, 7)


def test_the_second_look_has_an_end(service: Service) -> None:
    for _ in range(MAX_RECORDS + 30):
        service.start(title="A chat", source="api")
    assert service.find(lag=(0.0,)) == []
    assert service.reads == MAX_RECORDS


@pytest.mark.parametrize("status", ["failed", "error", "stopped"])
@pytest.mark.parametrize("rewritten", [False, True])
def test_a_run_that_failed_does_not_hide_the_one_that_was_started_after_it(
    rewritten: bool, status: str, service: Service
) -> None:
    """Otherwise the third attempt would start a third run although the second goes on."""
    title = "A chat" if rewritten else None
    first = service.start(title=title)
    service.clock.advance(5)
    service.emulator.finish(first, status)
    second = service.start(title=title)
    assert second in service.find()


def test_only_runs_that_go_on_are_found_where_no_others_are_wanted(service: Service) -> None:
    for title in (None, "A chat"):
        service.emulator.reset(Settings(run_seconds=60))
        service.emulator.clock = service.clock
        service.emulator.finish(service.start(title=title))
        alive = service.start(title=title)
        service.emulator.finish(service.start(title=title), "failed")
        before = service.reads
        assert service.find(lag=(0.0,), alive=True) == [alive]
        assert service.reads - before == 1


@pytest.mark.parametrize("title", [None, "A chat"], ids=["kept", "rewritten"])
def test_what_is_left_over_goes_on(title: str | None, service: Service) -> None:
    assert service.run(find_left_over(Wanted("slow", DIGESTS, NOW))) == []
    alive = service.start(title=title)
    found = service.run(find_left_over(Wanted("slow", DIGESTS, NOW)))
    assert [task.id for task in found] == [alive]
    service.emulator.finish(alive)
    assert service.run(find_left_over(Wanted("slow", DIGESTS, NOW))) == []
    assert service.slept == []


@pytest.mark.parametrize("status", ["pending", "executing", "paused"])
def test_what_is_left_over_is_found_however_much_has_come_after_it(status: str, service: Service) -> None:
    ours = service.start()
    service.emulator.override(ours, {"status": status})
    service.clock.advance(60)
    for _ in range(260):
        service.emulator.finish(service.start(OTHERS))
    assert [task.id for task in service.run(find_left_over(Wanted("slow", DIGESTS, NOW)))] == [ours]
    assert (service.lists, service.reads) == (LEFT_OVER_PAGES + 3, 0)


def test_runs_that_are_known_are_left_out(service: Service) -> None:
    old, new = service.start(), service.start()
    assert service.find(Wanted("slow", DIGESTS, NOW, known=frozenset({old}))) == [new]
    assert service.find(Wanted("slow", DIGESTS, NOW, known=frozenset({old, new})), lag=(0.0,)) == []


def test_a_task_that_was_deleted_meanwhile_is_not_found(service: Service) -> None:
    ours = service.start()
    service.emulator.add_fault(Fault(path=f"/v1/tasks/{ours}$", status=404, body={"detail": "x"}, times=None))
    assert service.find(lag=(0.0,)) == []


def test_a_task_that_the_list_shows_before_it_can_be_read(service: Service) -> None:
    service.emulator.configure({"not_found_lag_seconds": 3})
    ours = service.start()
    assert service.find() == [ours]


def test_a_task_without_a_title_that_the_list_shows_before_it_can_be_read(service: Service) -> None:
    service.emulator.configure({"not_found_lag_seconds": 30})
    rewritten = service.start(title="A chat")
    assert service.find(lag=(0, 40)) == [rewritten]


def test_a_look_up_outlives_a_short_outage(service: Service) -> None:
    ours = service.start()
    service.emulator.add_fault(Fault.html(503, path="/v1/tasks$", times=5))
    service.emulator.add_fault(Fault.throttled(path=f"/v1/tasks/{ours}$", retry_after=7, times=2))
    service.emulator.add_fault(Fault.dropped(path="/v1/tasks$", times=1))
    assert service.find() == [ours]


@pytest.mark.parametrize("path", ["/v1/tasks$", "/v1/tasks/"], ids=["list", "read"])
def test_a_look_up_that_is_not_answered_raises_after_minutes(path: str, service: Service) -> None:
    service.start()
    service.emulator.add_fault(Fault.html(503, path=path, times=None))
    with pytest.raises(XpanderServiceError):
        service.find()
    assert 90 < sum(service.slept) < 180
    assert len([call for call in service.emulator.calls if call.status == 503]) == LOOKUP_ATTEMPTS


def test_a_refusal_is_not_repeated(service: Service) -> None:
    service.emulator.add_fault(Fault(path="/v1/tasks$", status=401, body={"detail": "no"}, times=None))
    with pytest.raises(XpanderAuthError):
        service.find()
    assert service.lists == 1


def test_known_ids_are_read_once_each_and_unknown_ones_left_out(service: Service) -> None:
    one, two = service.start(), service.start()
    records = service.run(get_known([one, "unknown", two, one]))
    assert [task.id for task in records] == [one, two]
    assert service.reads == 3


def test_an_id_is_looked_at_again_until_reads_show_it(service: Service) -> None:
    service.emulator.configure({"not_found_lag_seconds": 12})
    ours = service.start()
    assert [task.id for task in service.run(find_by_id(ours, lambda task: True))] == [ours]
    assert sum(service.slept) == sum(LAG)


def test_an_id_whose_record_is_still_the_previous_turns(service: Service) -> None:
    thread = service.start(title="first")
    service.emulator.finish(thread)
    service.clock.advance(1)
    service.emulator.configure({"stale_turn_seconds": 4})
    service.start(title="second", id=thread)
    found = service.run(find_by_id(thread, lambda task: task.title == "second"))
    assert [task.title for task in found] == ["second"]
    assert service.run(find_by_id(thread, lambda task: task.title == "third", lag=(0.0,))) == []


# What the emulator does not do: ignore filters, other orders, pages that shift. Scripted replies.


@dataclass
class Listing:
    """
    A service that answers lists with these items, however it likes.

    :param order: puts the items into the order in which they are listed.
    """

    items: list[dict[str, Any]]
    order: Callable[[list[dict[str, Any]]], list[dict[str, Any]]] = lambda items: items
    total_pages: bool = True
    pages: list[int] = field(default_factory=list)
    reads: list[str] = field(default_factory=list)

    def drive(self, steps: Steps[Any]) -> Any:
        answer: Any = None
        while True:
            try:
                step = steps.send(answer)
            except StopIteration as end:
                return end.value
            assert not isinstance(step, Refresh)
            answer = None if isinstance(step, Sleep) else self._answer(step)

    def _answer(self, step: Send) -> Reply:
        call = step.call
        if call.path != "/v1/tasks":
            task_id = call.path.rpartition("/")[2]
            self.reads.append(task_id)
            found = [item for item in self.items if item["id"] == task_id]
            return Reply(200, {}, json.dumps(found[0]).encode()) if found else Reply(404)
        number = int(call.params["page"])
        self.pages.append(number)
        listed = self.order(self.items)
        body = {"items": listed[50 * (number - 1) : 50 * number], "page": number, "per_page": 50}
        if self.total_pages:
            body["total_pages"] = -(-len(listed) // 50)
        return Reply(200, {}, json.dumps(body).encode())


def item(number: int, mark: Mark | None = OTHERS, minutes: float = 0, **fields: Any) -> dict[str, Any]:
    """A listed task, created so many minutes after the start of the DAG run."""
    at = (NOW + timedelta(minutes=minutes)).isoformat()
    known = {
        "id": f"t-{number}", "agent_id": "slow", "status": "executing", "created_at": at, "updated_at": at,
        "title": f"t {mark}" if mark else "a chat",
    }  # fmt: skip
    return known | fields


def newest_first(items: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return sorted(items, key=lambda item: str(item["updated_at"]), reverse=True)


def shuffled(items: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return random.Random(5).sample(items, len(items))


def wanted(**fields: Any) -> Wanted:
    return Wanted("slow", DIGESTS, **{"since": NOW} | fields)


OLD = [item(number, minutes=-60 - number) for number in range(1000)]
"""Tasks from before the DAG run, which a service that ignores from_date lists too."""


def test_newest_first_with_an_ignored_filter_stops_at_the_page_that_is_too_old() -> None:
    service = Listing([*OLD, *(item(2000 + number, minutes=number) for number in range(60))], newest_first)
    assert service.drive(find_runs(wanted(), lag=(0.0,))) == []
    assert service.pages == [1, 2]


def test_a_long_run_that_was_created_early_but_changed_late_does_not_end_the_search() -> None:
    """Newest change first: what was created long ago may stand before what is looked for."""
    early = [
        item(number, minutes=-300) | {"updated_at": item(0, minutes=50)["updated_at"]} for number in range(60)
    ]
    service = Listing([*early, item(77, OURS, minutes=1), *OLD], newest_first)
    assert [task.id for task in service.drive(find_runs(wanted()))] == ["t-77"]


@pytest.mark.parametrize("order", [newest_first, shuffled, lambda items: items[::-1]])
@pytest.mark.parametrize("total_pages", [True, False])
def test_any_order_of_many_pages(order: Any, total_pages: bool) -> None:
    service = Listing([*OLD, item(5000, OURS, minutes=3)], order, total_pages)
    assert [task.id for task in service.drive(find_runs(wanted()))] == ["t-5000"]


def test_a_match_ends_the_search() -> None:
    items = [item(1, OURS), *(item(2000 + number) for number in range(500))]
    service = Listing(items)
    service.drive(find_runs(wanted()))
    assert (service.pages, service.reads) == ([1], ["t-1"])


def test_what_is_left_over_is_looked_for_on_few_pages_where_filters_are_ignored() -> None:
    strangers = [item(2000 + number) for number in range(500)]
    service = Listing(strangers)
    assert service.drive(find_left_over(wanted())) == []
    assert (service.pages, service.reads) == ([1, 2, 1], [])
    ended = Listing([item(1, OURS, status="completed"), *strangers])
    assert ended.drive(find_left_over(wanted())) == []
    assert ended.pages == [1]


def test_a_match_that_failed_does_not_end_the_search_where_the_order_is_unknown() -> None:
    chats = [item(2000 + number) for number in range(150)]
    service = Listing([item(1, OURS, status="failed"), *chats, item(2, OURS, minutes=1)])
    assert {task.id for task in service.drive(find_runs(wanted()))} == {"t-1", "t-2"}


def test_without_a_start_of_the_dag_run_all_pages_are_read() -> None:
    service = Listing([*OLD], newest_first)
    assert service.drive(find_runs(wanted(since=None), lag=(0.0,))) == []
    assert service.pages == list(range(1, 21))


def test_the_search_has_an_end() -> None:
    service = Listing([item(number, minutes=number) for number in range(50 * MAX_PAGES + 500)])
    assert service.drive(find_runs(wanted(), lag=(0.0,))) == []
    assert len(service.pages) == MAX_PAGES


def test_pages_that_repeat_items_do_no_harm() -> None:
    chats = [item(number, None) for number in range(10)] * 12
    service = Listing(chats)
    assert service.drive(find_runs(wanted(), lag=(0.0,))) == []
    assert len(service.reads) == 10


def test_only_the_time_of_the_attempt_and_the_target_are_read() -> None:
    ten = MARGIN.total_seconds() / 60
    service = Listing(
        [
            item(1, None, minutes=-ten + 1),
            item(2, None, minutes=-ten - 1),
            item(3, None, agent_id="another"),
            item(4, None, created_at=None, updated_at=None),
            item(5, None, agent_id=None),
        ]
    )
    service.drive(find_runs(wanted(), lag=(0.0,)))
    assert service.reads == ["t-1", "t-4", "t-5"]


def test_a_full_record_without_a_source_is_not_taken_for_ours() -> None:
    service = Listing([item(1, None), item(2, None, source=str(OTHERS)), item(3, None, source="api")])
    assert service.drive(find_runs(wanted(), lag=(0.0,))) == []


ASKED = {"text": "sum up", "files": None}


@pytest.mark.parametrize(
    ("record", "found"),
    [
        pytest.param({"source": "api"}, True, id="source overwritten"),
        pytest.param({"source": None}, True, id="source dropped"),
        pytest.param({"input": {"text": "sum up", "files": [], "user": {"id": "u"}}}, True, id="user added"),
        pytest.param({"source": "dashboard"}, False, id="a person's"),
        pytest.param({"source": f"airflow {OTHERS}"}, False, id="of another task"),
        pytest.param({"input": {"text": "sum up more"}}, False, id="other text"),
        pytest.param({"input": {"text": "sum up", "files": ["https://x.example"]}}, False, id="other files"),
        pytest.param({"input": None}, False, id="no input told"),
        pytest.param({"created_at": None, "updated_at": None}, False, id="no time told"),
        pytest.param({"created_at": (NOW - timedelta(seconds=9)).isoformat()}, True, id="clocks differ"),
        pytest.param({"created_at": (NOW - timedelta(seconds=11)).isoformat()}, False, id="before it"),
    ],
)  # fmt: skip
def test_without_any_mark_the_input_tells_the_run(
    record: dict[str, Any], found: bool, caplog: pytest.LogCaptureFixture
) -> None:
    service = Listing([item(1, None, **({"input": ASKED, "source": "api"} | record))])
    wanted_too = replace(wanted(), input=ASKED)
    assert [task.id for task in service.drive(find_runs(wanted_too))] == (["t-1"] if found else [])
    assert ("it is taken for the run" in caplog.text) is found
    assert service.drive(find_runs(wanted())) == []


def test_of_two_runs_with_the_same_input_and_no_mark_none_is_taken(caplog: pytest.LogCaptureFixture) -> None:
    service = Listing([item(number, None, input=ASKED, source="api") for number in (1, 2)])
    assert service.drive(find_runs(replace(wanted(), input=ASKED))) == []
    assert "so none is taken: t-1, t-2" in caplog.text


@pytest.mark.parametrize(
    ("other", "found"),
    [
        pytest.param(item(2, OTHERS), False, id="marks are kept in titles"),
        pytest.param(item(2, None, source=f"airflow {OTHERS}"), False, id="marks are kept in sources"),
        pytest.param(item(2, None, source="dashboard"), True, id="no mark is kept"),
    ],
)
def test_where_marks_are_kept_a_task_without_one_is_somebody_elses(
    other: dict[str, Any], found: bool
) -> None:
    service = Listing([item(1, None, input=ASKED, source="api"), other])
    assert bool(service.drive(find_runs(replace(wanted(), input=ASKED)))) is found


OLD_MARK = Mark("e" * 20, "aaaaaaaaaaaa")


@pytest.mark.parametrize("place", ["title", "source"])
@pytest.mark.parametrize(
    ("seconds", "found"), [(60, True), (0, True), (-9, True), (-11, False), (-3600, False), (None, False)]
)
def test_a_mark_of_an_older_release_counts_for_runs_since_the_dag_run_began(
    seconds: float | None, found: bool, place: str
) -> None:
    """That mark does not tell a DAG run from a deleted one of the same name."""
    created = None if seconds is None else (NOW + timedelta(seconds=seconds)).isoformat()
    told = {"title": "a chat", place: f"airflow {OLD_MARK}", "created_at": created}
    service = Listing([item(1, None, **told)])
    both = wanted(old_digests=frozenset({OLD_MARK.digest}))
    assert bool(service.drive(find_runs(both, lag=(0.0,)))) is found
    assert service.drive(find_runs(wanted(), lag=(0.0,))) == []
    unknown = wanted(old_digests=frozenset({OLD_MARK.digest}), since=None)
    assert service.drive(find_runs(unknown, lag=(0.0,))) == []


def test_a_mark_of_this_release_is_found_however_wrong_the_services_clock_is() -> None:
    service = Listing([item(1, OURS, minutes=-9)])
    assert [task.id for task in service.drive(find_runs(wanted()))] == ["t-1"]


def test_what_is_looked_for_is_made_of_identities() -> None:
    one = Identity("d", "r", "t", -1, 1, NOW)
    two = replace(one, first_try=2)
    assert wanted_of([one, two], "slow", NOW) == Wanted(
        "slow",
        frozenset({one.digest, two.digest}),
        NOW,
        frozenset({str(one.old_digest), str(two.old_digest)}),
    )
    assert wanted_of([replace(one, deployment="x")], "slow", NOW).old_digests == frozenset()


def test_a_mark_is_better_than_the_same_input() -> None:
    marked = item(2, None, source=f"airflow {OURS}")
    service = Listing([item(1, None, input=ASKED, source="api"), marked])
    assert [task.id for task in service.drive(find_runs(replace(wanted(), input=ASKED)))] == ["t-2"]


def test_the_second_look_ends_at_the_run() -> None:
    chats = [item(number, None, source="api") for number in range(40)]
    service = Listing([*chats[:3], item(99, None, source=f"airflow {OURS}"), *chats[3:]])
    found = service.drive(find_runs(wanted()))
    assert [task.id for task in found] == ["t-99"]
    assert service.reads == ["t-0", "t-1", "t-2", "t-99"]


@pytest.mark.parametrize(
    ("task", "may_be"),
    [
        (item(1, None), True),
        (item(1, None, minutes=-9), True),
        (item(1, None, minutes=-11), False),
        (item(1, None, title=None), True),
        (item(7, None), False),
        (item(1, None, agent_id="another"), False),
    ],
)
def test_whether_a_listed_task_may_be_the_run(task: dict[str, Any], may_be: bool) -> None:
    assert wanted(known=frozenset({"t-7"})).may_be(Task.model_validate(task)) is may_be


def test_queries_are_made_as_the_contract_has_them() -> None:
    step = next(find_runs(wanted()))
    assert isinstance(step, Send)
    assert parse_qs("&".join(f"{name}={value}" for name, value in step.call.params.items())).keys() == {
        "agent_id", "from_date", "page", "per_page",
    }  # fmt: skip


def test_the_run_of_one_pack_is_told_from_those_of_others(service: Service) -> None:
    first, second = (service.start(replace(OURS, pack=number)) for number in (1, 2))
    only = service.start()
    service.start(replace(OTHERS, pack=1))
    assert service.find() == [only]
    assert service.find(Wanted("slow", DIGESTS, NOW, pack=2)) == [second]
    found = service.run(find_all(Wanted("slow", DIGESTS, NOW, pack=None)))
    assert {task.id for task in found} == {first, second, only}


@pytest.mark.parametrize("titles", [True, False], ids=["in titles", "in sources only"])
def test_all_runs_are_found_whatever_became_of_them(service: Service, titles: bool) -> None:
    kept = {} if titles else {"title": "rewritten by the service"}
    runs = [service.start(replace(OURS, pack=number), **kept) for number in range(1, 4)]
    service.emulator.stop(runs[0])
    found = service.run(find_all(Wanted("slow", DIGESTS, NOW, pack=None)))
    assert {task.id for task in found} == set(runs)
