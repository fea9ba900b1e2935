"""A task that really fails, and tells an agent by its callback."""

from __future__ import annotations

import re
from pathlib import Path
from types import ModuleType

import pytest
from airflow_side import Service
from dag_runs import Result

from airflow_provider_xpander import notice_ledger
from airflow_provider_xpander._compat import AIRFLOW_VERSION


def test_a_failed_task_tells_an_agent(
    dags: ModuleType, service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import xpander_notifying

    monkeypatch.setattr(notice_ledger.tempfile, "tempdir", str(tmp_path))  # no notices of earlier tests count

    result = Result(xpander_notifying.notifying.test())
    assert result.states == {"load": {"failed"}}
    (run,) = service.runs()
    text = run.body["input"]["text"]
    assert text.startswith("Why did load fail?\n\nWhat Airflow knows of it:\n- DAG: xpander_notifying\n")
    assert "- Try: 1 of 1" in text
    if re.match(r"3\.[0-2]\.", AIRFLOW_VERSION):
        return  # there dag.test() gives callbacks no error, other than a worker, and on 3.0 no link
    assert "- Log: http" in text
    assert "- Error: ValueError: the table orders is locked (in execute, xpander_notifying.py" in text
    assert "  caused by KeyError: 'orders'" in text
