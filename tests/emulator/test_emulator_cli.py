from __future__ import annotations

import signal
import subprocess
from pathlib import Path

import pytest
import requests
from emulator_process import COMMAND, emulator


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
def test_serves_until_it_is_told_to_stop(stop: signal.Signals) -> None:
    with emulator("--api-key", "key-one", "--api-key", "key-two", "--speed", "100") as (process, url, key):
        assert key == "key-one"
        for accepted in ("key-one", "key-two"):
            answer = requests.post(
                url + "/v1/agents/echo/invoke",
                headers={"x-api-key": accepted},
                json={"input": {"text": "hi"}},
                timeout=10,
            )
            assert answer.json()["result"] == "hi"
        default = {"x-api-key": "xpander-emulator-key-0000"}
        assert requests.get(url + "/v1/agents", headers=default, timeout=10).status_code == 401
        process.send_signal(stop)
        out, err = process.communicate(timeout=20)
    assert process.returncode == 0
    assert out == ""
    assert "POST /v1/agents/echo/invoke -> 200" in err
    assert "GET /v1/agents -> 401" in err
    assert "key-" not in err
    assert "Traceback" not in err


def test_a_taken_port_is_told(running_server: object) -> None:
    port = str(running_server.port)  # type: ignore[attr-defined]
    done = subprocess.run([*COMMAND, "--port", port], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert "in use" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_file_brings_agents_a_story_has_a_name_and_requests_have_a_limit(tmp_path: Path) -> None:
    file = tmp_path / "agents.py"
    file.write_text('def setup(emulator):\n    emulator.agent("mine-*").answers("from a file")\n')
    options = ("--setup", str(file), "--story", "flaky", "--lenient", "--requests-per-hour", "2")
    with emulator(*options) as (_, url, key):
        ask = {"headers": {"x-api-key": key}, "json": {"input": {"text": "hi"}, "younger": 1}, "timeout": 10}
        answers = [requests.post(url + "/v1/agents/mine-1/invoke", **ask) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200, 200, 429]
    assert [answer.json()["status"] for answer in answers[:2]] == ["failed", "completed"]
    assert answers[1].json()["result"] == "from a file"


@pytest.mark.parametrize(("code", "says"), [(None, "No such file"), ("", "no function setup(emulator)")])
def test_a_file_that_does_not_fit_is_told(tmp_path: Path, code: str | None, says: str) -> None:
    file = tmp_path / "agents.py"
    if code is not None:
        file.write_text(code)
    command = [*COMMAND, "--port", "0", "--setup", str(file)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert says in done.stderr
    assert "Traceback" not in done.stderr
