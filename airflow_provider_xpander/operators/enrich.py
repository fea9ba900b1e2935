"""The bulk operator: rows in, one answer per row out, each row paid once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Literal

from airflow_provider_xpander._compat import (
    DEFERRAL_ERRORS,
    Context,
    XComArg,
    is_deferral_timeout,
)
from airflow_provider_xpander.api.errors import XpanderValidationError
from airflow_provider_xpander.bulk.results import RESULT_FORMATS
from airflow_provider_xpander.bulk.row_input import RowInput
from airflow_provider_xpander.bulk.rows import key_columns
from airflow_provider_xpander.bulk.sources import check_rows
from airflow_provider_xpander.bulk.tables import WRITE_MODES
from airflow_provider_xpander.connection import DEFAULT_CONN_ID
from airflow_provider_xpander.operators.arguments import (
    check_choice,
    check_count,
    check_seconds,
    is_literal,
    naming,
)
from airflow_provider_xpander.operators.base import RUN_PARAMETERS, XpanderRequestOperator
from airflow_provider_xpander.operators.early_end import give_up, kill
from airflow_provider_xpander.operators.templating import is_from_xcom, is_native, render_texts
from airflow_provider_xpander.task_instance import check_own_task, failing_at_once, tell_outlets

if TYPE_CHECKING:
    from airflow.providers.openlineage.extractors import OperatorLineage

    from airflow_provider_xpander.hooks.xpander import XpanderHook
    from airflow_provider_xpander.operators.bulk.wave_guard import WaveGuard
    from airflow_provider_xpander.runs.adopt import Reattach
    from airflow_provider_xpander.runs.stop_policy import OnKill, OnTimeout
    from airflow_provider_xpander.runs.watch import OnPaused

MOST_ROWS = 100
"""Rows that one run may be asked about at the most."""
NOT_TAKEN = {
    "thread_id": "each run has a thread of its own",
    "output_format": "answers are JSON, by output_schema",
    "mode": "runs are started, then waited for together",
    "wait_for_completion": "the task ends with its last row",
    "on_invalid": "on_row_error and max_failed say what becomes of rows without a valid answer",
    "repair_attempts": "an answer that is no JSON gets one repair turn, then its rows are asked about again",
    "max_xcom_bytes": "XCom has the manifest only",
    **dict.fromkeys(
        ("require_approval", "approvers", "approval_timeout", "on_approval_timeout"),
        "a person approves one answer, not a table",
    ),
}


class XpanderEnrichOperator(XpanderRequestOperator):
    """
    Ask an agent or a workflow about each row of a table, pay each row once, and write the answers down.

    The return value in XCom is the manifest: counts, what was spent, and where results and failed rows are.
    Parameters that are not listed are those of
    :class:`~airflow_provider_xpander.operators.base.XpanderRequestOperator`; they hold for all runs. Not
    taken are ``thread_id``, ``output_format``, ``mode``, ``wait_for_completion``, ``on_invalid``,
    ``repair_attempts``, ``max_xcom_bytes`` and those about approval. ``on_paused`` is ``wait`` or ``fail``.
    ``timeout`` is of the task.

    :param rows: a list of mappings, also another task's output; the URL or glob of files (``.jsonl``,
        ``.csv``, ``.parquet``, also ``.gz``), a template; or SQL with ``rows_conn_id``, a template.
    :param key: the column, or columns, that identify a row: unique and not null.
    :param input: what to do with each row; a template, the same for all rows.
    :param output_schema: what the answer to one row looks like: a JSON Schema of an object, a pydantic model
        class, or the import path of one.
    :param result_path: ObjectStoragePath URL of a folder that is this task instance's own.
    :param rows_conn_id: the connection of a query, of any ``DbApiHook``.
    :param row_input: what is sent of a row, as a Jinja template of its own, which sees ``row`` and ``params``
        and nothing else. By default all columns, as JSON.
    :param exclude_columns: columns that are not sent.
    :param rows_per_run: rows that one run is asked about, 1 to 100.
    :param max_in_flight: runs that are under way at a time.
    :param max_runs: runs in all since the last clear, repeats and repair turns among them; None for no limit.
    :param max_total_tokens: tokens in all since the last clear; None for no limit.
    :param on_limit: ``fail`` the task at such a limit, or ``partial`` for a success with the rest skipped.
    :param result_format: of the results: ``jsonl``, ``csv`` or ``parquet``.
    :param write_table: a table that the answers are written into as well; it has to exist.
    :param write_conn_id: the connection of its database.
    :param write_mode: ``append`` rows, or ``upsert`` them by ``key`` (PostgreSQL, MySQL, SQLite).
    :param on_row_error: ``keep`` failed rows apart and go on, or ``fail`` the task at the first.
    :param max_failed: failed rows above which the task fails, everything kept: a number, or a fraction of the
        rows as a float.
    :param cache_path: ObjectStoragePath URL of a folder with answers by content, for other DAG runs too.
    :param cache_ttl: seconds (or timedelta) for which an answer of the cache is used; None for ever.
    :param preview: ask about so many rows only, and say in the manifest what all would cost.
    :param kwargs: those of the request, of the wait, and of Airflow's ``BaseOperator``.
    :raises XpanderValidationError: an argument is wrong, when the DAG is parsed.
    """

    template_fields: Sequence[str] = (
        "agent_id", "workflow_id", *XpanderRequestOperator.template_fields, "cache_path", "write_table",
        "rows_conn_id", "write_conn_id",
    )  # fmt: skip

    _guard: WaveGuard | None = None
    """What sees to the runs of this process's attempt, for a kill."""

    def __init__(
        self,
        *,
        rows: Any,
        key: str | Sequence[str],
        input: str | Mapping[str, Any],
        output_schema: Any,
        result_path: str,
        rows_conn_id: str | None = None,
        row_input: str | None = None,
        exclude_columns: Sequence[str] = (),
        rows_per_run: int = 1,
        max_in_flight: int = 50,
        max_runs: int | None = None,
        max_total_tokens: int | None = None,
        on_limit: Literal["fail", "partial"] = "fail",
        result_format: Literal["jsonl", "csv", "parquet"] = "jsonl",
        write_table: str | None = None,
        write_conn_id: str | None = None,
        write_mode: Literal["append", "upsert"] = "append",
        on_row_error: Literal["keep", "fail"] = "keep",
        max_failed: float = 0.1,
        cache_path: str | None = None,
        cache_ttl: float | timedelta | None = None,
        preview: int | None = None,
        agent_id: str | None = None,
        workflow_id: str | None = None,
        files: Sequence[str] | str | None = None,
        user: Mapping[str, Any] | None = None,
        version: str | None = None,
        expected_output: str | None = None,
        instructions_override: str | None = None,
        additional_context: str | None = None,
        think_mode: str | None = None,
        llm_model_provider: str | None = None,
        llm_model_name: str | None = None,
        llm_reasoning_effort: str | None = None,
        mcp_servers: Sequence[Mapping[str, Any]] | None = None,
        user_tokens: Mapping[str, Any] | None = None,
        user_oidc_token: str | None = None,
        title: str | None = None,
        payload_extension: Mapping[str, Any] | None = None,
        disable_attachment_injection: bool | None = None,
        return_metrics: bool | None = None,
        extra_body: Mapping[str, Any] | None = None,
        xpander_conn_id: str = DEFAULT_CONN_ID,
        deferrable: bool | None = None,
        poll_interval: float = 30.0,
        timeout: float | timedelta | None = None,
        on_timeout: OnTimeout = "stop",
        on_kill_action: OnKill = "stop",
        on_paused: OnPaused = "wait",
        on_stopped: Literal["fail", "skip"] = "fail",
        reattach: Reattach = True,
        **kwargs: Any,
    ) -> None:
        asked = {name: value for name, value in locals().items() if name in RUN_PARAMETERS}
        refused = [name for name in NOT_TAKEN if name in kwargs]
        taken = {name: value for name, value in kwargs.items() if name not in NOT_TAKEN}
        self.rows_conn_id = rows_conn_id
        self.write_table = write_table
        self.write_conn_id = write_conn_id
        self.cache_path = cache_path
        self.rows = rows
        if isinstance(rows, str):
            # A list never is: braces in data are no templates, and rows are not for Airflow's database.
            self.template_fields = (*self.template_fields, "rows")
        super().__init__(**asked, **taken)
        self.key = key
        self.row_input = row_input
        self.exclude_columns = exclude_columns
        with naming(self):
            for name in refused:
                raise XpanderValidationError(
                    f"{name} is not taken here, got {kwargs[name]!r}: {NOT_TAKEN[name]}"
                )
            if input is None or output_schema is None or result_path is None:
                raise XpanderValidationError("input, output_schema and result_path must be given")
            if self.on_paused == "ask":
                raise XpanderValidationError("on_paused must be one of 'wait', 'fail' here, got 'ask'")
            if isinstance(rows, XComArg):
                XComArg.apply_upstream_relationship(self, rows)
            else:
                check_rows(rows, rows_conn_id)
            key_columns(key)
            RowInput(row_input, exclude_columns=exclude_columns)
            self.cache_ttl = None if cache_ttl is None else check_seconds("cache_ttl", cache_ttl)
            self.rows_per_run = check_count("rows_per_run", rows_per_run, MOST_ROWS)
            self.max_in_flight = check_count("max_in_flight", max_in_flight)
            self.max_runs = None if max_runs is None else check_count("max_runs", max_runs)
            self.max_total_tokens = (
                None if max_total_tokens is None else check_count("max_total_tokens", max_total_tokens)
            )
            self.preview = None if preview is None else check_count("preview", preview)
            self.on_limit: Literal["fail", "partial"] = check_choice(
                "on_limit", on_limit, ("fail", "partial")
            )
            self.on_row_error = check_choice("on_row_error", on_row_error, ("keep", "fail"))
            self.result_format = check_choice("result_format", result_format, RESULT_FORMATS)
            self.write_mode = check_choice("write_mode", write_mode, WRITE_MODES)
            self.max_failed = _check_max_failed(max_failed)
            if (write_table is None) != (write_conn_id is None):
                raise XpanderValidationError(
                    f"write_table and write_conn_id must be given together, got {write_table!r} and "
                    f"{write_conn_id!r}"
                )

    @property
    def target_field(self) -> Literal["agent_id", "workflow_id"]:  # type: ignore[override]
        """The one of the two ids that was given."""
        return "workflow_id" if self.workflow_id is not None else "agent_id"

    def execute(self, context: Context) -> dict[str, Any]:
        """
        Write down the rows and ask about them, or go on where an earlier attempt has ended.

        :param context: that of the task instance.
        :return: the manifest.
        """
        return self._execute(context)

    def execute_complete(self, context: Context, event: Any) -> dict[str, Any]:
        """
        Go on when enough runs of a wave have ended.

        :param context: that of the task instance.
        :param event: that of the trigger.
        :return: the manifest.
        """
        return self._execute(context, event, resumed=True)

    def _execute(self, context: Context, event: Any = None, *, resumed: bool = False) -> dict[str, Any]:
        from airflow_provider_xpander.hooks.xpander import XpanderHook
        from airflow_provider_xpander.operators.bulk.begin import begin
        from airflow_provider_xpander.triggers.enrich import going_of

        self.operator_extra_links = ()  # the link is stored once a run is known, see links.py
        with XpanderHook(self.xpander_conn_id) as hook, failing_at_once(log=self.log):
            check_own_task(context["ti"], self.task_id)
            self._keep_texts(context)
            bulk = begin(self, context, hook, may_defer=self.deferrable, event=event)
            self._guard = bulk.guard
            if self.killed:
                bulk.guard.state.kill()
            with bulk.guard.while_going_on():
                if bulk.has_begun and not resumed:
                    bulk.take_over()
                manifest = bulk.go_on(going_of(event))
                tell_outlets(context, self.outlets, manifest, self.log)
                return manifest

    def source(self, context: Context) -> Any:
        """
        Return the rows as they are to be read: templates rendered, another task's output fetched.

        :param context: that of the task instance.
        """
        rows = self.rows
        if isinstance(rows, XComArg):
            return rows.resolve(context)
        # Airflow renders it, but not in a mapped task.
        is_rendered = not isinstance(rows, str) or is_literal(rows) or rows != self._written.get("rows")
        if is_rendered or is_from_xcom(context, self.task_id, "rows", rows):
            return rows
        return render_texts(rows, context) if is_native(context) else self.render_template(rows, context)

    def resume_execution(self, next_method: str, next_kwargs: dict[str, Any] | None, context: Context) -> Any:
        """
        Resume; where Airflow has given up the deferral, see to the runs before the task fails.

        :param next_method: name of the method that resumes, or Airflow's word for a failure.
        :param next_kwargs: its arguments.
        :param context: that of the task instance.
        """
        try:
            return super().resume_execution(next_method, next_kwargs, context)
        except DEFERRAL_ERRORS as error:
            give_up(self, context, late=is_deferral_timeout(error))
            raise

    def on_kill(self) -> None:
        """Stop all runs with a few short calls that need nothing of Airflow."""
        kill(self, self._guard)

    def guard_again(self, context: Context, hook: XpanderHook) -> WaveGuard:
        """
        Return the guard of the runs that an earlier process has started.

        :param context: that of the task instance.
        :param hook: where to stop and look.
        """
        from airflow_provider_xpander.operators.bulk.begin import begin

        return begin(self, context, hook, may_defer=False).guard

    def get_openlineage_facets_on_start(self) -> OperatorLineage[Any, Any]:
        """Tell OpenLineage what is invoked, and which tables and folders are read and written."""
        from airflow_provider_xpander.operators.lineage import datasets_of, lineage_of

        lineage = lineage_of(self.target(), None)
        lineage.inputs, lineage.outputs = datasets_of(
            rows=self.rows,
            rows_conn_id=self.rows_conn_id,
            result_path=self.result_path,
            write_conn_id=self.write_conn_id,
            write_table=self.write_table,
        )
        return lineage

    def get_openlineage_facets_on_complete(self, task_instance: Any) -> OperatorLineage[Any, Any]:
        """
        Tell OpenLineage the same at the end, with the table that a template has named.

        :param task_instance: not used.
        """
        return self.get_openlineage_facets_on_start()


def _check_max_failed(value: Any) -> float:
    """Return how many rows may fail: a whole number, or a fraction as a float."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or value < 0 or (isinstance(value, float) and value > 1):
        raise XpanderValidationError(
            f"max_failed must be a number of rows, or a fraction of them from 0.0 to 1.0, got {value!r}"
        )
    return value  # type: ignore[no-any-return]
