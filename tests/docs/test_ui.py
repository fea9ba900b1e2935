"""Additions of `make ui` to a local Airflow."""

from __future__ import annotations

import urllib.error
import urllib.request
from pathlib import Path

import pytest

from dev.log_server import log_server, loopback

DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def test_task_logs_are_served_where_airflow_looks_for_them(tmp_path: Path) -> None:
    log = tmp_path / "dag_id=one" / "run_id=manual__2026-11-01T00:00:00+00:00" / "attempt=1.log.trigger.2.log"
    log.parent.mkdir(parents=True)
    log.write_text("a line\n")
    with log_server(tmp_path) as config:
        (port,) = {value for name, value in config.items() if name.endswith("_PORT")}
        base = f"http://{loopback()}:{port}/log/"
        path = log.relative_to(tmp_path).as_posix()
        with DIRECT.open(base + path, timeout=10) as answer:
            assert (answer.read(), answer.headers["Content-Length"]) == (b"a line\n", "7")
        for nothing in ("", "../", path + ".no"):
            with pytest.raises(urllib.error.HTTPError, match="404"):
                DIRECT.open(base + nothing, timeout=10)
