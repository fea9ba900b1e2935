"""A process that prints the form of a connection, as the webserver or api-server of this Airflow draws it."""

from __future__ import annotations

import json

from airflow import __version__ as airflow_version


def form_of_airflow_2() -> dict[str, object]:
    """Return the form that is made of the hook's widgets."""
    from airflow.providers_manager import ProvidersManager

    manager = ProvidersManager()
    prefix = "extra__xpander__"
    behaviour = manager.field_behaviours["xpander"]
    hook = manager.hooks["xpander"]
    return {
        "hook_name": hook.hook_name if hook else None,
        "extra": [name.removeprefix(prefix) for name in manager.connection_form_widgets if prefix in name],
        "labels": behaviour["relabeling"],
        "hidden": behaviour["hidden_fields"],
    }


def form_of_airflow_3() -> dict[str, object]:
    """Return the form that the UI is told of: the hook's widgets before 3.2, the provider info since."""
    from airflow.api_fastapi.core_api.services.ui.connections import HookMetaService

    form = next(meta for meta in HookMetaService.hook_meta_data() if meta.connection_type == "xpander")
    standard = form.standard_fields.model_dump() if form.standard_fields else {}
    fields = {name: field for name, field in standard.items() if field}
    return {
        "hook_name": form.hook_name,
        "extra": list(form.extra_fields or {}),
        "labels": {name: field["title"] for name, field in fields.items() if field["title"]},
        "hidden": [name for name, field in fields.items() if field["hidden"]],
        "choices": json.dumps((form.extra_fields or {}).get("auth_mode"), default=str),
    }


if __name__ == "__main__":
    print(json.dumps(form_of_airflow_2() if airflow_version.startswith("2.") else form_of_airflow_3()))
