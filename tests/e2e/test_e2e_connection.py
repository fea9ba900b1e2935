"""The connection's form and its "Test" button, through the API that the UI uses."""

from __future__ import annotations

import pytest
from airflow import __version__ as airflow_version

from airflow_provider_xpander.emulator.server import EmulatorServer
from dev.airflow_client import AirflowClient

pytestmark = [pytest.mark.timeout(120), pytest.mark.versions]
NO_FORM = tuple(map(int, airflow_version.split(".")[:2])) < (3, 1)


@pytest.mark.skipif(NO_FORM, reason="Airflow 2 renders it in its pages; 3.0 needs the fab provider for it")
def test_the_form_has_a_field_for_each_extra(client: AirflowClient) -> None:
    # The first of this file: on Airflow 3.1, the button empties the forms of all connections that nobody has
    # opened yet.
    form = next(one for one in client.connection_forms() if one["connection_type"] == "xpander")
    assert form["hook_name"] == "xpander.ai"
    assert {"requests_per_minute", "verify", "client_task_ids"} <= set(form["extra_fields"])
    assert form["standard_fields"]["password"]["title"] == "API key"


@pytest.mark.parametrize(
    ("key", "works", "said"),
    [(None, True, "Connected"), ("not-a-valid-key", False, "does not accept the API key")],
)
def test_the_button_says_whether_it_works(
    client: AirflowClient, emulator: EmulatorServer, key: str | None, works: bool, said: str
) -> None:
    status, message = client.test_connection(
        {
            "connection_id": "tested",
            "conn_type": "xpander",
            "host": emulator.url,
            "password": key or emulator.api_key,
        }
    )
    assert status is works, message
    assert said in message
