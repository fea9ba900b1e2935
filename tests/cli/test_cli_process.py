"""The command line as a process: a connection good and bad, ``airflow xpander``."""

from __future__ import annotations

import json
import signal
import subprocess
import sys

import pytest
from airflow_side import Service, connection_json, eventually
from command_line import process

from airflow_provider_xpander._compat import AIRFLOW_VERSION

OUTSIDE_OF_TESTS = {"AIRFLOW__CORE__UNIT_TEST_MODE": "False"}
HAS_CLI_OF_PROVIDERS = tuple(map(int, AIRFLOW_VERSION.split(".")[:2])) >= (3, 2)


def test_a_good_connection(service: Service) -> None:
    done = process("check", "--agent", "echo")
    assert done.code == 0, done.out + done.err
    assert done.out.splitlines()[0].split() == ["check", "|", "state", "|", "said"]
    assert "bad" not in done.out
    assert service.server.api_key not in done.out + done.err


def test_a_bad_connection_and_a_wrong_command(service: Service) -> None:
    connection = connection_json(service.server, password="wrong-key-4711")
    done = process("check", "--conn-id", "bad", "--json", AIRFLOW_CONN_BAD=connection)
    assert done.code == 1
    (bad,) = [row for row in done.data if row["state"] == "bad"]
    assert (bad["check"], "does not accept the API key" in bad["said"]) == ("key and service", True)
    assert "wrong-key-4711" not in done.out + done.err
    missing = process("check", "--conn-id", "nowhere")
    assert (missing.code, "There is no connection 'nowhere'" in missing.out) == (1, True)
    assert process("chekc").code == 2


def test_an_interrupted_wait_leaves_the_run_and_says_how_to_stop_it(service: Service) -> None:
    command = [sys.executable, "-W", "ignore", "-m", "airflow_provider_xpander", "invoke", "slow", "take 600"]
    # As in a terminal: what a shell starts in the background, such as these tests, may ignore the signal.
    terminal = {"preexec_fn": lambda: signal.signal(signal.SIGINT, signal.default_int_handler)}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, text=True, **pipes, **terminal) as waiting:
        try:
            eventually(lambda: [call for call in service.requests("GET") if call.status], "it waits")
            waiting.send_signal(signal.SIGINT)
            out, err = waiting.communicate(timeout=30)
        finally:
            waiting.kill()
    (run,) = service.runs("slow")
    assert (waiting.returncode, out) == (130, "")
    assert f"Stop it with: xpander-airflow stop {run.task_id}" in err
    assert "Traceback" not in err
    assert service.stops(run.task_id) == 0


@pytest.mark.skipif(not HAS_CLI_OF_PROVIDERS, reason="Airflow takes commands of providers since 3.2")
def test_the_commands_are_airflows_too(service: Service) -> None:
    checked = process("xpander", "check", "--json", module="airflow", **OUTSIDE_OF_TESTS)
    assert checked.code == 0, checked.err
    assert {row["check"] for row in json.loads(checked.out)} >= {"connection", "key and service"}
