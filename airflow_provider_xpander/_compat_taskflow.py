"""
The TaskFlow decorators and the branching of Airflow, as this provider uses them on each version.

Apart from ``_compat.py``, because only DAGs that have such tasks need it when they are parsed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow_provider_xpander._compat import _VERSION

if TYPE_CHECKING or _VERSION >= (3, 2):
    from airflow.sdk.bases.branch import BranchMixIn
    from airflow.sdk.bases.decorator import determine_kwargs
elif _VERSION >= (3, 0):
    from airflow.providers.standard.operators.branch import BranchMixIn
    from airflow.utils.operator_helpers import determine_kwargs
else:
    from airflow.operators.branch import BranchMixIn
    from airflow.utils.operator_helpers import determine_kwargs

if TYPE_CHECKING or _VERSION >= (3, 0):
    from airflow.sdk.bases.decorator import DecoratedOperator, Task, task_decorator_factory
else:
    from airflow.decorators.base import DecoratedOperator, Task, task_decorator_factory

__all__ = [
    "BranchMixIn",
    "DecoratedOperator",
    "Task",
    "determine_kwargs",
    "task_decorator_factory",
]
