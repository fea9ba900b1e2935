"""Imports that come along, seen from a fresh interpreter."""

from __future__ import annotations

import json
import pkgutil
import subprocess
import sys

import pytest

import airflow_provider_xpander.api
import airflow_provider_xpander.runs

DRIVERS = {
    "airflow_provider_xpander.api.client",
    "airflow_provider_xpander.api.stream",
    "airflow_provider_xpander.api.aclient",
}
CORE = sorted(
    {
        module.name
        for package in (airflow_provider_xpander.api, airflow_provider_xpander.runs)
        for module in pkgutil.walk_packages(package.__path__, package.__name__ + ".")
    }
    - DRIVERS
)


def imported_by(*names: str) -> set[str]:
    """Return all modules that are loaded after these were imported."""
    code = f"import json, sys, {', '.join(names)}; print('\\n' + json.dumps(sorted(sys.modules)))"
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    assert run.returncode == 0, run.stderr
    return set(json.loads(run.stdout.splitlines()[-1]))


def test_the_core_needs_neither_airflow_nor_an_http_library() -> None:
    assert "airflow_provider_xpander.api.exchange" in CORE
    assert "airflow_provider_xpander.runs.watch" in CORE
    loaded = imported_by(*CORE)
    assert set(CORE) <= loaded
    for name in ("airflow", "requests", "urllib3", "httpx", "sseclient", "fastapi", "uvicorn"):
        assert name not in loaded


@pytest.mark.parametrize(
    ("driver", "library", "not_loaded"),
    [
        ("client", "requests", ["airflow", "httpx"]),
        ("aclient", "httpx", ["airflow", "requests", "sseclient"]),
    ],
)
def test_a_driver_needs_its_own_library_only(driver: str, library: str, not_loaded: list[str]) -> None:
    loaded = imported_by(f"airflow_provider_xpander.api.{driver}")
    assert library in loaded
    assert not loaded & set(not_loaded)


def test_parsing_a_dag_loads_no_driver() -> None:
    loaded = imported_by("airflow_provider_xpander.operators.xpander")
    assert "airflow_provider_xpander.operators.xpander" in loaded
    assert not loaded & {*DRIVERS, "sseclient"}
    assert not [name for name in loaded if name.startswith("airflow_provider_xpander.emulator")]


def test_parsing_a_dag_loads_nothing_that_only_a_run_needs() -> None:
    loaded = imported_by("airflow_provider_xpander.operators.xpander")
    only_for_a_run = {
        "operators.attempt",
        "operators.starter",
        "api.models",
        "api.exchange",
        "runs.watch",
        "runs.answer",
        "xcom",
    }
    assert not loaded & {f"airflow_provider_xpander.{name}" for name in only_for_a_run}


def test_parsing_a_dag_loads_nothing_of_lineage_and_traces_that_airflow_does_not_load_itself() -> None:
    loaded = imported_by(
        "airflow_provider_xpander.operators.xpander", "airflow_provider_xpander.operators.lineage"
    )
    more = loaded - imported_by("airflow_provider_xpander._compat", "airflow_provider_xpander.api.models")
    assert "airflow_provider_xpander.operators.lineage" in more
    assert not [name for name in more if name.partition(".")[0] in ("openlineage", "opentelemetry")]
