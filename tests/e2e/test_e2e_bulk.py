"""Mapped bulk tasks side by side on real workers, with the limits that the service tells all of them."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from airflow_provider_xpander.emulator import Fault
from airflow_provider_xpander.emulator.server import EmulatorServer
from dev.airflow_client import AirflowClient

pytestmark = pytest.mark.timeout(300)
PARTS, ROWS = 4, 6


def test_four_side_by_side_pay_each_row_once_and_slow_down_together(
    client: AirflowClient, emulator: EmulatorServer, answers_folder: Path
) -> None:
    before = len(emulator.emulator.runs("classifier"))
    emulator.emulator.add_fault(Fault.throttled(method="POST", path="/invoke/async$", after=4, times=4))
    run_id = client.trigger("e2e_bulk")
    assert client.wait_for_run("e2e_bulk", run_id, limit=200) == "success"
    emulator.emulator.faults.clear()
    found: Counter[str] = Counter()
    for part in range(PARTS):
        folder = answers_folder / "bulk" / run_id / str(part)
        manifest = client.xcom("e2e_bulk", run_id, "part", map_index=part)
        assert manifest["counts"]["answered"] == ROWS
        assert manifest == json.loads((folder / "manifest.json").read_text())
        for file in (folder / "results").glob("*.jsonl"):
            found.update(json.loads(line)["id"] for line in file.read_text().splitlines())
    assert found == Counter(f"{part}-{row}" for part in range(PARTS) for row in range(ROWS))
    runs = emulator.emulator.runs("classifier")[before:]
    asked = Counter(
        row["row"]["id"]
        for run in runs
        for row in json.loads(run.body["input"]["text"].rpartition("\n\n")[2])["rows"]
    )
    assert asked == found
