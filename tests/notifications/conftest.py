from __future__ import annotations

from airflow_side import quick_repeats, running_server, server_connections, service

__all__ = ["quick_repeats", "running_server", "server_connections", "service"]
