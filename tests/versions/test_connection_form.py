"""The connection's form as each Airflow draws it, in a process where nothing has read the hook yet."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from airflow import __version__ as airflow_version

PROMISED_FIELDS = {
    "auth_mode", "organization_id", "user_email", "user_id", "console_url", "task_link_template", "verify",
    "proxy", "timeout", "requests_per_minute", "requests_per_hour", "client_task_ids",
}  # fmt: skip


@pytest.fixture(scope="module")
def form() -> dict[str, Any]:
    command = [sys.executable, "-W", "ignore", str(Path(__file__).with_name("form_of_airflow.py"))]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def test_it_has_every_field(form: dict[str, Any]) -> None:
    assert form["hook_name"] == "xpander.ai"
    assert set(form["extra"]) == PROMISED_FIELDS


def test_the_standard_fields_are_called_what_they_are(form: dict[str, Any]) -> None:
    assert (form["labels"]["host"], form["labels"]["password"]) == ("Base URL", "API key")
    assert "login" in form["hidden"]
    assert "password" not in form["hidden"]


OLD = tuple(map(int, airflow_version.split(".")[:2])) < (3, 2)


@pytest.mark.skipif(OLD, reason="this Airflow draws the form from the hook's text fields")
def test_a_field_with_few_values_is_a_choice(form: dict[str, Any]) -> None:
    assert "bearer" in form["choices"]
