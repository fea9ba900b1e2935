"""The beginning of an attempt at a bulk task: its folder, its snapshot, and the parts that do the work."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

from airflow_provider_xpander._compat import Context, TaskDeferred
from airflow_provider_xpander.api import clock
from airflow_provider_xpander.api.errors import XpanderValidationError
from airflow_provider_xpander.api.exchange import TooLong
from airflow_provider_xpander.api.governor import governor_of
from airflow_provider_xpander.bulk.answers import answer_columns
from airflow_provider_xpander.bulk.folder import Folder
from airflow_provider_xpander.bulk.ledger import Ledger
from airflow_provider_xpander.bulk.results import ResultFiles
from airflow_provider_xpander.bulk.row_input import RowInput
from airflow_provider_xpander.bulk.rows import key_columns
from airflow_provider_xpander.bulk.sources import read_rows
from airflow_provider_xpander.bulk.state import State
from airflow_provider_xpander.bulk.waves import Limits
from airflow_provider_xpander.operators.arguments import check_rendered_result_path
from airflow_provider_xpander.operators.bulk.ask import Asker
from airflow_provider_xpander.operators.bulk.book import Book
from airflow_provider_xpander.operators.bulk.collect import Collector
from airflow_provider_xpander.operators.bulk.pace import Pace
from airflow_provider_xpander.operators.bulk.stop import Stopper
from airflow_provider_xpander.operators.bulk.task import BulkTask, deferral
from airflow_provider_xpander.operators.bulk.wave_guard import WaveGuard
from airflow_provider_xpander.operators.run_guard import KillState
from airflow_provider_xpander.runs.adopt import goes_on
from airflow_provider_xpander.runs.identity import Identity
from airflow_provider_xpander.runs.lookup import find_all, get_known, wanted_of
from airflow_provider_xpander.runs.schema import AnswerSchema
from airflow_provider_xpander.task_instance import attempt_deadline, identity_of, was_tried

if TYPE_CHECKING:
    from airflow_provider_xpander.hooks.xpander import XpanderHook
    from airflow_provider_xpander.operators.enrich import XpanderEnrichOperator

_LAST_TRY = 9999
"""Stands for an attempt after all others, which may read whatever they have written."""


def begin(
    task: XpanderEnrichOperator, context: Context, hook: XpanderHook, *, may_defer: bool, event: Any = None
) -> BulkTask:
    """
    Return an attempt at a bulk task, with its rows written down; nothing is paid yet.

    :param task: the operator, with its parameters rendered.
    :param context: that of the task instance.
    :param hook: where to ask.
    :param may_defer: whether to defer rather than sleep for long.
    :param event: that of the trigger, if the attempt goes on.
    :raises TaskDeferred: the runs of before a clear are not all stopped yet.
    :raises XpanderValidationError: the rows, the table or the folder cannot be used.
    :raises XpanderError: the folder cannot be reached.
    """
    from airflow_provider_xpander.triggers.enrich import moments_of

    ti, key = context["ti"], key_columns(task.key)
    identity = identity_of(ti, retries=task.retries)
    request = hook.prepare(task.request(context))  # it refuses a schema that data names, before any import
    schema = cast("AnswerSchema", task.answers.schema(task.output_schema))
    _check_object(schema)
    row_input = RowInput(
        task.row_input, exclude_columns=task.exclude_columns, params=dict(context.get("params") or {})
    )
    columns = {}
    if task.write_table is not None or task.result_format != "jsonl":
        columns = answer_columns(schema.body, key)
    folder = Folder(str(task.result_path))
    check_rendered_result_path(folder.url)
    files = ResultFiles(folder.url, key=key, columns=columns, form=task.result_format)
    table = None
    if task.write_table is not None:
        from airflow_provider_xpander.bulk.tables import TableWriter

        table = TableWriter(
            str(task.write_conn_id), task.write_table, task.write_mode, key=key, columns=columns
        )
    guard = cast("WaveGuard", WaveGuard.of(task, context, hook, identity, KillState(task.target().id)))
    guard.state.connected(hook.get_conn())
    pace = Pace(governor_of(hook.settings))
    if may_defer:
        hook.get_conn().sleep = pace.sleep

    ledger = Ledger(folder, identity.digest, ti.try_number)
    _claim(task, ti, ledger, identity, guard, pace)
    deadlines = [
        None if task.timeout is None else time.time() + task.timeout,
        attempt_deadline(ti, task.execution_timeout),
    ]
    deadline = min((moment for moment in deadlines if moment is not None), default=None)
    deadline = ledger.begin_attempt({"deadline": deadline})["deadline"]
    state = ledger.load()
    has_begun = state is not None
    if state is not None:
        # Another worker may have written it, by a clock that differs.
        shift, told = moments_of(event, time.time())
        deadline = deadline if told is None else told
        state = state.shifted(shift).not_after(clock.CLOCK.time())
    else:
        state = _snapshot(task, context, ledger, key)
        if table is not None:
            first = ledger.row(0) if state.rows else None
            table.check(None if first is None else [first[name] for name in key])
        ledger.done(state)
    pace.remember(state.sent)
    task.log.info("Rows, results and the ledger are in %s", folder.url)
    book = Book(ledger, state, key=key, files=files, row_input=row_input, table=table, log=task.log)
    guard.runs = lambda: book.state.task_ids
    cache = None
    if task.cache_path is not None:
        from airflow_provider_xpander.bulk.cache import AnswerCache

        cache = AnswerCache(task.cache_path, task.cache_ttl)
    asker = Asker(
        hook=hook,
        log=task.log,
        book=book,
        guard=guard,
        pace=pace,
        target=task.target(),
        request=request,
        identity=identity,
        try_number=ti.try_number,
        schema=schema,
        row_input=row_input,
        rows_per_run=task.rows_per_run,
        limits=Limits(task.max_in_flight, task.max_runs, task.max_total_tokens),
        cache=cache,
        deadline=deadline,
        until_failed=task.on_row_error == "fail",
    )
    return BulkTask(
        asker,
        Collector(asker, Stopper(asker), ti, task.on_paused, task.on_stopped),
        ti,
        task.xpander_conn_id,
        task.poll_interval,
        task.deferrable,
        reattach=task.reattach,
        retried=was_tried(ti, identity),
        deadline=deadline,
        on_limit=task.on_limit,
        max_failed=task.max_failed,
        has_begun=has_begun,
    )


def _check_object(schema: AnswerSchema) -> None:
    kind = schema.body.get("type")
    if kind != "object" and not (kind is None and {"properties", "$ref"} & schema.body.keys()):
        raise XpanderValidationError(
            'output_schema must be the schema of an object, {"type": "object", "properties": {...}}'
        )


def _claim(
    task: XpanderEnrichOperator, ti: Any, ledger: Ledger, identity: Identity, guard: WaveGuard, pace: Pace
) -> None:
    """Make the folder this task instance's own; after a clear, end what was before."""
    instance = {
        "dag_id": identity.dag_id,
        "run_id": identity.run_id,
        "task_id": identity.task_id,
        "map_index": identity.map_index,
        "region": identity.region,
        "deployment": identity.deployment,
    }
    before = ledger.claim(instance)
    if before == ledger.generation:
        return
    if before is not None:
        if identity.first_try == 1:
            # No clear, which would have moved the first try: those runs and results are not ours to end.
            raise XpanderValidationError(
                f"result_path {ledger.folder.url} has the results of another DAG run of this name: that of "
                f"another installation of Airflow, or one that was deleted and made again. Give each "
                f"installation its own folder; after a deletion, remove this one"
            )
        old = Ledger(ledger.folder, before, _LAST_TRY)
        if not _end_before(old, task.target().id, identity, guard, pace):
            raise _deferral(task, ti, old, pace)
        moved = ledger.put_away(before)
        task.log.warning(
            "The task was cleared, so it starts anew. %d files of before were moved below _xpander/%s",
            moved,
            before,
        )
    ledger.own(instance)


