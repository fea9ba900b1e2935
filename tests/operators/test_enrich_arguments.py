"""The arguments of a bulk task: what is wrong is told when the DAG is parsed, by the parameter's name."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from bulk import enrich, folder

from airflow_provider_xpander.api.errors import XpanderValidationError

__all__ = ["folder"]


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"workflow_id": "w"}, "agent_id is not taken here"),
        ({"agent_id": None}, "agent_id"),
        ({"key": []}, "key must be"),
        ({"key": "answer"}, "a key column cannot be called"),
        ({"rows": 7}, "rows must be"),
        ({"rows": "SELECT 1"}, "rows_conn_id"),
        ({"rows_conn_id": "db"}, "rows is SQL"),
        ({"input": None}, "input: text or at least one file is needed"),
        ({"output_schema": None}, "input, output_schema and result_path"),
        ({"output_schema": {"type": 7}}, "output_schema"),
        ({"result_path": None}, "input, output_schema and result_path"),
        ({"result_path": "/tmp/x"}, "result_path"),
        ({"row_input": "{{ row.text"}, "row_input"),
        ({"row_input": "{{ var.value.x }}"}, "row_input sees row and params"),
        ({"rows_per_run": 0}, "rows_per_run"),
        ({"rows_per_run": 101}, "rows_per_run must be a whole number from 1 to 100"),
        ({"max_in_flight": 0}, "max_in_flight"),
        ({"max_runs": 0}, "max_runs"),
        ({"max_total_tokens": 1.5}, "max_total_tokens"),
        ({"preview": 0}, "preview"),
        ({"on_limit": "stop"}, "on_limit must be one of 'fail', 'partial'"),
        ({"on_row_error": "skip"}, "on_row_error must be one of"),
        ({"result_format": "xml"}, "result_format must be one of"),
        ({"write_mode": "replace"}, "write_mode must be one of"),
        ({"write_table": "t"}, "write_table and write_conn_id"),
        ({"max_failed": 1.5}, "max_failed"),
        ({"max_failed": True}, "max_failed"),
        ({"max_failed": -1}, "max_failed"),
        ({"cache_ttl": 0}, "cache_ttl"),
        ({"on_paused": "ask"}, "on_paused must be one of 'wait', 'fail'"),
        ({"mode": "sync"}, "mode is not taken here"),
        ({"thread_id": "x"}, "thread_id is not taken here"),
        ({"on_invalid": "raw"}, "on_invalid is not taken here"),
        ({"max_xcom_bytes": 1}, "max_xcom_bytes is not taken here, got 1: "),
        ({"require_approval": True}, "require_approval is not taken here, got True: a person approves one"),
        ({"think_mode": "hard"}, "think_mode"),
    ],
    ids=lambda value: str(value)[:40] if isinstance(value, dict) else None,
)
def test_what_is_wrong_is_named(folder: Path, wrong: dict[str, Any], said: str) -> None:
    with pytest.raises(XpanderValidationError, match=said):
        enrich(folder, **wrong)


def test_a_list_of_rows_is_no_template_and_sql_is_one(folder: Path) -> None:
    assert "rows" not in enrich(folder).template_fields
    sql = enrich(folder, rows="SELECT id FROM t WHERE day = '{{ ds }}'", rows_conn_id="db")
    assert "rows" in sql.template_fields
    assert {"cache_path", "result_path", "write_table", "input", "agent_id"} <= set(sql.template_fields)
    assert enrich(folder, cache_ttl=timedelta(days=1)).cache_ttl == 86_400
