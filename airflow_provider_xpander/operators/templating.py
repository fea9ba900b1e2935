"""Templates in arguments: only what the author of the DAG wrote is one, and texts remain texts."""

from __future__ import annotations

from ast import literal_eval
from collections import ChainMap
from collections.abc import Callable, Mapping
from typing import Any, cast

from airflow_provider_xpander._compat import Context, XComArg
from airflow_provider_xpander.api.errors import XpanderValidationError
from airflow_provider_xpander.operators.arguments import as_field, is_literal


def is_from_xcom(context: Context, task_id: str, name: str, value: Any) -> bool:
    """
    Whether a mapped task was given an argument out of XCom, and not by the author of its DAG.

    :param context: that of the task instance.
    :param task_id: the task.
    :param name: the argument.
    :param value: the argument as it was given, before it is rendered.
    """
    dag = context.get("dag")
    mapped = dag.task_dict.get(task_id) if dag is not None else None
    expanded = getattr(getattr(mapped, "expand_input", None), "value", None)
    if expanded is None:
        return False
    written = getattr(mapped, "partial_kwargs", {})
    if name in written and value in (written[name], as_field(written[name])):
        return False
    if isinstance(expanded, Mapping):  # .expand(name=...)
        over = expanded.get(name)
        beside = over if isinstance(over, list | tuple) else ()
        return holds_xcom(over) and value not in [one for one in beside if not holds_xcom(one)]
    if isinstance(expanded, list | tuple):  # .expand_kwargs([...])
        at = getattr(context.get("ti"), "map_index", -1)
        own = [expanded[at]] if 0 <= at < len(expanded) else expanded
        return any(holds_xcom(one.get(name) if isinstance(one, Mapping) else one) for one in own)
    return True  # .expand_kwargs(upstream.output)


class DataIsNoTemplate:
    """
    Lets Airflow render no data that a mapped task was given out of XCom.

    It leaves out what ``.expand()`` gives, but not what ``.expand_kwargs(upstream.output)`` does.
    """

    task_id: str

    def _do_render_template_fields(
        self, parent: Any, template_fields: Any, context: Context, jinja_env: Any, seen_oids: set[int]
    ) -> None:
        names = list(template_fields)
        values = {name: getattr(parent, name, None) for name in names} if parent is self else {}
        data = {
            id(value)
            for name, value in values.items()
            if not holds_xcom(value) and is_from_xcom(context, self.task_id, name, value)
        }
        render = super()._do_render_template_fields  # type: ignore[misc]
        render(parent, names, context, jinja_env, seen_oids | data)


def holds_xcom(value: Any) -> bool:
    """
    Whether another task's output is in an argument, as it is written in the DAG.

    :param value: the argument.
    """
    if isinstance(value, Mapping):
        return any(map(holds_xcom, value.values()))
    if isinstance(value, list | tuple):
        return any(map(holds_xcom, value))
    return isinstance(value, XComArg)


def render_texts(value: Any, context: Context) -> Any:
    """
    Render templates to texts, where Airflow would make objects of them (``render_template_as_native_obj``).

    :param value: a text, or texts in mappings and lists. What refers to data gives that as it is: such is the
        argument of a mapped task group.
    :param context: that of the task instance.
    """
    if hasattr(value, "resolve"):
        return value.resolve(context)
    if isinstance(value, Mapping):
        return {name: render_texts(part, context) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [render_texts(part, context) for part in value]
    if not isinstance(value, str):
        return value
    environment = context["dag"].get_template_env(force_sandboxed=True)
    template = environment.from_string(value)
    # Shared: a copy would read each variable of the context, and Airflow 2 warns of some that are deprecated.
    known: Any = ChainMap({}, cast("Any", context), template.globals)
    variables = template.new_context(known, shared=True)
    return environment.concat(template.root_render_func(variables))


def is_native(context: Context) -> bool:
    """
    Whether the DAG has ``render_template_as_native_obj=True``, by which Airflow makes objects of texts.

    :param context: that of the task instance.
    """
    return bool(getattr(context.get("dag"), "render_template_as_native_obj", False))


def keep_texts(written: Any, rendered: Any, again: Callable[[str], str] | None = None) -> Any:
    """
    Return a value that was rendered to native objects, with texts where the author wrote texts.

    Without a template in it, a text is what it was: ``"1.10"`` is no number. With one, it may well have been
    meant to give an object, unless only a text makes sense.

    :param written: the value as the author of the DAG wrote it.
    :param rendered: the value as Airflow has rendered it.
    :param again: renders a template to a text, where only a text makes sense.
    """
    if isinstance(written, str) and not isinstance(rendered, str):
        if is_literal(written):
            return written if _made_of(written, rendered) else rendered
        scalar = isinstance(rendered, int | float | complex)
        return again(written) if again is not None and scalar else rendered
    if isinstance(written, Mapping) and isinstance(rendered, Mapping):
        return {name: keep_texts(written.get(name), value, again) for name, value in rendered.items()}
    both_lists = isinstance(written, list | tuple) and isinstance(rendered, list | tuple)
    if both_lists and len(written) == len(rendered):
        return [keep_texts(old, new, again) for old, new in zip(written, rendered, strict=True)]
    return rendered


def _made_of(written: str, rendered: Any) -> bool:
    """Whether a value is what Jinja makes of a text; else somebody else has replaced it."""
    try:
        return bool(literal_eval(written.strip()) == rendered)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return False


def check_schema_path(context: Context, task_id: str, path: str) -> None:
    """
    Refuse the import of what data names: it is for the author of the DAG to say what is imported.

    :param context: that of the task instance.
    :param task_id: the task.
    :param path: the ``output_schema`` as it was given.
    :raises XpanderValidationError: it is an import path out of XCom.
    """
    if is_from_xcom(context, task_id, "output_schema", path):
        raise XpanderValidationError(
            f"output_schema: {path!r} comes out of XCom, and what is imported is for the author of "
            f"the DAG to say: write the path in the DAG, or hand on a JSON Schema, a dictionary"
        )
