"""Form of a connection of type ``xpander``, made of the table of its fields, as each Airflow wants it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from airflow_provider_xpander.api.settings import DEFAULT_BASE_URL
from airflow_provider_xpander.connection import FIELDS

UI_FIELD_BEHAVIOUR: Mapping[str, Any] = {
    "hidden_fields": ["schema", "login", "extra"],
    "relabeling": {"host": "Base URL", "password": "API key", "port": "Port (if not in the URL)"},
    "placeholders": {
        "host": DEFAULT_BASE_URL,
        "password": "API key of the organization, from the console: Settings > API keys",
    },
}


def form_fields() -> dict[str, dict[str, Any]]:
    """Return the fields as the provider info of Airflow 3.2 and later states them (``conn-fields``)."""
    return {
        name: {
            "label": field.label,
            "description": field.description,
            "schema": {**field.schema, "type": [field.schema["type"], "null"]},
        }
        for name, field in FIELDS.items()
    }


def form_widgets() -> dict[str, Any]:
    """Return the fields as widgets, by which Airflow before 3.2 draws the form."""
    from flask_appbuilder.fieldwidgets import BS3TextFieldWidget
    from flask_babel import lazy_gettext
    from wtforms import StringField
    from wtforms.validators import Optional

    return {
        name: StringField(
            lazy_gettext(field.label),
            widget=BS3TextFieldWidget(),
            validators=[Optional()],
            description=field.description,
            default=str(field.schema["default"]) if "default" in field.schema else None,
        )
        for name, field in FIELDS.items()
    }
