"""Run xpander.ai agents and workflows as steps of Apache Airflow DAGs."""

from __future__ import annotations

__version__ = "0.1.0"
