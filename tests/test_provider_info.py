from __future__ import annotations

import importlib
import json
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import airflow
import jsonschema
import pytest

from airflow_provider_xpander.get_provider_info import get_provider_info
from airflow_provider_xpander.hooks.xpander import XpanderHook
from airflow_provider_xpander.operators.xpander import (
    XpanderInvokeAgentOperator,
    XpanderInvokeWorkflowOperator,
)
from airflow_provider_xpander.sensors.xpander import XpanderTaskSensor

AIRFLOW = Path(airflow.__file__).parent


def schema(name: str) -> dict[str, Any]:
    return json.loads((AIRFLOW / name).read_text())


def modules() -> list[str]:
    info = get_provider_info()
    return [
        module
        for part in ("hooks", "operators", "sensors", "triggers")
        for entry in info[part]
        for module in entry["python-modules"]
    ]


def test_it_is_valid_by_the_schema_of_airflow() -> None:
    jsonschema.validate(get_provider_info(), schema("provider_info.schema.json"))


def test_the_connection_form_is_valid_by_the_schema_of_airflow() -> None:
    kind = schema("provider.yaml.schema.json")["properties"]["connection-types"]
    if "conn-fields" not in kind["items"]["properties"]:
        pytest.skip("this Airflow draws its form from widgets")
    kind["items"]["additionalProperties"] = False
    # Airflow 3.2 reads it, but does not list it.
    kind["items"]["properties"].setdefault("hook-name", {"type": "string"})
    jsonschema.validate(get_provider_info()["connection-types"], kind)


def test_it_can_be_stored_as_json() -> None:
    info = get_provider_info()
    assert json.loads(json.dumps(info)) == info


def test_it_is_found_through_the_entry_point() -> None:
    found = [
        entry
        for entry in entry_points(group="apache_airflow_provider")
        if entry.value.startswith("airflow_provider_xpander.")
    ]
    assert [entry.load() for entry in found] == [get_provider_info]
    assert found[0].dist is not None
    assert found[0].dist.name == get_provider_info()["package-name"]


@pytest.mark.parametrize("name", modules())
def test_every_module_that_it_names_exists(name: str) -> None:
    importlib.import_module(name)


# Airflow 3.0 imports hooks of its own here, and what they import warns.
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("name", ["xpander_agent", "xpander_workflow", "xpander_branch"])
def test_a_decorator_is_found_by_its_name(name: str) -> None:
    import airflow_provider_xpander.decorators

    try:
        from airflow.sdk import task
    except ImportError:
        from airflow.decorators import task
    assert getattr(task, name) is getattr(airflow_provider_xpander.decorators, name)


def test_the_connection_type_belongs_to_the_hook() -> None:
    (kind,) = get_provider_info()["connection-types"]
    module, _, name = kind["hook-class-name"].rpartition(".")
    assert getattr(importlib.import_module(module), name) is XpanderHook
    assert (kind["connection-type"], kind["hook-name"]) == (XpanderHook.conn_type, XpanderHook.hook_name)


def test_the_links_of_operators_and_sensor_are_known_to_airflow() -> None:
    """Airflow 2.11 shows no link of a class that is not listed here."""
    used = {
        f"{type(link).__module__}.{type(link).__name__}"
        for operator in (XpanderInvokeAgentOperator, XpanderInvokeWorkflowOperator, XpanderTaskSensor)
        for link in operator.operator_extra_links
    }
    assert used == set(get_provider_info()["extra-links"])


def test_every_part_belongs_to_an_integration() -> None:
    info = get_provider_info()
    integrations = {entry["integration-name"] for entry in info["integrations"]}
    for part in ("hooks", "operators", "sensors", "triggers"):
        assert {entry["integration-name"] for entry in info[part]} <= integrations
