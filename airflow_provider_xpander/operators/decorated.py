"""The operators behind the decorators: what is asked is what a function of the DAG returns."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, cast

from pydantic import BaseModel

from airflow_provider_xpander._compat import Context
from airflow_provider_xpander._compat_taskflow import DecoratedOperator, determine_kwargs
from airflow_provider_xpander.api.errors import XpanderValidationError
from airflow_provider_xpander.api.models import InvokeRequest
from airflow_provider_xpander.api.text import printable
from airflow_provider_xpander.operators.arguments import PARTS
from airflow_provider_xpander.operators.base import XpanderRequestOperator
from airflow_provider_xpander.operators.branch import XpanderBranchOperator
from airflow_provider_xpander.operators.templating import holds_xcom
from airflow_provider_xpander.operators.xpander import (
    XpanderInvokeAgentOperator,
    XpanderInvokeWorkflowOperator,
)


class NotReturnedYet:
    """Stands for the input while the function has not been called."""


class DecoratedRun(DecoratedOperator, XpanderRequestOperator):
    """
    An operator whose input is what a function returns.

    The arguments of the function are templates, as for all of Airflow's decorators. What it returns is none:
    it may hold data of anybody, and a template in it would be filled with the secrets of this Airflow.

    :param python_callable: the function; returns a text, or a mapping with ``text``, ``files`` and ``user``.
    :param kwargs: those of Airflow's ``DecoratedOperator``, and of the operator.
    :raises XpanderValidationError: an argument is wrong, when the DAG is parsed.
    """

    template_fields_renderers: ClassVar[dict[str, str]] = {
        **DecoratedOperator.template_fields_renderers,
        **XpanderRequestOperator.template_fields_renderers,
    }

    custom_operator_name: str
    """The decorator, as Airflow shows it."""
    input: Any

    def __init__(self, *, python_callable: Callable[..., Any], **kwargs: Any) -> None:
        name = python_callable.__name__
        if "input" in kwargs:
            raise XpanderValidationError(f"input is what the function {name} returns; do not give it besides")
        if inspect.iscoroutinefunction(python_callable):
            raise XpanderValidationError(
                f"The function {name} must not be async: all it does is return an input"
            )
        if kwargs.get("output_schema") is None:
            kwargs["output_schema"] = returned_model(python_callable)
        super().__init__(python_callable=python_callable, input=NotReturnedYet, **kwargs)

    def _do_render_template_fields(
        self, parent: Any, template_fields: Any, context: Context, jinja_env: Any, seen_oids: set[int]
    ) -> None:
        # Airflow would render what .expand_kwargs() takes out of XCom.
        data = {id(value) for value in _values_from_xcom(self, context)}
        super()._do_render_template_fields(parent, template_fields, context, jinja_env, seen_oids | data)

    def execute(self, context: Context) -> Any:
        """
        Do as the operator does.

        :param context: that of the task instance.
        """
        # Not by way of DecoratedOperator: it looks for assets in the answer, and on Airflow 3.0 it breaks.
        return super(DecoratedOperator, self).execute(context)

    def _note_written(self) -> None:
        super()._note_written()
        # These are for the function, which gets of native templates what Airflow makes of them.
        self._written = {
            name: value
            for name, value in self._written.items()
            if name not in DecoratedOperator.template_fields
        }

    def request(self, context: Context) -> InvokeRequest:
        """
        Return what the run is asked; the function is called once in a process, when this is needed first.

        :param context: that of the task instance.
        :raises XpanderValidationError: the function has not returned an input, or a field is wrong.
        """
        if self.input is NotReturnedYet:
            self.input = self._returned(context)
        return super().request(context)

    def _returned(self, context: Context) -> str | Mapping[str, Any]:
        cast("Any", context).update(self.op_kwargs)  # as Airflow's own decorated tasks do
        kwargs = determine_kwargs(self.python_callable, self.op_args, context)
        returned = self.python_callable(*self.op_args, **kwargs)
        is_parts = isinstance(returned, Mapping) and not PARTS.isdisjoint(returned)
        if isinstance(returned, str) or is_parts:
            return returned  # type: ignore[no-any-return]
        raise XpanderValidationError(
            f"The function {self.python_callable.__name__} has to return a text, or a mapping with text, "
            f"files and user, got {printable(repr(returned), 200)}. Make a text of data, "
            f"for instance with json.dumps(data)."
        )


def _values_from_xcom(operator: DecoratedRun, context: Context) -> list[Any]:
    """Return the arguments of a function that its task was mapped over and that another task has returned."""
    mapped: Any = context["dag"].task_dict.get(operator.task_id) if context.get("dag") else None
    expanded = getattr(getattr(mapped, "op_kwargs_expand_input", None), "value", None)
    if isinstance(expanded, list | tuple):  # .expand_kwargs([...])
        expanded = expanded[context["ti"].map_index or 0]
    if expanded is None:
        return []
    if isinstance(expanded, Mapping):
        names = [name for name, value in expanded.items() if holds_xcom(value)]
    else:
        names = [name for name in operator.op_kwargs if name not in mapped.partial_kwargs["op_kwargs"]]
    return [operator.op_kwargs[name] for name in names]


def returned_model(function: Callable[..., Any]) -> type[BaseModel] | None:
    """
    Return the pydantic model that a function is annotated to return, or None.

    :param function: the function.
    :raises XpanderValidationError: the annotation names what is not known when the DAG is parsed, so that
        answers would go unchecked.
    """
    written = getattr(function, "__annotations__", {}).get("return")
    if isinstance(written, str):

        def alone() -> None: ...

        alone.__annotations__ = {"return": written}
        try:
            written = typing.get_type_hints(alone, inspect.unwrap(function).__globals__)["return"]
        except Exception as error:
            raise XpanderValidationError(
                f"The return annotation {written!r} of {function.__name__} is not known when the DAG is "
                f"parsed ({error}). It could be a model that the answer has to match. Import it at the top "
                f"of the file and not under TYPE_CHECKING, or give output_schema and no annotation."
            ) from error
    is_model = isinstance(written, type) and issubclass(written, BaseModel)
    return written if is_model else None


def _fields(operator: type[XpanderRequestOperator]) -> tuple[str, ...]:
    """Return what Airflow renders: the arguments of the function, and of the operator all but the input."""
    return (
        *DecoratedOperator.template_fields,
        *(name for name in operator.template_fields if name != "input"),
    )


class DecoratedAgentRun(DecoratedRun, XpanderInvokeAgentOperator):
    """Run an agent with what a function returns (``@task.xpander_agent``)."""

    template_fields: Sequence[str] = _fields(XpanderInvokeAgentOperator)
    custom_operator_name: str = "@task.xpander_agent"


class DecoratedWorkflowRun(DecoratedRun, XpanderInvokeWorkflowOperator):
    """Run a workflow with what a function returns (``@task.xpander_workflow``)."""

    template_fields: Sequence[str] = _fields(XpanderInvokeWorkflowOperator)
    custom_operator_name: str = "@task.xpander_workflow"


class DecoratedBranch(DecoratedRun, XpanderBranchOperator):
    """Let an agent choose a branch by what a function returns (``@task.xpander_branch``)."""

    template_fields: Sequence[str] = _fields(XpanderBranchOperator)
    custom_operator_name: str = "@task.xpander_branch"
