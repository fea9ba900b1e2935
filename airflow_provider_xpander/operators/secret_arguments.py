"""Secrets among the arguments: where they may come from, and that Airflow masks them before they are sent."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

from airflow_provider_xpander._compat import Context, XComArg, mask_secret
from airflow_provider_xpander.api.errors import XpanderValidationError
from airflow_provider_xpander.api.request import PARAMETERS
from airflow_provider_xpander.api.text import SHORTEST, remember, secret_texts
from airflow_provider_xpander.operators.arguments import is_literal
from airflow_provider_xpander.operators.templating import is_from_xcom, is_native, render_texts


def rendered_secret(operator: Any, context: Context, name: str, written: Any) -> Any:
    """
    Return a secret-bearing field with its templates rendered, and have Airflow mask it.

    :param operator: the operator.
    :param context: that of the task instance.
    :param name: of the parameter.
    :param written: the field as the author has written it, or as it came out of XCom.
    """
    rendered = written
    if not is_from_xcom(context, operator.task_id, name, written):
        # A template may give the whole object; in an object, all are texts.
        gives_object = isinstance(written, str) and not PARAMETERS[name].is_text
        texts = is_native(context) and not gives_object
        rendered = render_texts(written, context) if texts else operator.render_template(written, context)
    mask_request_secrets(rendered)
    return rendered


def mask_request_secrets(value: Any) -> None:
    """
    Have Airflow mask the texts in a rendered secret-bearing field, which an agent may well repeat.

    A retry that takes a run over sends none of them, and hides them all the same.

    :param value: the field: a text, or texts in mappings and lists.
    """
    remember(*secret_texts(value))
    for text in secret_texts(value):
        if len(text) >= SHORTEST:
            mask_secret(text)


def warn_of_literal_secrets(operator: str, secrets: Mapping[str, Any]) -> None:
    """
    Warn of secrets written in a DAG where Airflow stores them with it, for everybody to read.

    :param operator: name of the class.
    :param secrets: the secret-bearing arguments of ``partial``.
    """
    for name, value in secrets.items():
        if value and is_literal(value):
            warnings.warn(
                f"{operator}.partial({name}=...) holds a secret as it is, and Airflow stores the arguments "
                f"of partial() with the DAG: use a template such as {{{{ conn.my_connection.password }}}}",
                UserWarning,
                stacklevel=3,
            )


def check_secret(name: str, value: Any) -> None:
    """
    Refuse a secret that is another task's output: it would be in XCom for everybody to read.

    :param name: of the parameter, for messages.
    :param value: what the author gave.
    :raises XpanderValidationError: names the parameter and says where a secret belongs.
    """
    parts = list(value.values()) if isinstance(value, Mapping) else value
    if isinstance(value, XComArg):
        raise XpanderValidationError(
            f"{name} must not be another task's output, because XCom keeps no secret; "
            f"use a template such as {{{{ conn.my_connection.password }}}}"
        )
    if isinstance(parts, list | tuple):
        for part in parts:
            check_secret(name, part)