def _end_before(ledger: Ledger, target_id: str, identity: Identity, guard: WaveGuard, pace: Pace) -> bool:
    """
    Stop the runs that go on from before a clear, or leave them, as the author wants.

    :return: whether that is done; else the ledger of before has those that are left for later.
    :raises XpanderValidationError: some go on that may be those of another installation.
    """
    state = ledger.load()
    if state is None or not state.flight:
        return True
    runs = state.task_ids
    # A DAG run that is cleared after it has ended begins anew, as that of another installation has.
    is_sure = ledger.generation in {one.digest for one in identity.earlier}
    try:
        if not is_sure and guard.on_kill_action == "stop":
            runs = [one.id for one in guard.hook.run(get_known(runs)) if goes_on(one)]
            if runs:
                raise XpanderValidationError(
                    f"result_path {ledger.folder.url}: runs go on of a DAG run of this name that began at "
                    f"another time ({', '.join(runs[:3])}{' ...' if len(runs) > 3 else ''}). They may be of "
                    f"another installation of Airflow, so they are not stopped. Give each installation its "
                    f"own folder, or stop them"
                )
            return True
        if len(runs) < len(state.flight):
            wanted = wanted_of(identity.earlier, target_id, identity.began, pack=None)
            found = guard.hook.run(find_all(replace(wanted, old_digests=frozenset())))
            runs = list(dict.fromkeys([*runs, *(one.id for one in found if not one.status.is_terminal)]))
        guard.log.warning("%d runs were in flight before the task was cleared", len(runs))
        state = replace(state, flight=())
        while runs:
            guard.stop_unwanted(runs[:1])
            runs = runs[1:]
    except TooLong as error:
        pace.trouble(error, state)
        ledger.done(state if state.flight else state.with_unwanted(runs, time.time()))
        return False
    return True


def _deferral(task: XpanderEnrichOperator, ti: Any, ledger: Ledger, pace: Pace) -> TaskDeferred:
    """Return a wait for the time at which the runs of before a clear can be stopped."""
    from airflow_provider_xpander.triggers.enrich import WaveWait

    now = time.time()
    until = now + clock.CLOCK.real((pace.until or 0.0) - clock.CLOCK.time())
    wait = WaveWait(task.xpander_conn_id, task.target().id, task.poll_interval, _LAST_TRY, until)
    return deferral(wait, ledger, ti, task.on_kill_action, now)


def _snapshot(task: XpanderEnrichOperator, context: Context, ledger: Ledger, key: tuple[str, ...]) -> State:
    began = time.time()

    def rows() -> Any:
        source = task.source(context)
        found = read_rows(source, key=key, rows_conn_id=task.rows_conn_id)
        return (cast("Mapping[str, Any]", row.values) for row in found)

    count = ledger.snapshot(rows)
    limit = count if task.preview is None else min(task.preview, count)
    task.log.info("%d rows were written down in %.1f s", count, time.time() - began)
    return State(rows=count, limit=limit, began=began)
