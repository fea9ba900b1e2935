"""The decorators ``@task.xpander_agent``, ``xpander_workflow`` and ``xpander_branch``, with their types."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ParamSpec, Protocol, TypeVar, cast

from airflow_provider_xpander._compat_taskflow import Task, task_decorator_factory
from airflow_provider_xpander.operators.base import XpanderRequestOperator
from airflow_provider_xpander.operators.branch import XpanderBranchOperator
from airflow_provider_xpander.operators.decorated import (
    DecoratedAgentRun,
    DecoratedBranch,
    DecoratedRun,
    DecoratedWorkflowRun,
)
from airflow_provider_xpander.operators.secret_arguments import warn_of_literal_secrets
from airflow_provider_xpander.operators.xpander import (
    XpanderInvokeAgentOperator,
    XpanderInvokeWorkflowOperator,
)

_Arguments = ParamSpec("_Arguments")
_Parameters = ParamSpec("_Parameters")
_Returned = TypeVar("_Returned")


class Decorator(Protocol):
    """Makes a task of a function."""

    def __call__(self, function: Callable[_Parameters, _Returned], /) -> Task[_Parameters, _Returned]: ...


def _decorator(
    operator: Callable[_Arguments, XpanderRequestOperator], decorated: type[DecoratedRun]
) -> Callable[_Arguments, Decorator]:
    """Return the decorator that takes the arguments of an operator, and their types."""

    def decorator(*function: Any, multiple_outputs: bool = False, **arguments: Any) -> Any:
        secrets = {name: arguments.get(name) for name in decorated.secret_template_fields}
        warn_of_literal_secrets(decorated.custom_operator_name, secrets)
        # Left to Airflow, that would follow from the type of the input.
        arguments["multiple_outputs"] = multiple_outputs
        return task_decorator_factory(*function, decorated_operator_class=decorated, **arguments)

    return cast("Callable[_Arguments, Decorator]", decorator)


xpander_agent = _decorator(XpanderInvokeAgentOperator, DecoratedAgentRun)
"""
Run an agent with what the decorated function returns, and return its answer.

The arguments are those of ``XpanderInvokeAgentOperator``, except for ``input``: that is what the function
returns, a text or a mapping with ``text``, ``files`` and ``user``. It is never rendered as a template.
"""

xpander_workflow = _decorator(XpanderInvokeWorkflowOperator, DecoratedWorkflowRun)
"""The same with a workflow, and the arguments of ``XpanderInvokeWorkflowOperator``."""

xpander_branch = _decorator(XpanderBranchOperator, DecoratedBranch)
"""Let an agent choose a branch by what the function returns; arguments of ``XpanderBranchOperator``."""

__all__ = ["xpander_agent", "xpander_branch", "xpander_workflow"]
