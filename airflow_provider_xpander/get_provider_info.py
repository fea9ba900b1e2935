"""The provider info: connection type, hook, operators, sensor, link and settings, as Airflow finds them."""

from __future__ import annotations

from typing import Any

from airflow_provider_xpander.connection import CONN_TYPE, HOOK_NAME
from airflow_provider_xpander.connection_form import UI_FIELD_BEHAVIOUR, form_fields


def get_provider_info() -> dict[str, Any]:
    """Return the provider's metadata, valid against ``airflow/provider_info.schema.json``."""
    package = "airflow_provider_xpander"
    integration = "xpander.ai"
    return {
        "package-name": "airflow-provider-xpander",
        "name": "xpander.ai",
        "description": "Run xpander.ai agents and workflows as steps of DAGs.",
        "integrations": [
            {
                "integration-name": integration,
                "external-doc-url": "https://docs.xpander.ai",
                "tags": ["service"],
            }
        ],
        "hooks": [
            {
                "integration-name": integration,
                "python-modules": [f"{package}.hooks.xpander", f"{package}.managed_agents"],
            }
        ],
        "operators": [
            {
                "integration-name": integration,
                "python-modules": [f"{package}.operators.{name}" for name in ("xpander", "enrich", "branch")],
            }
        ],
        "task-decorators": [
            {"name": name, "class-name": f"{package}.decorators.{name}"}
            for name in ("xpander_agent", "xpander_workflow", "xpander_branch")
        ],
        "sensors": [{"integration-name": integration, "python-modules": [f"{package}.sensors.xpander"]}],
        "triggers": [
            {
                "integration-name": integration,
                "python-modules": [
                    f"{package}.triggers.{name}" for name in ("xpander", "enrich", "asking", "events")
                ],
            }
        ],
        "notifications": [f"{package}.notifications.XpanderNotifier"],
        "cli": [f"{package}.cli.definition.get_airflow_commands"],
        "extra-links": [f"{package}.operators.links.XpanderRunLink"],
        "connection-types": [
            {
                "connection-type": CONN_TYPE,
                "hook-class-name": f"{package}.hooks.xpander.XpanderHook",
                "hook-name": HOOK_NAME,
                "conn-fields": form_fields(),
                "ui-field-behaviour": {
                    name.replace("_", "-"): value for name, value in UI_FIELD_BEHAVIOUR.items()
                },
            }
        ],
        "config": {
            "xpander": {
                "description": "Settings of the xpander.ai provider.",
                "options": {
                    "deployment": {
                        "description": (
                            "A name for this installation of Airflow, where several run the same DAGs with "
                            "the same agents, such as staging and production. It becomes a part of the mark "
                            "by which a retry finds the run that an earlier attempt has started. A run that "
                            "was started under another name is not found."
                        ),
                        "version_added": "0.1.0",
                        "type": "string",
                        "example": "staging",
                        "default": "",
                    },
                    "min_deferral_age": {
                        "description": (
                            "Seconds that a deferral lasts at the least. Airflow's scheduler fails a task "
                            "that is resumed before it has seen the end of the worker that has deferred it. "
                            "That took up to 12 seconds on a machine under heavy load, and mostly 2. The end "
                            "of a run that is noticed earlier is told then, so short runs take longer."
                        ),
                        "version_added": "0.1.0",
                        "type": "float",
                        "example": "30",
                        "default": "10",
                    },
                },
            }
        },
    }
