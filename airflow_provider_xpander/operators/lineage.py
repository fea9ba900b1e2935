"""
OpenLineage: which agent or workflow a task invokes and what came of it, and where rows come from and go to.

Nothing of OpenLineage is imported before its provider asks.
"""

from __future__ import annotations

import logging
import re
from functools import cache
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from airflow_provider_xpander.api.models import Target, Task, Tokens

if TYPE_CHECKING:
    from airflow.providers.openlineage.extractors import OperatorLineage
    from openlineage.client.event_v2 import Dataset

log = logging.getLogger(__name__)

JOB_FACET = "xpander_job"
RUN_FACET = "xpander_run"


def lineage_of(target: Target, task: Task | None, link: str | None = None) -> OperatorLineage[Any, Any]:
    """
    Return the facets of a task of Airflow.

    :param target: what it invokes.
    :param task: the run, once it is known.
    :param link: where a person finds the run.
    :raises ImportError: the OpenLineage provider is not installed; then nobody calls this.
    """
    from airflow.providers.openlineage.extractors import OperatorLineage

    job_facet, run_facet = _facet_classes()
    job = job_facet(type=target.kind, id=target.id, version=target.version)
    run_facets = {}
    if task is not None:
        tokens = task.tokens or Tokens()
        run_facets[RUN_FACET] = run_facet(
            taskId=task.id,
            status=task.status.value,
            url=link,
            model=task.llm_model_name,
            modelProvider=task.llm_model_provider,
            inputTokens=tokens.prompt_tokens,
            outputTokens=tokens.completion_tokens,
            totalTokens=tokens.total_tokens,
            durationSeconds=task.duration,
        )
    return OperatorLineage(job_facets={JOB_FACET: job}, run_facets=run_facets)


def datasets_of(
    *,
    rows: Any,
    rows_conn_id: str | None = None,
    result_path: str | None = None,
    write_conn_id: str | None = None,
    write_table: str | None = None,
) -> tuple[list[Dataset], list[Dataset]]:
    """
    Return what a bulk task reads and what it writes: tables and folders of files. A list of rows is neither.

    Tables are told by the parser of OpenLineage's provider, for databases whose hooks know their names there.

    :param rows: the source of the rows.
    :param rows_conn_id: the connection of a query.
    :param result_path: URL of the folder of results.
    :param write_conn_id: the connection of the table.
    :param write_table: the table that answers are written to.
    :return: inputs and outputs.
    :raises ImportError: the OpenLineage provider is not installed; then nobody calls this.
    """
    inputs: list[Dataset] = []
    outputs: list[Dataset] = []
    if rows_conn_id is not None:
        inputs += _tables(rows_conn_id, str(rows))[0]
    elif isinstance(rows, str):
        inputs.append(_folder(rows))
    if result_path:
        outputs.append(_folder(f"{result_path.rstrip('/')}/results"))
    if write_conn_id is not None and write_table:
        outputs += _tables(write_conn_id, f"INSERT INTO {write_table} SELECT 1")[1]
    return inputs, outputs


def _folder(url: str) -> Dataset:
    """Name a file, or the folder that all files of a glob are in."""
    from openlineage.client.event_v2 import Dataset

    glob = re.search(r"[*?\[]", url)
    parts = urlsplit(url[: glob.start()].rpartition("/")[0] if glob else url)
    if parts.scheme in ("", "file"):
        return Dataset(namespace="file", name=parts.path or "/")
    host = parts.netloc.rpartition("@")[2]  # before it is a connection of Airflow's
    return Dataset(namespace=f"{parts.scheme}://{host}", name=parts.path.lstrip("/") or "/")


def _tables(conn_id: str, sql: str) -> tuple[list[Dataset], list[Dataset]]:
    """Return the tables that a statement reads and writes."""
    from airflow.providers.openlineage.sqlparser import SQLParser

    from airflow_provider_xpander.bulk.databases import database_hook

    try:
        hook = database_hook(conn_id, "conn_id")
        connection = hook.get_connection(conn_id)
        database = hook.get_openlineage_database_info(connection)
        if database is None:  # of SQLite, say
            return [], []
        parser = SQLParser(
            hook.get_openlineage_database_dialect(connection), hook.get_openlineage_default_schema()
        )
        told = parser.generate_openlineage_metadata_from_sql(sql, hook, database, use_connection=False)
        return told.inputs, told.outputs
    except Exception:  # whatever a hook or the parser raises: lineage is no reason to fail
        log.debug("No lineage of the tables of %s", conn_id, exc_info=True)
        return [], []


@cache
def _facet_classes() -> tuple[Any, Any]:
    """Make the classes on first use: their base is OpenLineage's."""
    import attrs
    from openlineage.client.facet_v2 import JobFacet, RunFacet

    @attrs.define
    class XpanderJobFacet(JobFacet):
        """
        What a task invokes.

        :param type: ``agent`` or ``workflow``.
        :param id: its id.
        :param version: the version that was asked for, None for the latest.
        """

        type: str
        id: str
        version: str | None

        _additional_skip_redact = ["type", "id", "version"]

    @attrs.define
    class XpanderRunFacet(RunFacet):
        """
        The remote run.

        :param taskId: its id, which is the thread's too.
        :param status: its status, as the API spells it.
        :param url: where a person finds it.
        :param model: the model that was used.
        :param modelProvider: its provider.
        :param inputTokens: tokens that went into the model.
        :param outputTokens: tokens that came out of it.
        :param totalTokens: both.
        :param durationSeconds: from the start to the end.
        """

        taskId: str
        status: str
        url: str | None
        model: str | None
        modelProvider: str | None
        inputTokens: int | None
        outputTokens: int | None
        totalTokens: int | None
        durationSeconds: float | None

        # Airflow's masking takes anything with "token" in its name for a secret.
        _additional_skip_redact = ["taskId", "status", "inputTokens", "outputTokens", "totalTokens"]

    return XpanderJobFacet, XpanderRunFacet
