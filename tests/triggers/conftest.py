from __future__ import annotations

import pytest
from airflow_side import quick_repeats, running_server, server_connections, service
from slow_secrets import SlowSecrets

__all__ = ["quick_repeats", "running_server", "server_connections", "service"]


@pytest.fixture
def slow_secrets(monkeypatch: pytest.MonkeyPatch) -> type[SlowSecrets]:
    """Let Airflow ask the slow backend."""
    monkeypatch.setenv("AIRFLOW__SECRETS__BACKEND", "slow_secrets.SlowSecrets")
    return SlowSecrets
