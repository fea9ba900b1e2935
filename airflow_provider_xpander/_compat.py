"""
Everything of Airflow that this provider uses, and the only place that knows its versions.

``airflow.providers.common.compat`` gives one import surface for 2.11 and 3.x. What has one place in all
versions and is not needed to parse a DAG (the base of triggers) is imported where it is used.
"""

from __future__ import annotations

from airflow import __version__ as AIRFLOW_VERSION
from airflow.providers.common.compat.sdk import (
    AirflowException,
    AirflowFailException,
    AirflowNotFoundException,
    AirflowSensorTimeout,
    AirflowSkipException,
    BaseHook,
    BaseOperator,
    BaseSensorOperator,
    Context,
    PokeReturnValue,
    XComArg,
    conf,
    mask_secret,
)

__all__ = [
    "AIRFLOW_VERSION",
    "AirflowException",
    "AirflowFailException",
    "AirflowNotFoundException",
    "AirflowSensorTimeout",
    "AirflowSkipException",
    "BaseHook",
    "BaseOperator",
    "BaseSensorOperator",
    "Context",
    "PokeReturnValue",
    "XComArg",
    "default_deferrable",
    "mask_secret",
]


def default_deferrable() -> bool:
    """Return Airflow's own default for ``deferrable``, ``[operators] default_deferrable``."""
    return bool(conf.getboolean("operators", "default_deferrable", fallback=False))
